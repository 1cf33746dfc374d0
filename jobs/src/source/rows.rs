//! The rows of a chunk of separated values or of JSON lines, as they are in the file.

use std::borrow::Cow;

use gristmill_core::aggregate::Datum;
use gristmill_core::chunk::SourceFingerprint;
use memchr::memchr;

use super::chunk::{self, Range};
use super::csv::{self, RowReader};
use super::cut::Shape;
use super::error::SourceError;
use super::flat;
use super::jsonl;
use super::record::Record;

/// A chunk's rows. Each can be had as its fields, or as the record that other sources give.
#[derive(Debug)]
pub(crate) struct Rows {
    bytes: Vec<u8>,
    extents: Vec<Row>,
    columns: Vec<String>,
    shape: Shape,
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
        shape: Shape,
    ) -> Result<Option<Self>, SourceError> {
        let file = chunk::file(range, fingerprint)?;
        let bytes = chunk::bytes(range, file)?;
        let mut extents = Vec::with_capacity(usize::try_from(range.items).unwrap_or(0).min(bytes.len()));
        chunk::each(&bytes, range.line, shape, |from, extent, line| {
            extents.push(Row { from, to: from + extent.content, line, unclosed: extent.unclosed });
        });
        chunk::as_planned(range, file, extents.len())?;
        let columns = match shape {
            Shape::Csv { .. } => Some(file.columns.clone()),
            // Most files have the same keys in every line: those of the first line of a chunk.
            Shape::Lines => extents.first().and_then(|row| flat::keys(&bytes[row.from..row.to])),
            Shape::Fixed { .. } => None,
        };
        Ok(columns.map(|columns| Self { bytes, extents, columns, shape, first: range.first }))
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
        let (delimiter, quote) = self.signs();
        RowReader::new(delimiter, quote)
    }

    fn signs(&self) -> (u8, u8) {
        match self.shape {
            Shape::Csv { delimiter, quote, .. } => (delimiter, quote),
            Shape::Lines | Shape::Fixed { .. } => (b',', b'"'),
        }
    }

    /// Gives the values of a row to `take`, which may put more behind them. `None`: there are none, because it cannot be
    /// read, or is no row.
    pub(crate) fn fields<R>(
        &self,
        number: usize,
        reader: &mut RowReader,
        take: impl FnOnce(Vec<Datum<'_>>) -> R,
    ) -> Option<R> {
        let row = self.extents.get(number).filter(|row| !row.unclosed)?;
        let bytes = &self.bytes[row.from..row.to];
        let (delimiter, quote) = self.signs();
        if self.shape == Shape::Lines {
            return flat::row(bytes, &self.columns).map(take);
        }
        let datum = |field| Datum::Text(Cow::Borrowed(field));
        if memchr(quote, bytes).is_some() {
            return reader.fields(bytes).ok().map(|fields| take(fields.into_iter().map(datum).collect()));
        }
        // Without quotes the delimiters are all there is.
        let text = std::str::from_utf8(bytes).ok()?;
        let mut fields = Vec::with_capacity(self.columns.len() + 4);
        let mut begin = 0;
        for at in memchr::memchr_iter(delimiter, bytes) {
            fields.push(datum(&text[begin..at]));
            begin = at + 1;
        }
        fields.push(datum(&text[begin..]));
        Some(take(fields))
    }

    /// A row as a record.
    pub(crate) fn record(&self, number: usize) -> Record {
        let row = self.extents[number];
        let bytes = &self.bytes[row.from..row.to];
        let item = match self.shape {
            Shape::Csv { .. } => csv::item(&mut self.reader(), &self.columns, bytes, row.unclosed),
            Shape::Lines | Shape::Fixed { .. } => jsonl::item(bytes),
        };
        Record { position: self.first + number as u64, line: Some(row.line), item }
    }

    /// All of them as records.
    pub(crate) fn records(&self) -> Vec<Record> {
        (0..self.len()).map(|number| self.record(number)).collect()
    }
}
