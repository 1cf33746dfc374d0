//! Where records begin and end: a fast scan that looks only at quotes and line ends.
//!
//! For CSV the boundaries are those of `csv-core`'s automaton, record for record: both `
//! ` and `\r` end a record, blank lines are not records, a quote opens a field only at its first byte, and a doubled
//! quote does not close it. A property test keeps the two in agreement. Scanning with the automaton itself would look
//! at every byte one by one.

use std::io::Read;

use memchr::{memchr, memchr_iter, memchr2, memchr3};

/// How much is read at once. Grows only for a record that does not fit.
const BUFFER_BYTES: usize = 256 * 1024;

/// What separates records.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Shape {
    /// Separated values.
    Csv {
        /// Between fields.
        delimiter: u8,
        /// Around fields.
        quote: u8,
        /// What a line begins with that is no record.
        comment: Option<u8>,
    },
    /// One record per line.
    Lines,
    /// One record per line, whose spaces belong to it.
    Fixed {
        /// What a line begins with that is no record.
        comment: Option<u8>,
    },
}

/// Where a record ends, counted from its first byte.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Extent {
    /// Its length without the line end.
    pub(super) content: usize,
    /// Its length with the line end.
    pub(super) next: usize,
    /// How many lines `next` is further on.
    pub(super) lines: u64,
    /// The input ended inside quotes.
    pub(super) unclosed: bool,
}

impl Shape {
    /// Returns how many bytes at the front belong to no record, and how many lines they are.
    pub(super) fn blank(self, bytes: &[u8]) -> (usize, u64) {
        let blank = |byte: &u8| match self {
            Self::Csv { .. } | Self::Fixed { .. } => matches!(byte, b'\n' | b'\r'),
            Self::Lines => byte.is_ascii_whitespace(),
        };
        let length = bytes.iter().position(|byte| !blank(byte)).unwrap_or(bytes.len());
        (length, newlines(&bytes[..length]))
    }

    /// Returns where the record that starts at the first of `bytes` ends. `None` when more bytes are needed; never
    /// `None` when these are the `last` ones.
    pub(super) fn end(self, bytes: &[u8], last: bool) -> Option<Extent> {
        match self {
            // In a comment a quote is nothing but a sign.
            Self::Csv { delimiter, quote, .. } if !self.is_comment(bytes) => csv_end(bytes, delimiter, quote, last),
            Self::Csv { .. } => match memchr2(b'\n', b'\r', bytes) {
                Some(at) => {
                    Some(Extent { content: at, next: at + 1, lines: u64::from(bytes[at] == b'\n'), unclosed: false })
                }
                None => last.then_some(Extent { content: bytes.len(), next: bytes.len(), lines: 0, unclosed: false }),
            },
            Self::Lines | Self::Fixed { .. } => match memchr(b'\n', bytes) {
                Some(at) => Some(Extent { content: at, next: at + 1, lines: 1, unclosed: false }),
                None => last.then_some(Extent { content: bytes.len(), next: bytes.len(), lines: 0, unclosed: false }),
            },
        }
    }

    /// Whether what begins with these bytes is a comment, and no record.
    pub(super) fn is_comment(self, bytes: &[u8]) -> bool {
        match self {
            Self::Csv { comment, .. } | Self::Fixed { comment } => {
                comment.is_some() && bytes.first().copied() == comment
            }
            Self::Lines => false,
        }
    }
}

fn csv_end(bytes: &[u8], delimiter: u8, quote: u8, last: bool) -> Option<Extent> {
    let whole = |unclosed| Extent { content: bytes.len(), next: bytes.len(), lines: newlines(bytes), unclosed };
    let mut at = 0;
    let mut quoted = false;
    loop {
        let Some(found) = memchr3(quote, b'\n', b'\r', &bytes[at..]) else {
            return last.then(|| whole(false));
        };
        let found = at + found;
        if bytes[found] != quote {
            // Only quotes can hide a line end, so without any there is just this one.
            let lines = if quoted { newlines(&bytes[..=found]) } else { u64::from(bytes[found] == b'\n') };
            return Some(Extent { content: found, next: found + 1, lines, unclosed: false });
        }
        at = found + 1;
        if found == 0 || bytes[found - 1] == delimiter {
            quoted = true;
            match closing_quote(bytes, at, quote, last) {
                Closing::After(next) => at = next,
                Closing::Unknown => return None,
                Closing::Never => return last.then(|| whole(true)),
            }
        }
    }
}

enum Closing {
    /// The quoted part ends before this byte.
    After(usize),
    /// The next byte decides, and has not been read yet.
    Unknown,
    /// Not in these bytes.
    Never,
}

fn closing_quote(bytes: &[u8], mut at: usize, quote: u8, last: bool) -> Closing {
    while let Some(found) = memchr(quote, &bytes[at..]) {
        let found = at + found;
        match bytes.get(found + 1) {
            Some(next) if *next == quote => at = found + 2,
            None if !last => return Closing::Unknown,
            _ => return Closing::After(found + 1),
        }
    }
    Closing::Never
}

fn newlines(bytes: &[u8]) -> u64 {
    memchr_iter(b'\n', bytes).count() as u64
}

/// One record of a stream.
#[derive(Debug, Clone, Copy)]
pub(super) struct Cut<'a> {
    /// Where it begins.
    pub(super) from: u64,
    /// One after its last byte, line end included.
    pub(super) to: u64,
    /// The line on which it begins.
    pub(super) line: u64,
    /// Its bytes without the line end.
    pub(super) bytes: &'a [u8],
    /// The input ended inside quotes.
    pub(super) unclosed: bool,
}

/// Why there is no next record.
#[derive(Debug)]
pub(super) enum CutError {
    /// The stream failed.
    Io(std::io::Error),
    /// The record that begins on this line is over the limit.
    TooLong {
        /// The line, counted from 1.
        line: u64,
        /// Whether a quote is open where the limit was reached.
        unclosed: bool,
    },
}

/// Cuts a stream into records. Holds one buffer, which never grows beyond the record limit.
pub(super) struct RecordSplitter<R> {
    reader: R,
    shape: Shape,
    limit: usize,
    buffer: Vec<u8>,
    /// The start of the part of the buffer that has been read and not yet returned.
    start: usize,
    end: usize,
    ended: bool,
    offset: u64,
    line: u64,
}

impl<R: Read> RecordSplitter<R> {
    /// Starts where a record may begin: `offset` and `line` are those of the reader's next byte.
    pub(super) fn new(reader: R, shape: Shape, limit: usize, offset: u64, line: u64) -> Self {
        Self::with_buffer(reader, shape, limit, (offset, line), BUFFER_BYTES)
    }

    /// As [`RecordSplitter::new`], but starting with a buffer of another size, which is filled before the first record.
    pub(super) fn with_buffer(reader: R, shape: Shape, limit: usize, (offset, line): (u64, u64), bytes: usize) -> Self {
        Self { reader, shape, limit, buffer: vec![0; bytes], start: 0, end: 0, ended: false, offset, line }
    }

    /// Returns the next record, or `None` at the end.
    pub(super) fn next(&mut self) -> Result<Option<Cut<'_>>, CutError> {
        let extent = loop {
            if !self.skip_blank()? {
                return Ok(None);
            }
            let extent = self.find_end()?;
            if !self.shape.is_comment(&self.buffer[self.start..self.end]) {
                break extent;
            }
            self.advance(extent.next, extent.lines);
        };
        if extent.content > self.limit {
            return Err(CutError::TooLong { line: self.line, unclosed: extent.unclosed });
        }
        let (begin, from, line) = (self.start, self.offset, self.line);
        self.advance(extent.next, extent.lines);
        Ok(Some(Cut {
            from,
            to: self.offset,
            line,
            bytes: &self.buffer[begin..begin + extent.content],
            unclosed: extent.unclosed,
        }))
    }

    /// Returns how many bytes have been scanned, counted from the beginning of the file.
    pub(super) fn offset(&self) -> u64 {
        self.offset
    }

    /// What it reads from.
    pub(super) fn reader(&self) -> &R {
        &self.reader
    }

    /// Returns how many bytes have been scanned, and the line on which the next one is.
    pub(super) fn place(&self) -> (u64, u64) {
        (self.offset, self.line)
    }

    /// Returns `false` when only blank lines are left.
    fn skip_blank(&mut self) -> Result<bool, CutError> {
        loop {
            let (length, lines) = self.shape.blank(&self.buffer[self.start..self.end]);
            self.advance(length, lines);
            if self.start < self.end {
                return Ok(true);
            }
            if self.ended {
                return Ok(false);
            }
            self.fill()?;
        }
    }

    fn find_end(&mut self) -> Result<Extent, CutError> {
        loop {
            let bytes = &self.buffer[self.start..self.end];
            if let Some(extent) = self.shape.end(bytes, self.ended) {
                return Ok(extent);
            }
            // Two bytes more than the limit: a line end, and the byte that shows whether a quote closes.
            if bytes.len() > self.limit + 2 {
                let unclosed = self.shape.end(bytes, true).is_some_and(|extent| extent.unclosed);
                return Err(CutError::TooLong { line: self.line, unclosed });
            }
            self.fill()?;
        }
    }

    fn advance(&mut self, bytes: usize, lines: u64) {
        self.start += bytes;
        self.offset += bytes as u64;
        self.line += lines;
    }

    /// Reads more; makes room first.
    fn fill(&mut self) -> Result<(), CutError> {
        if self.start > 0 {
            self.buffer.copy_within(self.start..self.end, 0);
            self.end -= self.start;
            self.start = 0;
        }
        if self.end == self.buffer.len() {
            self.buffer.resize(self.buffer.len() * 2, 0);
        }
        // Fills the whole buffer each time: a record's bytes are scanned again after each fill, so many small reads
        // from a pipe would make that quadratic.
        while self.end < self.buffer.len() {
            match self.reader.read(&mut self.buffer[self.end..]) {
                Ok(0) => {
                    self.ended = true;
                    break;
                }
                Ok(read) => self.end += read,
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(error) => return Err(CutError::Io(error)),
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const CSV: Shape = Shape::Csv { delimiter: b',', quote: b'"', comment: None };

    /// Where it begins and ends, its line, its bytes.
    type Found = (u64, u64, u64, Vec<u8>);

    fn cut_all(bytes: &[u8], shape: Shape, limit: usize, buffer: usize) -> Result<Vec<Found>, CutError> {
        let mut splitter = RecordSplitter::with_buffer(bytes, shape, limit, (0, 1), buffer);
        let mut cuts = Vec::new();
        while let Some(cut) = splitter.next()? {
            cuts.push((cut.from, cut.to, cut.line, cut.bytes.to_vec()));
        }
        assert_eq!(splitter.offset(), bytes.len() as u64, "every byte was looked at");
        Ok(cuts)
    }

    /// Where `csv-core` ends each record, and its fields.
    fn core_records(bytes: &[u8]) -> Vec<(usize, Vec<Vec<u8>>)> {
        let mut core = csv_core::Reader::new();
        let _ = core.read_record(b"\n", &mut [0; 4], &mut [0; 4]);
        let (mut text, mut ends) = (vec![0; bytes.len() + 8], vec![0; bytes.len() + 8]);
        let (mut at, mut wrote, mut ended) = (0, 0, 0);
        let mut records = Vec::new();
        loop {
            let (result, read, text_len, ends_len) =
                core.read_record(&bytes[at..], &mut text[wrote..], &mut ends[ended..]);
            at += read;
            wrote += text_len;
            ended += ends_len;
            match result {
                csv_core::ReadRecordResult::InputEmpty => {}
                csv_core::ReadRecordResult::Record => {
                    let mut begin = 0;
                    let fields = ends[..ended].iter().map(|end| {
                        let field = text[begin..*end].to_vec();
                        begin = *end;
                        field
                    });
                    records.push((at, fields.collect()));
                    (wrote, ended) = (0, 0);
                }
                csv_core::ReadRecordResult::End => return records,
                full => panic!("no room: {full:?}"),
            }
        }
    }

    fn nasty() -> impl Strategy<Value = Vec<u8>> {
        let piece = prop_oneof![
            3 => Just(b"\"".to_vec()),
            2 => Just(b",".to_vec()),
            2 => Just(b"\n".to_vec()),
            1 => Just(b"\r".to_vec()),
            1 => Just(b"\r\n".to_vec()),
            1 => Just(b"\"\"".to_vec()),
            3 => Just(b"ab".to_vec()),
            1 => Just(b"\xEF\xBB\xBF".to_vec()),
            1 => Just(b"\0\xFF".to_vec()),
        ];
        prop::collection::vec(piece, 0..60).prop_map(|pieces| pieces.concat())
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(4_000))]

        #[test]
        fn the_cut_agrees_with_csv_core_record_for_record(bytes in nasty(), buffer in 1_usize..40) {
            let cuts = cut_all(&bytes, CSV, 10_000, buffer).expect("it is within the limit");
            let expected = core_records(&bytes);
            prop_assert_eq!(cuts.len(), expected.len());
            for ((_, to, line, _), (end, _)) in cuts.iter().zip(&expected) {
                prop_assert_eq!(*to as usize, *end);
                prop_assert!(*line >= 1);
            }
            for (from, _, line, content) in &cuts {
                let before = &bytes[..*from as usize];
                prop_assert_eq!(*line, 1 + before.iter().filter(|byte| **byte == b'\n').count() as u64);
                prop_assert!(bytes[*from as usize..].starts_with(content));
            }
        }

        #[test]
        fn lines_are_cut_at_newlines_only(bytes in nasty(), buffer in 1_usize..40) {
            let cuts = cut_all(&bytes, Shape::Lines, 10_000, buffer).expect("it is within the limit");
            let found: Vec<Vec<u8>> = cuts.iter().map(|cut| cut.3.trim_ascii().to_vec()).collect();
            let expected: Vec<Vec<u8>> = bytes
                .split(|byte| *byte == b'\n')
                .map(|line| line.trim_ascii().to_vec())
                .filter(|line| !line.is_empty())
                .collect();
            prop_assert_eq!(found, expected);
        }
    }

    #[test]
    fn a_record_of_the_limit_passes_and_one_byte_more_does_not() {
        for buffer in [1, 3, 64] {
            for end in ["", "\n", "\r\n"] {
                let fits = format!("a\n{}{end}", "x".repeat(10));
                assert_eq!(cut_all(fits.as_bytes(), CSV, 10, buffer).expect("it fits").len(), 2);
                let over = format!("a\n{}{end}", "x".repeat(11));
                let error = cut_all(over.as_bytes(), CSV, 10, buffer).expect_err("it is too long");
                assert!(matches!(error, CutError::TooLong { line: 2, unclosed: false }), "{error:?}");
            }
        }
    }

    #[test]
    fn a_quote_that_swallows_the_file_is_named() {
        let bytes = format!("a,b\n1,\"2\n{}", "3,4\n".repeat(100));
        let error = cut_all(bytes.as_bytes(), CSV, 50, 16).expect_err("it is too long");
        assert!(matches!(error, CutError::TooLong { line: 2, unclosed: true }), "{error:?}");
    }
}
