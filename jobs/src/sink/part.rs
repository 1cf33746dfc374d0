//! One chunk's file, put in place as a whole or not at all.

use std::fmt;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::Path;

use gristmill_core::chunk::OutputPart;
use gristmill_core::id::{BatchId, WorkerId};
use gristmill_store::failpoint;
use sha2::{Digest, Sha256};

use super::{Encoded, SinkError};
use crate::folder;

/// The name of a batch's manifest in the batch's folder.
pub const MANIFEST: &str = "manifest.json";

/// The attempt at a chunk that a part comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct PartName {
    /// The chunk's number.
    pub seq: i64,
    /// Which attempt at it.
    pub attempt: u32,
    /// The incarnation that wrote it: an attempt that was given back at a graceful stop is made again under the same
    /// number, while the write of the one that was cut short may still be under way.
    pub worker: WorkerId,
}

impl fmt::Display for PartName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The end of an id is its random part.
        let worker = self.worker.0.as_u128() & 0xffff_ffff_ffff;
        write!(f, "part-{:06}-a{}-{worker:012x}", self.seq, self.attempt)
    }
}

impl PartName {
    /// The number of the chunk that a part of this name comes from. `None` when it is not the name of one.
    pub fn seq_of(name: &str) -> Option<i64> {
        let (seq, _) = name.strip_prefix("part-")?.split_once("-a")?;
        let plain = !seq.is_empty() && seq.bytes().all(|digit| digit.is_ascii_digit());
        seq.parse().ok().filter(|_| plain)
    }
}

/// Writes a part into the batch's folder; nothing for no items.
pub(super) fn write(
    output: &Path,
    batch: BatchId,
    name: PartName,
    extension: &str,
    encode: impl FnOnce() -> Result<Encoded, String>,
) -> Result<Option<OutputPart>, SinkError> {
    let directory = output.join(batch.to_string());
    let file = format!("{name}.{extension}");
    let Encoded { items, bytes } =
        encode().map_err(|cause| SinkError { path: directory.join(&file).display().to_string(), cause })?;
    if items == 0 {
        return Ok(None);
    }
    folder::make(&directory).map_err(|cause| SinkError::new(&directory, &cause))?;
    put_in_place(&directory, &file, &bytes)?;
    Ok(Some(OutputPart {
        path: format!("{batch}/{file}"),
        items,
        bytes: bytes.len() as u64,
        sha256: hex::encode(Sha256::digest(&bytes)),
    }))
}

/// Writes a file under another name, syncs it to disk, renames it, and syncs the name too. A reader sees the old
/// content or the new one; a crash leaves at most the other name.
pub(super) fn put_in_place(directory: &Path, file: &str, bytes: &[u8]) -> Result<(), SinkError> {
    let (place, temporary) =
        (directory.join(file), directory.join(format!(".{file}.{}", uuid::Uuid::new_v4().simple())));
    let put = write_through(&temporary, bytes).and_then(|()| {
        failpoint::point(if file == MANIFEST { "manifest.written" } else { "part.written" });
        fs::rename(&temporary, &place)
    });
    put.and_then(|()| File::open(directory)?.sync_all()).map_err(|cause| {
        // It may not exist, and there is nothing better to do when it cannot be removed.
        let _ = fs::remove_file(&temporary);
        SinkError::new(&place, &cause)
    })
}

pub(super) fn write_through(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = File::options().write(true).create(true).truncate(true).open(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}
