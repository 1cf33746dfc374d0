//! A folder that others write into, too: names in it are looked up without following links, and what was looked at is
//! what is moved. These calls block.
//!
//! Between two system calls anybody who may write into a folder can put another file, or a link to anywhere, under a name.
//! So a file is opened once, is given its new name by what is open, and loses its old name only if that still is its own.
//! Names are made exclusively: nothing that is there already is replaced.

use std::ffi::OsString;
use std::fs::{File, Metadata};
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use gristmill_store::failpoint;
use rustix::fs::{AtFlags, CWD, Dir, FileType, Mode, OFlags, RenameFlags};
use rustix::io::Errno;

/// What precedes a name while it is checked whether it still is that of the file that has another one. Short: 255 bytes
/// are the most, of which a hash and a name take 245.
const LEAVING: &str = ".gm-leave-";

/// How many names like one are tried.
const NAMES_MAX: u32 = 10_000;

/// Which file it is, whatever its names.
type Identity = (u64, u64);

/// An open folder.
#[derive(Debug)]
pub(super) struct Folder {
    fd: OwnedFd,
    path: PathBuf,
}

/// A regular file that was opened by its name in a folder.
#[derive(Debug)]
pub(super) struct Opened {
    /// The file, for reading.
    pub(super) file: File,
    identity: Identity,
}

impl Opened {
    /// What is known of it.
    pub(super) fn metadata(&self) -> io::Result<Metadata> {
        self.file.metadata()
    }
}

impl Folder {
    /// Opens the folder that the settings name; they may name a link.
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        Ok(Self { fd: rustix::fs::openat(CWD, path, flags, Mode::empty())?, path: path.to_owned() })
    }

    /// Opens a folder in it, which must not be a link. It is created if it is missing.
    pub(super) fn within(&self, name: &str) -> io::Result<Self> {
        match rustix::fs::mkdirat(&self.fd, name, Mode::RWXU) {
            Ok(()) => self.settle(),
            Err(Errno::EXIST) => {}
            Err(error) => return Err(error.into()),
        }
        let path = self.path.join(name);
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        match rustix::fs::openat(&self.fd, name, flags, Mode::empty()) {
            Ok(fd) => Ok(Self { fd, path }),
            Err(Errno::NOTDIR | Errno::LOOP) => Err(io::Error::new(
                io::ErrorKind::NotADirectory,
                format!("{} is a link or a file, and must be a folder", path.display()),
            )),
            Err(error) => Err(error.into()),
        }
    }

    /// The same if it is there.
    pub(super) fn existing(&self, name: &str) -> io::Result<Option<Self>> {
        match rustix::fs::statat(&self.fd, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(_) => self.within(name).map(Some),
            Err(Errno::NOENT) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Where a name in it is.
    pub(super) fn at(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// The names in it, sorted. Those that a process which died left unfinished have been put back.
    pub(super) fn names(&self) -> io::Result<Vec<OsString>> {
        let mut names = Vec::new();
        for entry in Dir::read_from(&self.fd)? {
            let bytes = entry?.file_name().to_bytes().to_vec();
            match bytes.strip_prefix(LEAVING.as_bytes()).map(std::str::from_utf8) {
                Some(Ok(name)) => drop(self.put_back(&format!("{LEAVING}{name}"), name)),
                _ if bytes == b"." || bytes == b".." => {}
                _ => names.push(OsString::from_vec(bytes)),
            }
        }
        names.sort();
        Ok(names)
    }

    /// Opens a regular file, and nothing else: a link leads anywhere, and a pipe may never end.
    pub(super) fn file(&self, name: &str) -> io::Result<Opened> {
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let file = match rustix::fs::openat(&self.fd, name, flags, Mode::empty()) {
            Ok(fd) => File::from(fd),
            Err(Errno::LOOP) => return Err(irregular("it is a symbolic link")),
            Err(error) => return Err(error.into()),
        };
        let found = file.metadata()?;
        if !found.is_file() {
            return Err(irregular("it is no regular file"));
        }
        Ok(Opened { identity: (found.dev(), found.ino()), file })
    }

    /// Whether a name belongs to a regular file.
    pub(super) fn has_file(&self, name: &str) -> bool {
        let found = rustix::fs::statat(&self.fd, name, AtFlags::SYMLINK_NOFOLLOW);
        found.is_ok_and(|found| FileType::from_raw_mode(found.st_mode) == FileType::RegularFile)
    }

    /// Whether a name is one of an open file's.
    pub(super) fn is(&self, name: &str, opened: &Opened) -> bool {
        self.identity(name).is_ok_and(|identity| identity == opened.identity)
    }

    #[allow(clippy::unnecessary_cast, reason = "these fields have other types on other systems")]
    fn identity(&self, name: &str) -> Result<Identity, Errno> {
        let found = rustix::fs::statat(&self.fd, name, AtFlags::SYMLINK_NOFOLLOW)?;
        Ok((found.st_dev as u64, found.st_ino as u64))
    }

    /// Moves what was opened under `at` here into another folder, under `name` or the first free one like it, and returns
    /// its name there. A move that was cut off is finished.
    pub(super) fn move_into(&self, at: &str, opened: &Opened, to: &Self, name: &str) -> io::Result<String> {
        for number in 0..NAMES_MAX {
            let new = numbered(name, number);
            match self.link(at, opened, to, &new) {
                Ok(()) => {}
                // It is already linked there when an earlier move was cut off before its end.
                Err(Errno::EXIST) if to.is(&new, opened) => {}
                Err(Errno::EXIST) => continue,
                Err(Errno::NOENT) => return Err(changed()),
                // Some file systems do not support second names.
                Err(_) => match self.rename(at, to, &new) {
                    Ok(()) if to.is(&new, opened) => {
                        to.settle();
                        return Ok(new);
                    }
                    Ok(()) => {
                        to.give_back(&new, self, at)?;
                        return Err(changed());
                    }
                    Err(Errno::EXIST) => continue,
                    Err(error) => return Err(error.into()),
                },
            }
            to.settle();
            failpoint::point("watch.linked");
            self.retire(at, opened)?;
            return Ok(new);
        }
        let text = format!("{} has ten thousand files like it", to.path.display());
        Err(io::Error::new(io::ErrorKind::AlreadyExists, text))
    }

    /// Gives what was opened a second name.
    fn link(&self, at: &str, opened: &Opened, to: &Self, new: &str) -> Result<(), Errno> {
        let open = format!("/proc/self/fd/{}", opened.file.as_raw_fd());
        match rustix::fs::linkat(CWD, &*open, &to.fd, new, AtFlags::SYMLINK_FOLLOW) {
            // There is no such place on every system; what the name has now is looked at afterwards.
            Err(Errno::NOENT | Errno::NOTSUP) => {}
            other => return other,
        }
        rustix::fs::linkat(&self.fd, at, &to.fd, new, AtFlags::empty())?;
        if to.is(new, opened) {
            return Ok(());
        }
        rustix::fs::unlinkat(&to.fd, new, AtFlags::empty())?;
        Err(Errno::NOENT)
    }

    /// Takes its old name from a file that has another one, if it still is its own. A user who puts another file under that
    /// name meanwhile keeps it: the name is moved out of everybody's way first, and only then looked at.
    fn retire(&self, at: &str, opened: &Opened) -> io::Result<()> {
        let aside = format!("{LEAVING}{at}");
        match rename_new(&self.fd, at, &self.fd, &aside) {
            Ok(()) if self.is(&aside, opened) => {
                failpoint::point("watch.leaving");
                Ok(rustix::fs::unlinkat(&self.fd, &*aside, AtFlags::empty())?)
            }
            Ok(()) => self.put_back(&aside, at),
            Err(Errno::NOENT) => Ok(()),
            // There is no such rename here, or a user has taken that name.
            Err(_) if self.is(at, opened) => Ok(rustix::fs::unlinkat(&self.fd, at, AtFlags::empty())?),
            Err(_) => Ok(()),
        }
    }

    fn put_back(&self, aside: &str, name: &str) -> io::Result<()> {
        self.give_back(aside, self, name)
    }

    /// Puts what is none of ours where it came from, or beside that.
    fn give_back(&self, at: &str, to: &Self, name: &str) -> io::Result<()> {
        for number in 0..NAMES_MAX {
            match self.rename(at, to, &numbered(name, number)) {
                Err(Errno::EXIST) => {}
                other => return Ok(other?),
            }
        }
        Err(io::ErrorKind::AlreadyExists.into())
    }

    /// Renames, unless there is something under the new name.
    pub(super) fn rename(&self, at: &str, to: &Self, new: &str) -> Result<(), Errno> {
        match rename_new(&self.fd, at, &to.fd, new) {
            Err(Errno::INVAL | Errno::NOSYS | Errno::NOTSUP) => {}
            other => return other,
        }
        // Where the system cannot do that, the name is made first: what is replaced then is our own empty file.
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        rustix::fs::openat(&to.fd, new, flags, Mode::RUSR | Mode::WUSR)?;
        rustix::fs::renameat(&self.fd, at, &to.fd, new)
    }

    /// Makes a name that leads to another, unless there is something under it.
    pub(super) fn lead(&self, name: &str, to: &Path) -> io::Result<()> {
        Ok(rustix::fs::symlinkat(to, &self.fd, name)?)
    }

    /// Removes a name.
    pub(super) fn remove(&self, name: &str) -> io::Result<()> {
        Ok(rustix::fs::unlinkat(&self.fd, name, AtFlags::empty())?)
    }

    /// Writes a note beside a file that says what became of it, under the first free name.
    pub(super) fn note(&self, beside: &str, text: &str) -> io::Result<()> {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        for number in 0..NAMES_MAX {
            match rustix::fs::openat(
                &self.fd,
                numbered(&format!("{beside}.note"), number),
                flags,
                Mode::RUSR | Mode::WUSR,
            ) {
                Ok(fd) => return io::Write::write_all(&mut File::from(fd), format!("{text}\n").as_bytes()),
                Err(Errno::EXIST) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Err(io::ErrorKind::AlreadyExists.into())
    }

    /// Makes the folder's entries survive a power loss. Not every file system can guarantee that.
    fn settle(&self) {
        let _ = rustix::fs::fsync(&self.fd);
    }
}

fn rename_new(from: &OwnedFd, at: &str, to: &OwnedFd, new: &str) -> Result<(), Errno> {
    rustix::fs::renameat_with(from, at, to, new, RenameFlags::NOREPLACE)
}

fn irregular(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, what)
}

fn changed() -> io::Error {
    io::Error::new(io::ErrorKind::NotFound, "it has become another file, or none, meanwhile")
}

/// `a.csv`, `a.1.csv`, `a.2.csv`.
fn numbered(name: &str, number: u32) -> String {
    match name.rsplit_once('.') {
        _ if number == 0 => name.to_owned(),
        Some((stem, ending)) if !stem.is_empty() => format!("{stem}.{number}.{ending}"),
        _ => format!("{name}.{number}"),
    }
}

#[cfg(test)]
mod tests;
