//! The records of files one after the other, for who needs them all, or the first ones: no plan, and nothing is kept.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::Path;

use serde_json::Value;

use super::cut::{CutError, RecordSplitter};
use super::error::SourceError;
use super::format::Format;
use super::item::ItemReader;
use super::names::{self, Input};
use super::plan::{self, BYTE_ORDER_MARK, WidthCheck};
use super::record::Unreadable;
use super::text::Text;
use super::unpack::Stream;

/// How much is read at once.
const BUFFER_BYTES: usize = 8 * 1024;

/// A record, and where it is from.
pub(super) struct Streamed {
    pub(super) line: Option<u64>,
    pub(super) item: Result<Value, Unreadable>,
}

/// All files of a source.
pub(super) struct Files {
    waiting: std::vec::IntoIter<Input>,
    format: Format,
    stdin: Option<Stream>,
    /// Whether a pipe may be read: what is taken from it is gone.
    pipes: bool,
    open: Option<OneFile>,
    /// The name and the columns of the first one.
    first: Option<(String, Vec<String>)>,
}

impl Files {
    /// Finds the files. They are opened one after the other.
    pub(super) fn new(
        names: &[String],
        format: Format,
        base_dir: &Path,
        stdin: Option<Stream>,
        pipes: bool,
    ) -> Result<Self, SourceError> {
        let waiting = names::inputs(names, base_dir)?.into_iter();
        Ok(Self { waiting, format, stdin, pipes, open: None, first: None })
    }

    /// The next record, and the name of its file.
    pub(super) fn next(&mut self) -> Result<Option<(&str, Streamed)>, SourceError> {
        loop {
            if let Some(open) = &mut self.open {
                match open.next()? {
                    Some(record) => return Ok(self.open.as_ref().map(|open| (open.name.as_str(), record))),
                    None => self.open = None,
                }
            }
            let Some(input) = self.waiting.next() else { return Ok(None) };
            let opened = self.opened(input)?;
            match &self.first {
                None => self.first = Some((opened.name.clone(), opened.columns.clone())),
                Some((name, columns)) => plan::same_header((name, columns), (&opened.name, &opened.columns))?,
            }
            self.open = Some(opened);
        }
    }

    fn opened(&mut self, input: Input) -> Result<OneFile, SourceError> {
        let (name, stream): (String, Stream) = match input {
            Input::Stdin => ("standard input".to_owned(), self.stdin.take().ok_or_else(names::no_stdin)?),
            Input::File { name, path } if self.pipes => {
                let file = File::open(&path).map_err(|error| SourceError::from_io(&name, &error))?;
                (name, Box::new(file))
            }
            Input::File { name, path } => {
                let file = regular(&name, &path)?;
                (name, Box::new(file))
            }
        };
        OneFile::open(name, stream, &self.format)
    }
}

/// Opens what is a file and nothing else: opening a pipe waits for who writes into it, and reading from it takes away what
/// is meant for the batch.
pub(super) fn regular(name: &str, path: &Path) -> Result<File, SourceError> {
    let io = |error: std::io::Error| SourceError::from_io(name, &error);
    if !std::fs::metadata(path).map_err(io)?.is_file() {
        return Err(SourceError::Unreadable {
            name: name.to_owned(),
            problem: "it is not a file but a pipe or a device, and what is read from it here would be missing in the \
                      batch; name a file, or `-` for standard input"
                .to_owned(),
        });
    }
    File::open(path).map_err(io)
}

/// One file, of which the header has been read.
struct OneFile {
    name: String,
    limit: usize,
    columns: Vec<String>,
    splitter: RecordSplitter<BufReader<Text>>,
    width: Option<WidthCheck>,
    items: ItemReader,
}

impl OneFile {
    fn open(name: String, stream: Stream, format: &Format) -> Result<Self, SourceError> {
        let mut reader = BufReader::new(Text::open(&name, stream, format)?);
        let mut failed = None;
        let mut keep = |error: std::io::Error| {
            let meant = SourceError::from_io(&name, &error);
            failed = Some(error);
            meant
        };
        let from = match reader.fill_buf() {
            Ok(first) if first.starts_with(BYTE_ORDER_MARK) => Ok(BYTE_ORDER_MARK.len()),
            Ok(_) => Ok(0),
            Err(error) => Err(keep(error)),
        };
        let place = from.and_then(|mark| {
            reader.consume(mark);
            plan::skipped(&mut reader, 0, format.skip_lines, &name, &mut keep)
        });
        let place = match (place, failed) {
            (Err(_), Some(error)) => return Err(reader.get_ref().trouble(&error)),
            (place, _) => place?,
        };
        let mut splitter = RecordSplitter::with_buffer(reader, format.shape, format.limit, place, BUFFER_BYTES);
        let mut failed = None;
        let columns = plan::columns(&mut splitter, format, &name, |error| match error {
            CutError::Io(error) => {
                let meant = SourceError::from_io(&name, &error);
                failed = Some(error);
                meant
            }
            other => plan::cut_error(&name, format.limit, other),
        });
        let columns = match (columns, failed) {
            (Err(_), Some(error)) => return Err(splitter.reader().get_ref().trouble(&error)),
            (columns, _) => columns?,
        };
        let width = WidthCheck::new(format, columns.len());
        let items = ItemReader::new(format, &columns);
        Ok(Self { name, limit: format.limit, columns, splitter, width, items })
    }

    fn next(&mut self) -> Result<Option<Streamed>, SourceError> {
        match self.splitter.next() {
            Ok(None) => Ok(None),
            Ok(Some(cut)) => {
                if let Some(width) = &mut self.width {
                    width.check(&self.name, &cut)?;
                }
                Ok(Some(Streamed { line: Some(cut.line), item: self.items.item(cut.bytes, cut.unclosed) }))
            }
            Err(CutError::Io(error)) => Err(self.splitter.reader().get_ref().trouble(&error)),
            Err(other) => Err(plan::cut_error(&self.name, self.limit, other)),
        }
    }
}
