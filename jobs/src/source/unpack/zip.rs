//! The one file in a zip archive (APPNOTE 6.3), read from its beginning: standard input has no end to begin at.

use std::io::{self, BufRead, BufReader, ErrorKind, Read};

use flate2::Crc;
use flate2::bufread::DeflateDecoder;

use super::Stream;

const LOCAL: [u8; 4] = *b"PK\x03\x04";
const DESCRIPTOR: [u8; 4] = *b"PK\x07\x08";

/// The length of a local header before its name.
const HEADER_BYTES: usize = 26;

/// Reads the one file.
pub(super) struct Zip {
    /// `None` once its end has been checked.
    body: Option<Body>,
    header: Header,
    crc: Crc,
}

enum Body {
    Stored(io::Take<BufReader<Stream>>),
    Deflated(DeflateDecoder<BufReader<Stream>>),
}

struct Header {
    name: String,
    flags: u16,
    method: u16,
    crc: u32,
    packed: u32,
}

impl Header {
    /// Whether checksum and lengths stand behind the data.
    fn is_open(&self) -> bool {
        self.flags & 8 != 0
    }

    fn is_folder(&self) -> bool {
        self.name.ends_with('/')
    }

    /// Whether some system has added it for itself.
    fn is_beside(&self) -> bool {
        self.is_folder() || self.name.starts_with("__MACOSX/")
    }
}

impl Zip {
    /// Opens the archive at its first file.
    pub(super) fn open(stream: Stream) -> io::Result<Self> {
        let mut stream = BufReader::new(stream);
        let header = loop {
            if signature(&mut stream)? != LOCAL {
                return Err(wrong("there is no file in it"));
            }
            let header = header(&mut stream)?;
            if !header.is_folder() {
                break header;
            }
        };
        if header.flags & 1 != 0 {
            return Err(wrong("it is encrypted; unpack it first"));
        }
        if header.name == "[Content_Types].xml" || header.name == "mimetype" {
            return Err(wrong("it is an office document; save the table as CSV"));
        }
        let body = match header.method {
            0 if header.is_open() => return Err(wrong("its file is stored without a length; pack it again")),
            0 => Body::Stored(stream.take(u64::from(header.packed))),
            8 => Body::Deflated(DeflateDecoder::new(stream)),
            other => {
                return Err(wrong(&format!("its file is packed by method {other}; deflate is the one that is read")));
            }
        };
        Ok(Self { body: Some(body), header, crc: Crc::new() })
    }

    /// Compares the checksum, and makes sure that no other file is left unread.
    fn finish(&self, mut rest: BufReader<Stream>) -> io::Result<()> {
        let mut expected = self.header.crc;
        if self.header.is_open() {
            let mut crc = signature(&mut rest)?;
            if crc == DESCRIPTOR {
                crc = signature(&mut rest)?;
            }
            expected = u32::from_le_bytes(crc);
            skip(&mut rest, 8)?;
            // The lengths have twice as many bytes in an archive with large files.
            if !rest.fill_buf()?.starts_with(b"P") {
                skip(&mut rest, 8)?;
            }
        }
        if self.crc.sum() != expected {
            return Err(wrong("the checksum differs"));
        }
        if signature(&mut rest)? == LOCAL {
            let next = header(&mut rest)?;
            if !next.is_beside() {
                let text =
                    format!("there are several files in it, `{}` and `{}`; one is read", self.header.name, next.name);
                return Err(wrong(&text));
            }
        }
        Ok(())
    }
}

impl Read for Zip {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = match &mut self.body {
            None => return Ok(0),
            Some(Body::Stored(body)) => body.read(buffer)?,
            Some(Body::Deflated(body)) => body.read(buffer)?,
        };
        self.crc.update(&buffer[..read]);
        if read == 0 && !buffer.is_empty() {
            match self.body.take() {
                Some(Body::Stored(body)) if body.limit() > 0 => return Err(ErrorKind::UnexpectedEof.into()),
                Some(Body::Stored(body)) => self.finish(body.into_inner())?,
                Some(Body::Deflated(body)) => self.finish(body.into_inner())?,
                None => {}
            }
        }
        Ok(read)
    }
}

fn header(stream: &mut impl Read) -> io::Result<Header> {
    let mut bytes = [0; HEADER_BYTES];
    stream.read_exact(&mut bytes)?;
    let short = |at: usize| u16::from_le_bytes([bytes[at], bytes[at + 1]]);
    let long = |at: usize| u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
    let mut name = vec![0; usize::from(short(22))];
    stream.read_exact(&mut name)?;
    skip(stream, u64::from(short(24)))?;
    let name = String::from_utf8_lossy(&name).into_owned();
    Ok(Header { name, flags: short(2), method: short(4), crc: long(10), packed: long(14) })
}

fn signature(stream: &mut impl Read) -> io::Result<[u8; 4]> {
    let mut bytes = [0; 4];
    stream.read_exact(&mut bytes)?;
    Ok(bytes)
}

fn skip(stream: &mut impl Read, bytes: u64) -> io::Result<()> {
    match io::copy(&mut stream.take(bytes), &mut io::sink())? {
        skipped if skipped == bytes => Ok(()),
        _ => Err(ErrorKind::UnexpectedEof.into()),
    }
}

fn wrong(what: &str) -> io::Error {
    io::Error::new(ErrorKind::InvalidData, what)
}

#[cfg(test)]
mod tests;
