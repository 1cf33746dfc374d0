//! What a file of separated values looks like, before there is any batch: its columns, its first rows, and whether another
//! delimiter would fit better.
//!
//! Only the beginning of the first file is read. What cannot be told by that, such as what is in an archive, is left out:
//! planning says what is wrong with a file.

use std::fs::File;
use std::io::{BufReader, Read};
use std::path::Path;

use gristmill_core::definition::SourceSpec;

use super::csv::RowReader;
use super::cut::{RecordSplitter, Shape};
use super::error::SourceError;
use super::format::{self, Format, Origin};
use super::names::{self, Input};
use super::{plan, stream};

/// How much of a file is looked at.
const BYTES_MAX: u64 = 64 * 1024;

/// How many rows are shown.
const SAMPLE_ROWS: usize = 3;

/// How many records are counted for each delimiter.
const RECORDS_MAX: usize = 20;

/// The delimiters that people use.
const DELIMITERS: [u8; 4] = *b",;\t|";

/// What a file looks like.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Look {
    /// The file, as it is named.
    pub file: String,
    /// What separates its fields.
    pub delimiter: char,
    /// Its columns.
    pub columns: Vec<String>,
    /// Its first rows.
    pub rows: Vec<Vec<String>>,
    /// A delimiter by which every record has the same number of fields, where by its own the first has just one.
    pub better: Option<char>,
}

/// Looks at the first file of a source. `None`: it is not there, or not a plain file of separated values.
///
/// # Errors
///
/// When it is there and cannot be looked at, such as a pipe, which is not opened; and when its header is refused.
pub fn look(spec: &SourceSpec, base_dir: &Path) -> Result<Option<Look>, SourceError> {
    let Ok(Origin::Files(files, format)) = format::origin(spec) else { return Ok(None) };
    let Shape::Csv { delimiter, quote, comment } = format.shape else { return Ok(None) };
    let Some(Input::File { name, path }) = names::inputs(files, base_dir).ok().and_then(|all| all.into_iter().next())
    else {
        return Ok(None);
    };
    let Some(beginning) = beginning(stream::regular(&name, &path)?, &format, &name)? else { return Ok(None) };
    let Beginning { text, line, whole } = beginning;
    let mut splitter = RecordSplitter::new(text.as_slice(), format.shape, format.limit, 0, line);
    let columns = plan::columns(&mut splitter, &format, &name, |error| plan::cut_error(&name, format.limit, error))?;
    let behind = usize::try_from(splitter.place().0).unwrap_or(text.len());
    let mut rows = records(&text[behind..], &format, format.shape, whole);
    rows.truncate(SAMPLE_ROWS);
    let better = (spec.delimiter.is_none() && columns.len() == 1)
        .then(|| {
            DELIMITERS
                .into_iter()
                .find(|other| fits(&records(&text, &format, Shape::Csv { delimiter: *other, quote, comment }, whole)))
        })
        .flatten();
    let (delimiter, better) = (char::from(delimiter), better.map(char::from));
    Ok(Some(Look { file: name, delimiter, columns, rows, better }))
}

/// What stands at the beginning of a file.
struct Beginning {
    /// From the header on.
    text: Vec<u8>,
    /// The line on which that is.
    line: u64,
    /// Whether it is all of the file.
    whole: bool,
}

/// The beginning of a file. `None`: it is empty, or no text.
fn beginning(file: File, format: &Format, name: &str) -> Result<Option<Beginning>, SourceError> {
    let io = |error: std::io::Error| SourceError::from_io(name, &error);
    let mut bytes = Vec::new();
    file.take(BYTES_MAX).read_to_end(&mut bytes).map_err(io)?;
    let whole = (bytes.len() as u64) < BYTES_MAX;
    let mark = bytes.strip_prefix(plan::BYTE_ORDER_MARK).unwrap_or(&bytes);
    let text: Vec<u8> = match format.encoding {
        None => mark.to_vec(),
        Some(encoding) => encoding.decode(mark).0.into_owned().into_bytes(),
    };
    let plain = !text.is_empty()
        && !text.contains(&0)
        && std::str::from_utf8(&text).map_or_else(
            // Perhaps a letter was cut in the middle.
            |error| !whole && error.error_len().is_none(),
            |_| true,
        );
    if !plain {
        return Ok(None);
    }
    let (from, line) = plan::skipped(&mut BufReader::new(text.as_slice()), 0, format.skip_lines, name, io)?;
    let text = text[usize::try_from(from).unwrap_or(text.len()).min(text.len())..].to_vec();
    Ok(Some(Beginning { text, line, whole }))
}

/// The fields of the first records of such a shape. The last one is left out where it may go on.
fn records(text: &[u8], format: &Format, shape: Shape, whole: bool) -> Vec<Vec<String>> {
    let Shape::Csv { delimiter, quote, .. } = shape else { return Vec::new() };
    let mut reader = RowReader::new(delimiter, quote);
    let mut splitter = RecordSplitter::new(text, shape, format.limit, 0, 1);
    let mut records = Vec::new();
    while let Ok(Some(cut)) = splitter.next() {
        if records.len() == RECORDS_MAX || (!whole && usize::try_from(cut.to) == Ok(text.len())) || cut.unclosed {
            break;
        }
        let Ok(fields) = reader.fields(cut.bytes) else { break };
        records.push(fields.into_iter().map(str::to_owned).collect());
    }
    records
}

/// Whether all records have the same number of fields, and more than one.
fn fits(records: &[Vec<String>]) -> bool {
    let width = records.first().map_or(0, Vec::len);
    width > 1 && records.iter().all(|record| record.len() == width)
}

#[cfg(test)]
mod tests {
    use gristmill_core::definition::OneOrMany;

    use super::*;

    fn looked(text: &[u8], more: SourceSpec) -> Option<Look> {
        tried(text, more).expect("it can be looked at")
    }

    fn tried(text: &[u8], more: SourceSpec) -> Result<Option<Look>, SourceError> {
        let folder = tempfile::tempdir().expect("a folder");
        std::fs::write(folder.path().join("a.csv"), text).expect("written");
        look(&SourceSpec { csv: Some(OneOrMany::One("a.csv".to_owned())), ..more }, folder.path())
    }

    #[test]
    fn a_file_is_shown_by_its_columns_and_its_first_rows() {
        let found = looked(b"\xEF\xBB\xBFa,b\n1,\"x\ny\"\n2,\n3,z\n4,w\n", SourceSpec::default()).expect("a look");
        assert_eq!((found.file.as_str(), found.delimiter, found.better), ("a.csv", ',', None));
        assert_eq!(
            (found.columns, found.rows.len(), &found.rows[0][1]),
            (vec!["a".into(), "b".into()], 3, &"x\ny".into())
        );
        let columns = SourceSpec { columns: Some(vec!["n".to_owned()]), ..SourceSpec::default() };
        let found = looked(b"1\n", columns).expect("a look");
        assert_eq!((found.columns, found.rows), (vec!["n".to_owned()], vec![vec!["1".to_owned()]]));
    }

    #[test]
    fn another_delimiter_is_named_only_where_it_fits() {
        let better = |text: &str| looked(text.as_bytes(), SourceSpec::default()).and_then(|found| found.better);
        assert_eq!(better("a;b;c\n1;2;3\n"), Some(';'));
        assert_eq!(better("a\tb\n1\t2\n"), Some('\t'));
        assert_eq!(better("a\n1;2\n3\n"), None, "one column, and a semicolon in it");
        assert_eq!(better("a,b\n1,2\n"), None);
        let said = SourceSpec { delimiter: Some(",".to_owned()), ..SourceSpec::default() };
        assert_eq!(looked(b"a;b\n1;2\n", said).expect("a look").better, None, "the definition says so");
    }

    #[test]
    fn what_is_no_plain_text_is_left_out() {
        assert_eq!(looked(b"\x1f\x8b\x08\0\0\0", SourceSpec::default()), None);
        assert_eq!(looked(b"", SourceSpec::default()), None);
        let missing = SourceSpec { csv: Some(OneOrMany::One("none.csv".to_owned())), ..SourceSpec::default() };
        assert_eq!(look(&missing, Path::new("")), Ok(None));
    }

    #[test]
    fn the_header_is_read_as_a_batch_reads_it() {
        let named = |text: &str, more| looked(text.as_bytes(), more).map(|found| found.columns).expect("a look");
        let trimmed = SourceSpec { trim_header: true, ..SourceSpec::default() };
        assert_eq!(named(" a , b\n1,2\n", trimmed), ["a", "b"]);
        let renamed = SourceSpec {
            duplicate_columns: gristmill_core::definition::DuplicateColumns::Rename,
            ..SourceSpec::default()
        };
        assert_eq!(named("a,a\n1,2\n", renamed), ["a", "a_2"]);
        let skipped = SourceSpec { skip_lines: Some(2), ..SourceSpec::default() };
        let refused = tried(b"Report\n\na,b,a\n1,2,3\n", skipped).expect_err("a name twice").to_string();
        assert!(refused.starts_with("a.csv:3: the header names `a` twice"), "{refused}");
    }

    #[cfg(unix)]
    #[test]
    fn a_pipe_is_refused_and_not_waited_for() {
        let folder = tempfile::tempdir().expect("a folder");
        let made = std::process::Command::new("mkfifo").arg(folder.path().join("a.csv")).status().expect("mkfifo");
        assert!(made.success());
        let (sender, receiver) = std::sync::mpsc::channel();
        let path = folder.path().to_owned();
        std::thread::spawn(move || {
            let spec = SourceSpec { csv: Some(OneOrMany::One("a.csv".to_owned())), ..SourceSpec::default() };
            sender.send(look(&spec, &path).map_err(|error| error.to_string()))
        });
        // Opening it would wait for a writer that never comes.
        let found = receiver.recv_timeout(std::time::Duration::from_secs(20)).expect("it does not wait");
        assert!(found.expect_err("a pipe").contains("a.csv: cannot be read: it is not a file but a pipe"));
    }
}
