//! A stream as text in UTF-8, whatever it is compressed with and however it is encoded.

use std::io::{self, Read};

use encoding_rs::{Decoder, DecoderResult, Encoding, UTF_8};
use gristmill_core::definition::Compression;

use super::error::SourceError;
use super::format::Format;
use super::unpack::{self, Stream, head};

const BUFFER_BYTES: usize = 256 * 1024;

/// A stream that is read as UTF-8. What is UTF-8 already is not looked at: invalid bytes are found record by record, where
/// they cost only one record.
pub(super) struct Text {
    name: String,
    packing: Compression,
    stream: Stream,
    recode: Option<Recode>,
}

/// From another encoding.
struct Recode {
    decoder: Decoder,
    encoding: &'static Encoding,
    input: Vec<u8>,
    /// Which part of it is not decoded yet.
    waiting: std::ops::Range<usize>,
    output: Vec<u8>,
    /// Which part of it is not read yet.
    ready: std::ops::Range<usize>,
    /// The line on which the next byte is.
    line: u64,
    ended: bool,
    finished: bool,
}

/// Bytes that are not what the encoding says.
#[derive(Debug, thiserror::Error)]
#[error("these bytes are not {encoding}; mend them, or say the right `encoding`")]
struct Malformed {
    encoding: &'static str,
    line: u64,
}

impl Text {
    /// Looks at the first bytes, which decide about compression and encoding unless the definition does.
    pub(super) fn open(name: &str, mut stream: Stream, format: &Format) -> Result<Self, SourceError> {
        let first = head(&mut stream).map_err(|error| SourceError::from_io(name, &error))?;
        let packing = compression(name, format, &first)?;
        let stream: Stream = Box::new(io::Cursor::new(first).chain(stream));
        let mut stream = unpack::unpacked(stream, packing).map_err(|error| damaged(name, packing, &error))?;
        let first = head(&mut stream).map_err(|error| damaged(name, packing, &error))?;
        if packing != Compression::None {
            not_packed_twice(name, &first)?;
        }
        let encoding = encoding(format, &first);
        let recode = (encoding != UTF_8).then(|| Recode::new(encoding));
        Ok(Self { name: name.to_owned(), packing, stream: Box::new(io::Cursor::new(first).chain(stream)), recode })
    }

    /// What an error in reading it means.
    pub(super) fn trouble(&self, error: &io::Error) -> SourceError {
        match error.get_ref().and_then(|cause| cause.downcast_ref::<Malformed>()) {
            None => damaged(&self.name, self.packing, error),
            Some(malformed) => {
                SourceError::Encoding { name: self.name.clone(), line: malformed.line, problem: malformed.to_string() }
            }
        }
    }
}

impl Read for Text {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match &mut self.recode {
            None => self.stream.read(buffer),
            Some(recode) => recode.read(&mut self.stream, buffer),
        }
    }
}

impl Recode {
    fn new(encoding: &'static Encoding) -> Self {
        Self {
            decoder: encoding.new_decoder_with_bom_removal(),
            encoding,
            input: vec![0; BUFFER_BYTES],
            waiting: 0..0,
            output: vec![0; BUFFER_BYTES],
            ready: 0..0,
            line: 1,
            ended: false,
            finished: false,
        }
    }

    fn read(&mut self, stream: &mut Stream, buffer: &mut [u8]) -> io::Result<usize> {
        while self.ready.is_empty() && !self.finished {
            if self.waiting.is_empty() && !self.ended {
                let length = stream.read(&mut self.input)?;
                (self.waiting, self.ended) = (0..length, length == 0);
            }
            self.decode()?;
        }
        let length = self.ready.len().min(buffer.len());
        buffer[..length].copy_from_slice(&self.output[self.ready.start..self.ready.start + length]);
        self.ready.start += length;
        Ok(length)
    }

    fn decode(&mut self) -> io::Result<()> {
        let input = &self.input[self.waiting.clone()];
        let (result, read, written) =
            self.decoder.decode_to_utf8_without_replacement(input, &mut self.output, self.ended);
        self.waiting.start += read;
        self.ready = 0..written;
        self.line += memchr::memchr_iter(b'\n', &self.output[..written]).count() as u64;
        match result {
            DecoderResult::InputEmpty => self.finished = self.ended,
            DecoderResult::OutputFull => {}
            DecoderResult::Malformed(..) => {
                let malformed = Malformed { encoding: self.encoding.name(), line: self.line };
                return Err(io::Error::new(io::ErrorKind::InvalidData, malformed));
            }
        }
        Ok(())
    }
}

pub(super) fn compression(name: &str, format: &Format, head: &[u8]) -> Result<Compression, SourceError> {
    let unread = |problem| SourceError::Unreadable { name: name.to_owned(), problem };
    format.compression.map_or_else(|| unpack::recognise(head).map_err(unread), Ok)
}

/// A byte-order mark takes precedence over a definition, as in every browser.
pub(super) fn encoding(format: &Format, head: &[u8]) -> &'static Encoding {
    match Encoding::for_bom(head) {
        Some((encoding, _)) => encoding,
        None => format.encoding.unwrap_or(UTF_8),
    }
}

fn damaged(name: &str, packing: Compression, error: &io::Error) -> SourceError {
    let problem = match packing {
        Compression::None => error.to_string(),
        Compression::Gzip => format!("the gzip data is damaged or ends early ({error})"),
        Compression::Zstd => format!("the zstd data is damaged or ends early ({error})"),
        Compression::Xz => format!("the xz data is damaged or ends early ({error})"),
        Compression::Bzip2 => format!("the bzip2 data is damaged or ends early ({error})"),
        Compression::Zip => format!("the zip archive cannot be read: {error}"),
    };
    SourceError::Unreadable { name: name.to_owned(), problem }
}

/// What comes out must be what is meant, and not another archive.
fn not_packed_twice(name: &str, head: &[u8]) -> Result<(), SourceError> {
    let problem = match unpack::recognise(head) {
        Ok(Compression::None) => return Ok(()),
        Ok(_) => "what is in it is compressed once more; unpack it first".to_owned(),
        Err(problem) => format!("what is in it cannot be read: {problem}"),
    };
    Err(SourceError::Unreadable { name: name.to_owned(), problem })
}
