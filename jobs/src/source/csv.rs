//! Separated values: the header, and a row as an object.

use gristmill_core::definition::{DuplicateColumns, SourceSpec};
use memchr::memchr_iter;
use serde_json::{Map, Value};

use super::error::SourceError;
use super::record::Unreadable;

/// The most columns that a header may have.
pub const COLUMNS_MAX: usize = 4_096;

/// What is done to the names in a header.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct HeaderNames {
    pub(super) trim: bool,
    pub(super) duplicates: DuplicateColumns,
}

/// Takes rows apart with `csv-core`. One is used for many rows: it keeps its buffers.
#[derive(Debug)]
pub(crate) struct RowReader {
    core: csv_core::Reader,
    delimiter: u8,
    text: Vec<u8>,
    ends: Vec<usize>,
}

impl RowReader {
    pub(super) fn new(delimiter: u8, quote: u8) -> Self {
        let mut core = csv_core::ReaderBuilder::new().delimiter(delimiter).quote(quote).build();
        // A reader drops a byte-order mark from the first bytes it sees; in the middle of a file the same bytes belong
        // to the field. A blank line is not a record, but it counts as seen.
        let _ = core.read_record(b"\n", &mut [0; 4], &mut [0; 4]);
        Self { core, delimiter, text: Vec::new(), ends: Vec::new() }
    }

    /// How many fields a row has. Its line end must be cut off, and every quote closed.
    pub(super) fn width(&mut self, row: &[u8]) -> usize {
        self.parse(row)
    }

    /// The fields of a row, in UTF-8.
    pub(super) fn fields(&mut self, row: &[u8]) -> Result<Vec<&str>, std::str::Utf8Error> {
        std::str::from_utf8(row)?;
        let width = self.parse(row);
        // Cut only at ASCII bytes, so the parts of a valid text are valid texts.
        let text = std::str::from_utf8(&self.text[..self.ends[width - 1]])?;
        let mut begin = 0;
        Ok(self.ends[..width]
            .iter()
            .map(|end| {
                let field = &text[begin..*end];
                begin = *end;
                field
            })
            .collect())
    }

    fn parse(&mut self, row: &[u8]) -> usize {
        // No field is longer than its row, and no row has more fields than its delimiters plus one, so the automaton
        // never runs out of room.
        let most = memchr_iter(self.delimiter, row).count() + 2;
        self.text.resize(self.text.len().max(row.len() + 1), 0);
        self.ends.resize(self.ends.len().max(most), 0);
        let (_, _, wrote, ended) = self.core.read_record(row, &mut self.text, &mut self.ends);
        let (_, _, _, last) = self.core.read_record(b"\n", &mut self.text[wrote..], &mut self.ends[ended..]);
        ended + last
    }
}

/// The row as an object with the header's names.
pub(super) fn item(
    reader: &mut RowReader,
    columns: &[String],
    row: &[u8],
    unclosed: bool,
) -> Result<Value, Unreadable> {
    if unclosed {
        return Err(Unreadable::new("a quote opens in this row that is never closed; close it or double it", row));
    }
    let fields = match reader.fields(row) {
        Ok(fields) => fields,
        Err(error) => return Err(Unreadable::not_utf8(&error, row)),
    };
    if fields.len() != columns.len() {
        let found = count_fields(fields.len());
        return Err(Unreadable::new(format!("row has {found}, the header has {}", columns.len()), row));
    }
    let mut object = Map::with_capacity(columns.len());
    for (column, field) in columns.iter().zip(fields) {
        object.insert(column.clone(), Value::String(field.to_owned()));
    }
    Ok(Value::Object(object))
}

pub(super) fn count_fields(width: usize) -> String {
    if width == 1 { "1 field".to_owned() } else { format!("{width} fields") }
}

/// Returns the columns that the definition names, checked.
pub(super) fn said_columns(spec: &SourceSpec) -> Result<Option<Vec<String>>, SourceError> {
    match &spec.columns {
        None => Ok(None),
        Some(columns) => match columns_problem(columns) {
            None => Ok(Some(columns.clone())),
            Some(problem) => Err(SourceError::Setting(format!("`columns`: {problem}"))),
        },
    }
}

/// Returns the names in a header row, checked.
pub(super) fn header(
    reader: &mut RowReader,
    row: (&[u8], bool),
    name: &str,
    line: u64,
    names: HeaderNames,
) -> Result<Vec<String>, SourceError> {
    let (row, unclosed) = row;
    let wrong = |problem: String| SourceError::Header { name: name.to_owned(), line, problem };
    if unclosed {
        return Err(wrong("a quote opens in the header that is never closed".to_owned()));
    }
    let named = |field: &str| if names.trim { field.trim().to_owned() } else { field.to_owned() };
    let mut columns: Vec<String> = match reader.fields(row) {
        Ok(fields) => fields.into_iter().map(named).collect(),
        Err(error) => {
            let problem = format!("the header {}", Unreadable::utf8_problem(&error, row));
            return Err(SourceError::Encoding { name: name.to_owned(), line, problem });
        }
    };
    if names.duplicates == DuplicateColumns::Rename {
        rename(&mut columns);
    }
    match columns_problem(&columns) {
        None => Ok(columns),
        Some(problem) => Err(wrong(format!("the header {problem}"))),
    }
}

/// Gives the second and all further columns of a name a number that makes theirs unique.
fn rename(columns: &mut [String]) {
    let mut taken: std::collections::HashSet<String> = columns.iter().cloned().collect();
    let mut seen: std::collections::HashMap<String, u64> = std::collections::HashMap::new();
    for column in columns.iter_mut().filter(|column| !column.is_empty()) {
        let count = seen.entry(column.clone()).or_insert(0);
        *count += 1;
        if *count == 1 {
            continue;
        }
        let mut name = format!("{column}_{count}");
        while !taken.insert(name.clone()) {
            *count += 1;
            name = format!("{column}_{count}");
        }
        *column = name;
    }
}

fn columns_problem(columns: &[String]) -> Option<String> {
    if columns.is_empty() {
        return Some("names no columns".to_owned());
    }
    if columns.len() > COLUMNS_MAX {
        return Some(format!(
            "has {} columns, over the limit of {COLUMNS_MAX}; check the delimiter, or cut the file",
            columns.len()
        ));
    }
    let mut seen = std::collections::HashMap::with_capacity(columns.len());
    for (at, column) in columns.iter().enumerate() {
        let place = at + 1;
        if column.is_empty() {
            return Some(format!(
                "has no name for column {place} of {}; every column needs one (without a header, name them in `columns`)",
                columns.len()
            ));
        }
        if column.contains('\0') {
            return Some(format!(
                "has a NUL in the name of column {place}; a file in UTF-16 needs `encoding = \"utf-16le\"`"
            ));
        }
        if let Some(first) = seen.insert(column.as_str(), place) {
            return Some(format!("names `{column}` twice, as column {first} and {place}; every name must be unique"));
        }
    }
    None
}
