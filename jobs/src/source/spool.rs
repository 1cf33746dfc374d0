//! Spools of input that cannot be read by ranges: compressed files, other encodings, standard input, pipes.
//!
//! Such input is written once as decompressed UTF-8 and then cut by reference like any other file. Putting it into the
//! payloads instead would carry the whole input through the store.

use std::fs::File;
use std::io::{BufWriter, Read, Write};
use std::path::{Path, PathBuf};

use encoding_rs::UTF_8;
use gristmill_core::chunk::{COPY_ENDING, SourceFingerprint};
use gristmill_core::definition::Compression;
use uuid::Uuid;

use super::error::SourceError;
use super::format::Format;
use super::names::{self, Input};
use super::text::{Text, compression, encoding};
use super::unpack::{Stream, head};

const BUFFER_BYTES: usize = 256 * 1024;

/// The most bytes that one spool may have by default: 64 GiB. More than a night's input, and less than what a few bytes
/// of a decompression bomb expand to.
pub const SPOOL_BYTES_DEFAULT: u64 = 64 * 1024 * 1024 * 1024;

/// Where spools are written, and how large one may become.
#[derive(Debug, Clone, Copy)]
pub(super) struct Room<'a> {
    pub(super) dir: &'a Path,
    pub(super) bytes_max: u64,
}

/// An input that can be read by ranges.
pub(super) struct Ready {
    pub(super) name: String,
    pub(super) path: PathBuf,
    /// The spool, where one was made.
    pub(super) spooled: Option<Spooled>,
}

/// A spool, which is removed when this is dropped unless it is kept.
#[derive(Debug)]
pub(super) struct Spooled {
    path: PathBuf,
    keep: bool,
}

impl Spooled {
    /// The plan is complete: from now on the spool belongs to the batch.
    pub(super) fn keep(&mut self) {
        self.keep = true;
    }
}

impl Drop for Spooled {
    fn drop(&mut self) {
        if !self.keep
            && let Err(error) = std::fs::remove_file(&self.path)
        {
            tracing::warn!(path = %self.path.display(), %error, "a spooled copy that nobody needs stays behind");
        }
    }
}

/// Makes an input readable by ranges: as it is if possible, else by a spool.
pub(super) fn prepare(
    input: Input,
    format: &Format,
    room: &Room<'_>,
    stdin: &mut Option<Stream>,
) -> Result<Ready, SourceError> {
    let (name, path) = match input {
        Input::Stdin => {
            let name = "standard input".to_owned();
            let stream = stdin.take().ok_or_else(names::no_stdin)?;
            return spool(name, stream, format, room);
        }
        Input::File { name, path } => (name, path),
    };
    let mut file = File::open(&path).map_err(|error| SourceError::from_io(&name, &error))?;
    let metadata = file.metadata().map_err(|error| SourceError::from_io(&name, &error))?;
    let head = head(&mut file).map_err(|error| SourceError::from_io(&name, &error))?;
    let plain = compression(&name, format, &head)? == Compression::None && encoding(format, &head) == UTF_8;
    if metadata.is_file() && plain {
        return Ok(Ready { name, path, spooled: None });
    }
    spool(name, Box::new(std::io::Cursor::new(head).chain(file)), format, room)
}

/// Removes the spools that were made for a batch: for when it has ended and they are no longer read. The user's own
/// files stay. `None` when a folder with one of the spools cannot be seen from here: it is on another machine, which
/// then has to remove it.
///
/// # Errors
///
/// [`SourceError::Spool`] for the first spool that cannot be removed. A missing one is not an error.
pub fn remove_spooled(fingerprint: &SourceFingerprint) -> Result<Option<u32>, SourceError> {
    let mut removed = 0;
    for file in fingerprint.files.iter().filter(|file| file.is_copy()) {
        let path = Path::new(&file.path);
        if !path.parent().is_some_and(Path::is_dir) {
            return Ok(None);
        }
        match std::fs::remove_file(path) {
            Ok(()) => removed += 1,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => return Err(refused(&file.name, path, &error)),
        }
    }
    Ok(Some(removed))
}

fn spool(name: String, stream: Stream, format: &Format, room: &Room<'_>) -> Result<Ready, SourceError> {
    made(name, room, |copy| copy.fill(stream, format))
}

/// The folder of spools, which is made when it is missing.
pub(super) fn folder(name: &str, dir: &Path) -> Result<PathBuf, SourceError> {
    let dir = std::path::absolute(dir).map_err(|error| refused(name, dir, &error))?;
    crate::folder::make(&dir).map_err(|error| refused(name, &dir, &error))?;
    Ok(dir)
}

/// Makes a spool of whatever is written into it.
pub(super) fn made(
    name: String,
    room: &Room<'_>,
    fill: impl FnOnce(&mut Copy<'_>) -> Result<(), SourceError>,
) -> Result<Ready, SourceError> {
    let dir = folder(&name, room.dir)?;
    let id = Uuid::now_v7();
    // It has another name until it is complete, so that a part is never taken for the whole.
    let part = dir.join(format!("{id}.part"));
    let whole = dir.join(format!("{id}.{COPY_ENDING}"));
    let file = create(&part).map_err(|error| refused(&name, &part, &error))?;
    let mut spooled = Spooled { path: part, keep: false };
    let file = BufWriter::with_capacity(BUFFER_BYTES, file);
    let mut copy = Copy { name: &name, path: &spooled.path, file, written: 0, bytes_max: room.bytes_max };
    fill(&mut copy)?;
    copy.file
        .flush()
        .and_then(|()| copy.file.get_ref().sync_all())
        .map_err(|error| refused(&name, &spooled.path, &error))?;
    std::fs::rename(&spooled.path, &whole).map_err(|error| refused(&name, &whole, &error))?;
    spooled.path.clone_from(&whole);
    File::open(&dir).and_then(|dir| dir.sync_all()).map_err(|error| refused(&name, &dir, &error))?;
    Ok(Ready { name, path: whole, spooled: Some(spooled) })
}

pub(super) fn create(path: &Path) -> std::io::Result<File> {
    let mut options = File::options();
    options.write(true).create_new(true);
    // The input may hold data that other users of the machine must not see.
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path)
}

/// A spool in the making.
pub(super) struct Copy<'a> {
    name: &'a str,
    path: &'a Path,
    file: BufWriter<File>,
    written: u64,
    bytes_max: u64,
}

impl Copy<'_> {
    fn fill(&mut self, stream: Stream, format: &Format) -> Result<(), SourceError> {
        let mut text = Text::open(self.name, stream, format)?;
        let mut buffer = vec![0; BUFFER_BYTES];
        loop {
            match text.read(&mut buffer) {
                Ok(0) => return Ok(()),
                Ok(length) => self.write(&buffer[..length])?,
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(error) => return Err(text.trouble(&error)),
            }
        }
    }

    pub(super) fn write(&mut self, bytes: &[u8]) -> Result<(), SourceError> {
        self.written += bytes.len() as u64;
        if self.written > self.bytes_max {
            return Err(SourceError::TooMuch { name: self.name.to_owned(), limit: self.bytes_max });
        }
        self.file.write_all(bytes).map_err(|error| refused(self.name, self.path, &error))
    }
}

pub(super) fn refused(name: &str, path: &Path, error: &std::io::Error) -> SourceError {
    SourceError::Spool { name: name.to_owned(), path: path.display().to_string(), problem: error.to_string() }
}
