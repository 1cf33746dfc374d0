//! Inspects, hashes and moves files so that none is lost, doubled or overwritten. These calls block.

use std::fs::{self, File, Metadata};
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

/// Suffixes that programs give to files that they are still writing.
const UNFINISHED: [&str; 7] = [".part", ".partial", ".tmp", ".temp", ".filepart", ".crdownload", "~"];

/// Whether the name belongs to a hidden file, or to one that a program is still writing.
pub(super) fn unfinished(name: &str) -> bool {
    let lower = name.to_lowercase();
    name.starts_with('.') || UNFINISHED.iter().any(|ending| lower.ends_with(ending))
}

/// What must stay the same for a file to be complete.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Stamp {
    bytes: u64,
    modified: (i64, i64),
    place: (u64, u64),
}

impl Stamp {
    pub(super) fn of(found: &Metadata) -> Self {
        Self { bytes: found.len(), modified: (found.mtime(), found.mtime_nsec()), place: (found.dev(), found.ino()) }
    }

    pub(super) fn bytes(self) -> u64 {
        self.bytes
    }
}

/// The SHA-256 of a file in hexadecimal, or `None` when it changed meanwhile and so is not complete after all.
pub(super) fn hash(path: &Path, stamp: Stamp) -> io::Result<Option<String>> {
    let mut file = File::open(path)?;
    let (mut hasher, mut buffer) = (Sha256::new(), vec![0; 64 * 1024]);
    loop {
        let read = file.read(&mut buffer)?;
        if read == 0 {
            break;
        }
        hasher.update(&buffer[..read]);
    }
    let same = Stamp::of(&file.metadata()?) == stamp && Stamp::of(&fs::symlink_metadata(path)?) == stamp;
    Ok(same.then(|| hex::encode(hasher.finalize())))
}

/// Moves a file into a folder, which is created if it is missing, under its own name or the first free one like it, and
/// returns where it is then. A move that was cut off is finished. Nothing is ever overwritten.
pub(super) fn move_into(from: &Path, folder: &Path, name: &str) -> io::Result<PathBuf> {
    gristmill_jobs::folder::make(folder)?;
    for number in 0..10_000 {
        let to = folder.join(numbered(name, number));
        match fs::hard_link(from, &to) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                // It is already linked there when an earlier move was cut off before its end.
                if !same_file(from, &to)? {
                    continue;
                }
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(error),
            // Some network shares do not support second names.
            Err(_) if fs::symlink_metadata(&to).is_ok() => continue,
            Err(_) => {
                fs::rename(from, &to)?;
                settle(folder);
                return Ok(to);
            }
        }
        settle(folder);
        fs::remove_file(from)?;
        return Ok(to);
    }
    Err(io::Error::new(io::ErrorKind::AlreadyExists, format!("{} has ten thousand files like it", folder.display())))
}

/// Makes the folder's entries survive a power loss. Not every file system can guarantee that.
fn settle(folder: &Path) {
    let _ = File::open(folder).and_then(|folder| folder.sync_all());
}

/// Whether two names refer to one file.
pub(super) fn same_file(one: &Path, other: &Path) -> io::Result<bool> {
    let place = |path: &Path| fs::symlink_metadata(path).map(|found| (found.dev(), found.ino()));
    Ok(place(one)? == place(other)?)
}

/// `a.csv`, `a.1.csv`, `a.2.csv`.
fn numbered(name: &str, number: u32) -> String {
    match name.rsplit_once('.') {
        _ if number == 0 => name.to_owned(),
        Some((stem, ending)) if !stem.is_empty() => format!("{stem}.{number}.{ending}"),
        _ => format!("{name}.{number}"),
    }
}

/// Writes a note beside a file that says what became of it.
pub(super) fn note(path: &Path, text: &str) -> io::Result<()> {
    let mut beside = path.as_os_str().to_owned();
    beside.push(".note");
    fs::write(beside, format!("{text}\n"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_move_overwrites_nothing_and_one_that_was_cut_off_is_finished() {
        let dir = tempfile::tempdir().expect("a folder");
        let (from, done) = (dir.path().join("a.csv"), dir.path().join("done"));
        fs::write(&from, "one").expect("written");
        assert_eq!(move_into(&from, &done, "a.csv").expect("moved"), done.join("a.csv"));
        fs::write(&from, "two").expect("written");
        assert_eq!(move_into(&from, &done, "a.csv").expect("moved"), done.join("a.1.csv"));
        fs::write(&from, "three").expect("written");
        fs::hard_link(&from, done.join("a.2.csv")).expect("linked, and then the process died");
        assert_eq!(move_into(&from, &done, "a.csv").expect("moved"), done.join("a.2.csv"));
        let texts = ["a.csv", "a.1.csv", "a.2.csv"].map(|name| fs::read_to_string(done.join(name)).expect("there"));
        assert_eq!((texts, from.exists()), (["one".to_owned(), "two".to_owned(), "three".to_owned()], false));
        assert_eq!(numbered("none", 3), "none.3");
        assert_eq!(numbered("a.tar.gz", 1), "a.tar.1.gz");
    }

    #[test]
    fn what_changes_while_it_is_hashed_is_not_complete() {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("a.csv");
        fs::write(&path, "abc").expect("written");
        let stamp = Stamp::of(&fs::symlink_metadata(&path).expect("there"));
        let expected = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(hash(&path, stamp).expect("read").as_deref(), Some(expected));
        fs::write(&path, "abcd").expect("written");
        assert_eq!(hash(&path, stamp).expect("read"), None);
    }

    #[test]
    fn names_of_unfinished_files_are_known() {
        for name in [".a.csv", "a.csv.part", "a.tmp", "a.csv~", "A.TMP", "a.crdownload"] {
            assert!(unfinished(name), "{name}");
        }
        assert!(!unfinished("a.csv") && !unfinished("part.csv"));
    }
}
