//! The first records of a source, for a trial: no more is read than what is shown, and nothing is written.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};

use gristmill_core::definition::SourceSpec;

use super::chunk::ItemReader;
use super::cut::{CutError, RecordSplitter};
use super::error::SourceError;
use super::format::{self, Format, Origin};
use super::names::{self, Input};
use super::plan::{self, BYTE_ORDER_MARK, WidthCheck};
use super::record::Record;
use super::text::Text;
use super::unpack::Stream;
use super::{ChunkSize, OpenOptions, blocking, open, read};

/// How much is read at once: a trial shows a few records.
const BUFFER_BYTES: usize = 8 * 1024;

/// Reads the first records of a source as a batch would have them, each with its position and its line.
///
/// Of files only the beginnings are read, through compression and encoding; of a query as many rows as are asked for. So
/// an error that stands behind what is shown is not met. A pipe is refused: what a trial takes from it would be missing
/// in the batch.
///
/// # Errors
///
/// As [`open`] and [`read`].
pub async fn peek(
    spec: &SourceSpec,
    base_dir: PathBuf,
    stdin: Option<Stream>,
    limit: u64,
) -> Result<Vec<Record>, SourceError> {
    match format::origin(spec)? {
        Origin::Files(names, format) => {
            let names = names.to_vec();
            blocking(move || files(&names, &format, &base_dir, stdin, limit)).await
        }
        Origin::Sql(_) => {
            // Nothing of a query is spooled.
            let (spool_dir, spool_bytes_max, chunk) = (PathBuf::new(), 0, ChunkSize::Items(limit));
            let mut planner =
                open(spec, OpenOptions { spool_dir, base_dir, chunk, spool_bytes_max, stdin: None }).await?;
            match planner.next_chunk().await? {
                Some(chunk) => read(&chunk, planner.fingerprint(), spec).await,
                None => Ok(Vec::new()),
            }
        }
    }
}

fn files(
    names: &[String],
    format: &Format,
    base_dir: &Path,
    mut stdin: Option<Stream>,
    limit: u64,
) -> Result<Vec<Record>, SourceError> {
    let most = usize::try_from(limit).unwrap_or(usize::MAX);
    let mut records = Vec::new();
    for input in names::inputs(names, base_dir)? {
        if records.len() >= most {
            break;
        }
        let (name, stream) = match input {
            Input::Stdin => ("standard input".to_owned(), stdin.take().ok_or_else(names::no_stdin)?),
            Input::File { name, path } => {
                let stream: Stream = Box::new(regular(&name, &path)?);
                (name, stream)
            }
        };
        let mut text = Text::open(&name, stream, format)?;
        beginning(&name, &mut text, format, most, &mut records)?;
    }
    Ok(records)
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

/// The records at the beginning of a text, until there are enough.
fn beginning(
    name: &str,
    text: &mut Text,
    format: &Format,
    most: usize,
    records: &mut Vec<Record>,
) -> Result<(), SourceError> {
    let mut reader = BufReader::new(&mut *text);
    let mut trouble = None;
    let made = cut(name, &mut reader, format, most, records, &mut trouble);
    drop(reader);
    match (made, trouble) {
        // Only the text knows what an error of reading it means.
        (Err(_), Some(error)) => Err(text.trouble(&error)),
        (made, _) => made,
    }
}

fn cut(
    name: &str,
    reader: &mut impl BufRead,
    format: &Format,
    most: usize,
    records: &mut Vec<Record>,
    trouble: &mut Option<std::io::Error>,
) -> Result<(), SourceError> {
    let mut io = |error: std::io::Error| {
        let meant = SourceError::from_io(name, &error);
        *trouble = Some(error);
        meant
    };
    let mark = reader.fill_buf().map_err(&mut io)?.starts_with(BYTE_ORDER_MARK);
    if mark {
        reader.consume(BYTE_ORDER_MARK.len());
    }
    let (from, line) = plan::skipped(reader, 0, format.skip_lines, name, &mut io)?;
    let mut wrong = |error: CutError| match error {
        CutError::Io(error) => io(error),
        other => plan::cut_error(name, format.limit, other),
    };
    let mut splitter =
        RecordSplitter::with_buffer(reader.by_ref(), format.shape, format.limit, (from, line), BUFFER_BYTES);
    let columns = plan::columns(&mut splitter, format, name, &mut wrong)?;
    let mut width = WidthCheck::new(format, columns.len());
    let mut items = ItemReader::new(format, &columns);
    while records.len() < most {
        let Some(cut) = splitter.next().map_err(&mut wrong)? else { break };
        if let Some(width) = &mut width {
            width.check(name, &cut)?;
        }
        let item = items.item(cut.bytes, cut.unclosed);
        records.push(Record { position: records.len() as u64, line: Some(cut.line), item });
    }
    Ok(())
}
