//! From a chunk's byte range to its records.

use std::io::{Read, Seek, SeekFrom};

use gristmill_core::chunk::{FileFingerprint, SourceFingerprint};

use super::cut::{Extent, Shape};
use super::error::SourceError;
use super::file;
use super::format::Format;
use super::gather;
use super::item::ItemReader;
use super::record::Record;
use super::stream::Streamed;

/// A byte range of one of the source's files, and the plan's record of it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Range {
    pub(super) file: u32,
    pub(super) from: u64,
    pub(super) to: u64,
    pub(super) line: u64,
    pub(super) items: u64,
    pub(super) first: u64,
}

/// The file of a range.
pub(super) fn file(range: Range, fingerprint: &SourceFingerprint) -> Result<&FileFingerprint, SourceError> {
    fingerprint.files.get(range.file as usize).ok_or_else(|| {
        let problem = format!("the chunk is of file {}, and the plan has {}", range.file, fingerprint.files.len());
        SourceError::Changed { name: "the plan".to_owned(), problem }
    })
}

/// Reads the records of a range; the file must match the plan, before and after.
pub(super) fn read(range: Range, fingerprint: &SourceFingerprint, format: &Format) -> Result<Vec<Record>, SourceError> {
    let file = file(range, fingerprint)?;
    let bytes = bytes(range, file)?;
    let records = records(&bytes, range, &file.columns, format);
    as_planned(range, file, records.len())?;
    Ok(records)
}

/// A chunk has as many records as were planned.
pub(super) fn as_planned(range: Range, file: &FileFingerprint, found: usize) -> Result<(), SourceError> {
    if found as u64 == range.items {
        return Ok(());
    }
    let problem = format!(
        "bytes {} to {} had {} records and have {found}; were its settings edited?",
        range.from, range.to, range.items
    );
    Err(file::changed(file, problem))
}

/// The bytes of a range; the file must match the plan, before and after.
pub(super) fn bytes(range: Range, fingerprint: &FileFingerprint) -> Result<Vec<u8>, SourceError> {
    let length = range.to.checked_sub(range.from).filter(|_| range.to <= fingerprint.bytes);
    let length = length.and_then(|length| usize::try_from(length).ok()).ok_or_else(|| {
        file::changed(
            fingerprint,
            format!("bytes {} to {} are not within its {}", range.from, range.to, fingerprint.bytes),
        )
    })?;
    let mut file = file::open_unchanged(fingerprint)?;
    let mut bytes = vec![0; length];
    let read = file.seek(SeekFrom::Start(range.from)).and_then(|_| file.read_exact(&mut bytes));
    file::still_the_same(&file, fingerprint)?;
    read.map_err(|error| SourceError::from_io(&fingerprint.name, &error))?;
    Ok(bytes)
}

fn records(bytes: &[u8], range: Range, columns: &[String], format: &Format) -> Vec<Record> {
    let mut reader = ItemReader::new(format, columns);
    let mut records = Vec::with_capacity(usize::try_from(range.items).unwrap_or(0).min(bytes.len()));
    each(bytes, range.line, format.shape, |from, extent, line| {
        let record = &bytes[from..from + extent.content];
        let position = range.first + records.len() as u64;
        records.push(if format.gathered {
            let Streamed { line, item } = gather::read_line(record);
            Record { position, line, item }
        } else {
            Record { position, line: Some(line), item: reader.item(record, extent.unclosed) }
        });
    });
    records
}

/// Finds the records: where each begins, how far it goes, and on which line it is.
pub(super) fn each(bytes: &[u8], mut line: u64, shape: Shape, mut found: impl FnMut(usize, Extent, u64)) {
    let mut at = 0;
    loop {
        let (blank, lines) = shape.blank(&bytes[at..]);
        at += blank;
        line += lines;
        let rest = &bytes[at..];
        let Some(extent) = shape.end(rest, true).filter(|_| !rest.is_empty()) else { return };
        if !shape.is_comment(rest) {
            found(at, extent, line);
        }
        at += extent.next;
        line += extent.lines;
    }
}
