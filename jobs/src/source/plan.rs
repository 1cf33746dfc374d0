//! From files to chunks: one pass that finds where records begin and holds nothing but a buffer.

use std::fs::File;
use std::io::{BufRead, BufReader, Read, Seek, SeekFrom};

use gristmill_core::chunk::{ChunkPayload, FileFingerprint, Slice, SourceFingerprint};
use gristmill_core::definition::{CHUNK_ITEMS_MAX, Ragged};
use memchr::memchr;

use super::ChunkSize;
use super::csv::{self, RowReader};
use super::cut::{Cut, CutError, RecordSplitter, Shape};
use super::error::SourceError;
use super::file;
use super::format::Format;
use super::spool::Ready;

/// A chunk ends early at this many bytes, so that a worker's memory does not depend on how long the records are.
pub const CHUNK_BYTES_MAX: u64 = 8 * 1024 * 1024;

/// A chunk ends early at this many fields (rows × columns): a field in memory takes some 150 bytes however short it is,
/// so a byte limit alone would not bound a file of thousands of columns.
pub const CHUNK_FIELDS_MAX: u64 = 250_000;

/// Into how many chunks an input is cut whose size is to fit: enough for many workers, and for a progress to be seen.
const FITTING_CHUNKS: u64 = 64;

/// A chunk of less is not worth its transaction and its file.
const FITTING_BYTES_MIN: u64 = 64 * 1024;

/// A chunk of more only takes more memory.
const FITTING_BYTES_MAX: u64 = 1024 * 1024;

pub(super) const BYTE_ORDER_MARK: &[u8] = b"\xEF\xBB\xBF";

/// Files whose headers have been read and whose records have not.
pub(super) struct FilePlan {
    files: Vec<Body>,
    format: Format,
    chunk: ChunkSize,
}

/// A file and where its records begin.
struct Body {
    fingerprint: FileFingerprint,
    from: u64,
    line: u64,
}

impl FilePlan {
    /// Takes the files' fingerprints and reads their headers.
    pub(super) fn new(files: &[Ready], format: Format, chunk: ChunkSize) -> Result<Self, SourceError> {
        let mut bodies: Vec<Body> = Vec::with_capacity(files.len());
        for ready in files {
            let body = body(ready, &format)?;
            if let Some(first) = bodies.first() {
                let (ours, theirs) = (&first.fingerprint, &body.fingerprint);
                same_header((&ours.name, &ours.columns), (&theirs.name, &theirs.columns))?;
            }
            bodies.push(body);
        }
        Ok(Self { files: bodies, format, chunk })
    }

    /// Returns what the files look like now.
    pub(super) fn fingerprint(&self) -> SourceFingerprint {
        SourceFingerprint { files: self.files.iter().map(|body| body.fingerprint.clone()).collect() }
    }

    /// Cuts all files. Ends early without an error when `emit` reports that the receiver is gone.
    pub(super) fn run(&self, mut emit: impl FnMut(ChunkPayload) -> bool) -> Result<(), SourceError> {
        let mut first = 0;
        for (number, body) in self.files.iter().enumerate() {
            let number = u32::try_from(number).map_err(|_| SourceError::Setting("too many files".to_owned()))?;
            let columns = body.fingerprint.columns.len().max(1) as u64;
            let (items, bytes) = match self.chunk {
                ChunkSize::Items(items) => (items, CHUNK_BYTES_MAX),
                ChunkSize::Fitting => (CHUNK_ITEMS_MAX, self.fitting()),
            };
            let items = items.min(CHUNK_FIELDS_MAX / columns).max(1);
            let mut chunks = Chunks { number, items, bytes, first, open: None };
            if !self.cut(body, &mut chunks, &mut emit)? {
                return Ok(());
            }
            first = chunks.first;
        }
        Ok(())
    }

    /// How many bytes make a chunk of this input.
    fn fitting(&self) -> u64 {
        let all: u64 = self.files.iter().map(|body| body.fingerprint.bytes).sum();
        (all / FITTING_CHUNKS).clamp(FITTING_BYTES_MIN, FITTING_BYTES_MAX)
    }

    fn cut(
        &self,
        body: &Body,
        chunks: &mut Chunks,
        emit: &mut impl FnMut(ChunkPayload) -> bool,
    ) -> Result<bool, SourceError> {
        let name = &body.fingerprint.name;
        let mut file = file::open_unchanged(&body.fingerprint)?;
        file.seek(SeekFrom::Start(body.from)).map_err(|error| SourceError::from_io(name, &error))?;
        let mut width = WidthCheck::new(&self.format, body.fingerprint.columns.len());
        let mut splitter = RecordSplitter::new(&file, self.format.shape, self.format.limit, body.from, body.line);
        while let Some(cut) = splitter.next().map_err(|error| cut_error(name, self.format.limit, error))? {
            if let Some(width) = &mut width {
                width.check(name, &cut)?;
            }
            if let Some(payload) = chunks.add(&cut)
                && !emit(payload)
            {
                return Ok(false);
            }
        }
        let seen = splitter.offset();
        file::still_the_same(&file, &body.fingerprint)?;
        if seen != body.fingerprint.bytes {
            let problem = format!("it had {} bytes and gave {seen}", body.fingerprint.bytes);
            return Err(file::changed(&body.fingerprint, problem));
        }
        Ok(chunks.close().is_none_or(emit))
    }
}

/// Collects records into chunks of one file.
struct Chunks {
    number: u32,
    /// The most items of a chunk.
    items: u64,
    /// A chunk ends at so many bytes.
    bytes: u64,
    /// The position of the next chunk's first item.
    first: u64,
    open: Option<Open>,
}

struct Open {
    from: u64,
    to: u64,
    line: u64,
    items: u64,
}

impl Chunks {
    /// Adds a record; returns the chunk that it completes, if any.
    fn add(&mut self, cut: &Cut<'_>) -> Option<ChunkPayload> {
        let open = self.open.get_or_insert(Open { from: cut.from, to: cut.to, line: cut.line, items: 0 });
        open.items += 1;
        open.to = cut.to;
        let full = open.items >= self.items || open.to - open.from >= self.bytes;
        if full { self.close() } else { None }
    }

    fn close(&mut self) -> Option<ChunkPayload> {
        let open = self.open.take()?;
        let first = self.first;
        self.first += open.items;
        let slice = Slice::Bytes { file: self.number, from: open.from, to: open.to, line: open.line };
        Some(ChunkPayload::new(slice, open.items, first))
    }
}

/// Counts the fields of each row, when a row of another width is an error.
pub(super) struct WidthCheck {
    reader: RowReader,
    expected: usize,
}

impl WidthCheck {
    pub(super) fn new(format: &Format, expected: usize) -> Option<Self> {
        match (format.shape, format.ragged) {
            (Shape::Csv { delimiter, quote, .. }, Ragged::Error) => {
                Some(Self { reader: RowReader::new(delimiter, quote), expected })
            }
            _ => None,
        }
    }

    pub(super) fn check(&mut self, name: &str, cut: &Cut<'_>) -> Result<(), SourceError> {
        let found = if cut.unclosed {
            "a quote that is never closed".to_owned()
        } else {
            match self.reader.width(cut.bytes) {
                width if width == self.expected => return Ok(()),
                width => csv::count_fields(width),
            }
        };
        Err(SourceError::Ragged { name: name.to_owned(), line: cut.line, found, expected: self.expected })
    }
}

fn body(ready: &Ready, format: &Format) -> Result<Body, SourceError> {
    let name = &ready.name;
    let io = |error: std::io::Error| SourceError::from_io(name, &error);
    let mut file = File::open(&ready.path).map_err(io)?;
    let mut fingerprint = file::fingerprint(&mut file, &ready.path.to_string_lossy(), name)?;
    let mut mark = Vec::new();
    file.rewind().map_err(io)?;
    file.by_ref().take(BYTE_ORDER_MARK.len() as u64).read_to_end(&mut mark).map_err(io)?;
    let from = if mark == BYTE_ORDER_MARK { mark.len() as u64 } else { 0 };
    file.seek(SeekFrom::Start(from)).map_err(io)?;
    let (from, line) = skipped(&mut BufReader::new(&file), from, format.skip_lines, name, io)?;
    file.seek(SeekFrom::Start(from)).map_err(io)?;
    let mut splitter = RecordSplitter::new(&file, format.shape, format.limit, from, line);
    fingerprint.columns = columns(&mut splitter, format, name, |error| cut_error(name, format.limit, error))?;
    let (from, line) = splitter.place();
    Ok(Body { fingerprint, from, line })
}

/// The names of the columns: those of the definition, or of the header, which is read then. Lines of JSON have none.
pub(super) fn columns<R: Read>(
    splitter: &mut RecordSplitter<R>,
    format: &Format,
    name: &str,
    wrong: impl FnOnce(CutError) -> SourceError,
) -> Result<Vec<String>, SourceError> {
    let Shape::Csv { delimiter, quote, comment } = format.shape else {
        return Ok(format.fields.iter().map(|field| field.name.clone()).collect());
    };
    if let Some(columns) = &format.columns {
        return Ok(columns.clone());
    }
    let Some(row) = splitter.next().map_err(wrong)? else {
        return Err(no_header(name, splitter.offset(), comment.is_some()));
    };
    let mut reader = RowReader::new(delimiter, quote);
    csv::header(&mut reader, (row.bytes, row.unclosed), name, row.line, format.names)
}

/// Where the file goes on behind so many lines, and on which line that is.
pub(super) fn skipped(
    reader: &mut impl BufRead,
    from: u64,
    lines: u64,
    name: &str,
    wrong: impl FnOnce(std::io::Error) -> SourceError,
) -> Result<(u64, u64), SourceError> {
    let (mut at, mut left) = (from, lines);
    while left > 0 {
        let piece = match reader.fill_buf() {
            Ok(piece) => piece,
            Err(error) => return Err(wrong(error)),
        };
        if piece.is_empty() {
            let problem = format!("the file has {} lines, and `skip_lines` leaves out {lines}", lines - left);
            return Err(SourceError::Header { name: name.to_owned(), line: 1, problem });
        }
        let used = match memchr(b'\n', piece) {
            Some(end) => {
                left -= 1;
                end + 1
            }
            None => piece.len(),
        };
        reader.consume(used);
        at += used as u64;
    }
    Ok((at, lines + 1))
}

fn no_header(name: &str, bytes: u64, commented: bool) -> SourceError {
    let what = match (bytes, commented) {
        (0, _) => "the file is empty",
        (_, false) => "the file has blank lines only",
        (_, true) => "the file has blank lines and comments only",
    };
    SourceError::Header {
        name: name.to_owned(),
        line: 1,
        problem: format!("{what}; a CSV file needs a header, or `columns` in the definition that name its columns"),
    }
}

/// Whether the columns of a file, each with its name, are those of the first.
pub(super) fn same_header(
    (first, ours): (&str, &[String]),
    (name, theirs): (&str, &[String]),
) -> Result<(), SourceError> {
    if ours == theirs {
        return Ok(());
    }
    let pairs = ours.iter().zip(theirs).enumerate();
    let difference = match pairs.into_iter().find(|(_, (ours, theirs))| ours != theirs) {
        Some((at, (ours, theirs))) => format!("column {} is `{theirs}` here and `{ours}` there", at + 1),
        None => format!("there are {} columns here and {} there", theirs.len(), ours.len()),
    };
    Err(SourceError::Header {
        name: name.to_owned(),
        line: 1,
        problem: format!(
            "the header differs from that of {first}: {difference}; files of one source need the same columns in the same order"
        ),
    })
}

pub(super) fn cut_error(name: &str, limit: usize, error: CutError) -> SourceError {
    match error {
        CutError::Io(error) => SourceError::from_io(name, &error),
        CutError::TooLong { line, unclosed } => {
            SourceError::TooLong { name: name.to_owned(), line, limit: limit as u64, unclosed }
        }
    }
}
