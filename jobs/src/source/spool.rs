//! Spools of input that cannot be read by ranges: compressed files, other encodings, standard input, pipes.
//!
//! Such input is written once as decompressed UTF-8 and then cut by reference like any other file. Putting it into the
//! payloads instead would carry the whole input through the store.

use std::fs::File;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};

use encoding_rs::{DecoderResult, Encoding, UTF_8};
use gristmill_core::chunk::{COPY_ENDING, SourceFingerprint};
use gristmill_core::definition::Compression;
use uuid::Uuid;

use super::error::SourceError;
use super::format::Format;
use super::names::Input;
use super::unpack::{self, Stream, head};

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
            let Some(stream) = stdin.take() else {
                let problem = "there is none here; name a file, or start the batch from the command line".to_owned();
                return Err(SourceError::Missing { name, problem });
            };
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
    let dir = std::path::absolute(room.dir).map_err(|error| refused(&name, room.dir, &error))?;
    crate::folder::make(&dir).map_err(|error| refused(&name, &dir, &error))?;
    let id = Uuid::now_v7();
    // It has another name until it is complete, so that a part is never taken for the whole.
    let part = dir.join(format!("{id}.part"));
    let whole = dir.join(format!("{id}.{COPY_ENDING}"));
    let file = create(&part).map_err(|error| refused(&name, &part, &error))?;
    let mut spooled = Spooled { path: part, keep: false };
    let mut copy = Copy { name: &name, path: &spooled.path, file, written: 0, bytes_max: room.bytes_max };
    copy.fill(stream, format)?;
    copy.file.sync_all().map_err(|error| refused(&name, &spooled.path, &error))?;
    std::fs::rename(&spooled.path, &whole).map_err(|error| refused(&name, &whole, &error))?;
    spooled.path.clone_from(&whole);
    File::open(&dir).and_then(|dir| dir.sync_all()).map_err(|error| refused(&name, &dir, &error))?;
    Ok(Ready { name, path: whole, spooled: Some(spooled) })
}

fn create(path: &Path) -> std::io::Result<File> {
    let mut options = File::options();
    options.write(true).create_new(true);
    // The input may hold data that other users of the machine must not see.
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path)
}

struct Copy<'a> {
    name: &'a str,
    path: &'a Path,
    file: File,
    written: u64,
    bytes_max: u64,
}

impl Copy<'_> {
    fn fill(&mut self, mut stream: Stream, format: &Format) -> Result<(), SourceError> {
        let first = head(&mut stream).map_err(|error| SourceError::from_io(self.name, &error))?;
        let packing = compression(self.name, format, &first)?;
        let stream = Box::new(std::io::Cursor::new(first).chain(stream));
        let mut stream = unpack::unpacked(stream, packing).map_err(|error| self.damaged(packing, &error))?;
        let first = head(&mut stream).map_err(|error| self.damaged(packing, &error))?;
        if packing != Compression::None {
            self.not_packed_twice(&first)?;
        }
        let encoding = encoding(format, &first);
        self.decode(std::io::Cursor::new(first).chain(stream), encoding, packing)
    }

    fn decode(
        &mut self,
        mut stream: impl Read,
        encoding: &'static Encoding,
        packing: Compression,
    ) -> Result<(), SourceError> {
        let mut decoder = (encoding != UTF_8).then(|| encoding.new_decoder_with_bom_removal());
        let mut input = vec![0; BUFFER_BYTES];
        let mut output = vec![0; BUFFER_BYTES];
        let mut line = 1;
        loop {
            let length = match stream.read(&mut input) {
                Ok(length) => length,
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(self.damaged(packing, &error)),
            };
            let bytes = &input[..length];
            match &mut decoder {
                // Invalid UTF-8 is found record by record, where it costs only one record.
                None => self.write(bytes)?,
                Some(decoder) => {
                    let mut rest = bytes;
                    loop {
                        let (result, read, written) =
                            decoder.decode_to_utf8_without_replacement(rest, &mut output, length == 0);
                        self.write(&output[..written])?;
                        line += memchr::memchr_iter(b'\n', &output[..written]).count() as u64;
                        rest = &rest[read..];
                        match result {
                            DecoderResult::InputEmpty => break,
                            DecoderResult::OutputFull => {}
                            DecoderResult::Malformed(..) => return Err(self.malformed(encoding, line)),
                        }
                    }
                }
            }
            if length == 0 {
                return Ok(());
            }
        }
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), SourceError> {
        self.written += bytes.len() as u64;
        if self.written > self.bytes_max {
            return Err(SourceError::TooMuch { name: self.name.to_owned(), limit: self.bytes_max });
        }
        self.file.write_all(bytes).map_err(|error| refused(self.name, self.path, &error))
    }

    fn damaged(&self, packing: Compression, error: &std::io::Error) -> SourceError {
        let problem = match packing {
            Compression::None => error.to_string(),
            Compression::Gzip => format!("the gzip data is damaged or ends early ({error})"),
            Compression::Zstd => format!("the zstd data is damaged or ends early ({error})"),
            Compression::Xz => format!("the xz data is damaged or ends early ({error})"),
            Compression::Bzip2 => format!("the bzip2 data is damaged or ends early ({error})"),
            Compression::Zip => format!("the zip archive cannot be read: {error}"),
        };
        SourceError::Unreadable { name: self.name.to_owned(), problem }
    }

    /// What comes out must be what is meant, and not another archive.
    fn not_packed_twice(&self, head: &[u8]) -> Result<(), SourceError> {
        let problem = match unpack::recognise(head) {
            Ok(Compression::None) => return Ok(()),
            Ok(_) => "what is in it is compressed once more; unpack it first".to_owned(),
            Err(problem) => format!("what is in it cannot be read: {problem}"),
        };
        Err(SourceError::Unreadable { name: self.name.to_owned(), problem })
    }

    fn malformed(&self, encoding: &'static Encoding, line: u64) -> SourceError {
        let problem = format!("these bytes are not {}; mend them, or say the right `encoding`", encoding.name());
        SourceError::Encoding { name: self.name.to_owned(), line, problem }
    }
}

fn compression(name: &str, format: &Format, head: &[u8]) -> Result<Compression, SourceError> {
    let unread = |problem| SourceError::Unreadable { name: name.to_owned(), problem };
    format.compression.map_or_else(|| unpack::recognise(head).map_err(unread), Ok)
}

/// A byte-order mark takes precedence over a definition, as in every browser.
fn encoding(format: &Format, head: &[u8]) -> &'static Encoding {
    match Encoding::for_bom(head) {
        Some((encoding, _)) => encoding,
        None => format.encoding.unwrap_or(UTF_8),
    }
}

fn refused(name: &str, path: &Path, error: &std::io::Error) -> SourceError {
    SourceError::Spool { name: name.to_owned(), path: path.display().to_string(), problem: error.to_string() }
}
