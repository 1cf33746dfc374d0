//! What a file of separated values looks like, before there is any batch: its columns, its first rows, and whether another
//! delimiter would fit better.
//!
//! Only the beginning of the first file is read. What cannot be told by that, such as what is in an archive, is left out:
//! planning says what is wrong with a file.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use gristmill_core::definition::SourceSpec;

use super::csv::RowReader;
use super::cut::{RecordSplitter, Shape};
use super::format::{self, Format, Origin};
use super::names::{self, Input};

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
pub fn look(spec: &SourceSpec, base_dir: &Path) -> Option<Look> {
    let Ok(Origin::Files(files, format)) = format::origin(spec) else { return None };
    let Shape::Csv { delimiter, quote } = format.shape else { return None };
    let inputs = names::inputs(files, base_dir).ok()?;
    let Some(Input::File { name, path }) = inputs.into_iter().next() else { return None };
    let (text, whole) = beginning(&path, &format)?;
    let mut records = records(&text, &format, Shape::Csv { delimiter, quote }, whole);
    let better = (spec.delimiter.is_none() && records.first().is_some_and(|first| first.len() == 1))
        .then(|| DELIMITERS.into_iter().find(|other| fits(&records_by(&text, &format, *other, quote, whole))))
        .flatten();
    let columns = match &format.columns {
        Some(columns) => columns.clone(),
        None if records.is_empty() => return None,
        None => records.remove(0),
    };
    records.truncate(SAMPLE_ROWS);
    let (delimiter, better) = (char::from(delimiter), better.map(char::from));
    Some(Look { file: name, delimiter, columns, rows: records, better })
}

/// The beginning of a file of text, and whether it is all of it.
fn beginning(path: &Path, format: &Format) -> Option<(Vec<u8>, bool)> {
    let mut bytes = Vec::new();
    File::open(path).ok()?.take(BYTES_MAX).read_to_end(&mut bytes).ok()?;
    let whole = (bytes.len() as u64) < BYTES_MAX;
    let mark = bytes.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(&bytes);
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
    let lines = usize::try_from(format.skip_lines).ok()?;
    let rest = text.split_inclusive(|byte| *byte == b'\n').skip(lines).flatten().copied().collect();
    plain.then_some((rest, whole))
}

fn records_by(text: &[u8], format: &Format, delimiter: u8, quote: u8, whole: bool) -> Vec<Vec<String>> {
    records(text, format, Shape::Csv { delimiter, quote }, whole)
}

/// The fields of the first records. The last one is left out where it may go on.
fn records(text: &[u8], format: &Format, shape: Shape, whole: bool) -> Vec<Vec<String>> {
    let Shape::Csv { delimiter, quote } = shape else { return Vec::new() };
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
        assert_eq!(look(&missing, Path::new("")), None);
    }
}
