//! The rows of a chunk of separated values, as they are in the file.

use gristmill_core::chunk::SourceFingerprint;
use memchr::memchr;

use super::chunk::{self, Range};
use super::csv::{self, RowReader};
use super::cut::Shape;
use super::error::SourceError;
use super::record::Record;

/// A chunk's rows. Each can be had as its fields, or as the record that other sources give.
#[derive(Debug)]
pub(crate) struct Rows {
    bytes: Vec<u8>,
    extents: Vec<Row>,
    columns: Vec<String>,
    delimiter: u8,
    quote: u8,
    first: u64,
}

#[derive(Debug, Clone, Copy)]
struct Row {
    from: usize,
    to: usize,
    line: u64,
    unclosed: bool,
}

impl Rows {
    /// Reads the rows of a range; the file must match the plan, before and after.
    pub(super) fn read(
        range: Range,
        fingerprint: &SourceFingerprint,
        delimiter: u8,
        quote: u8,
    ) -> Result<Self, SourceError> {
        let file = chunk::file(range, fingerprint)?;
        let bytes = chunk::bytes(range, file)?;
        let mut extents = Vec::with_capacity(usize::try_from(range.items).unwrap_or(0).min(bytes.len()));
        chunk::each(&bytes, range.line, Shape::Csv { delimiter, quote }, |from, extent, line| {
            extents.push(Row { from, to: from + extent.content, line, unclosed: extent.unclosed });
        });
        chunk::as_planned(range, file, extents.len())?;
        Ok(Self { bytes, extents, columns: file.columns.clone(), delimiter, quote, first: range.first })
    }

    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.extents.len()
    }

    /// The names of the columns.
    pub(crate) fn columns(&self) -> &[String] {
        &self.columns
    }

    /// What takes rows apart.
    pub(crate) fn reader(&self) -> RowReader {
        RowReader::new(self.delimiter, self.quote)
    }

    /// Gives the fields of a row to `take`. `None`: there are none, because it cannot be read.
    pub(crate) fn fields<R>(
        &self,
        number: usize,
        reader: &mut RowReader,
        take: impl FnOnce(&[&str]) -> R,
    ) -> Option<R> {
        let row = self.extents.get(number).filter(|row| !row.unclosed)?;
        let bytes = &self.bytes[row.from..row.to];
        if memchr(self.quote, bytes).is_some() {
            return reader.fields(bytes).ok().map(|fields| take(&fields));
        }
        // Without quotes the delimiters are all there is.
        let text = std::str::from_utf8(bytes).ok()?;
        let mut fields = Vec::with_capacity(self.columns.len());
        let mut begin = 0;
        for at in memchr::memchr_iter(self.delimiter, bytes) {
            fields.push(&text[begin..at]);
            begin = at + 1;
        }
        fields.push(&text[begin..]);
        Some(take(&fields))
    }

    /// A row as a record.
    pub(crate) fn record(&self, number: usize) -> Record {
        let row = self.extents[number];
        let item = csv::item(&mut self.reader(), &self.columns, &self.bytes[row.from..row.to], row.unclosed);
        Record { position: self.first + number as u64, line: Some(row.line), item }
    }

    /// All of them as records.
    pub(crate) fn records(&self) -> Vec<Record> {
        (0..self.len()).map(|number| self.record(number)).collect()
    }
}
