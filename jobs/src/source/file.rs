//! The state of a file when the batch was planned, and whether it is still the same.

use std::collections::HashMap;
use std::fs::{File, Metadata};
use std::io::{Read, Seek, SeekFrom};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant, UNIX_EPOCH};

use gristmill_core::chunk::FileFingerprint;
use sha2::{Digest, Sha256};

use super::error::SourceError;

/// How much of each end goes into [`FileFingerprint::edges`].
const EDGE_BYTES: u64 = 64 * 1024;

/// How many files' verified states are remembered.
const REMEMBERED: usize = 1_024;

/// How long a state must have been known before it is trusted without reading the edges again. File systems keep time
/// in ticks of some milliseconds: two writes within one tick look like one.
const SETTLED: Duration = Duration::from_secs(1);

/// Takes the fingerprint of an open file.
pub(super) fn fingerprint(file: &mut File, path: &str, name: &str) -> Result<FileFingerprint, SourceError> {
    let metadata = file.metadata().map_err(|error| SourceError::from_io(name, &error))?;
    let edges = edges(file, metadata.len()).map_err(|error| SourceError::from_io(name, &error))?;
    Ok(FileFingerprint {
        path: path.to_owned(),
        name: name.to_owned(),
        bytes: metadata.len(),
        modified_ns: modified_ns(&metadata),
        edges,
        columns: Vec::new(),
    })
}

/// Opens the file if it still matches its fingerprint.
///
/// # Errors
///
/// [`SourceError::Changed`] when length, time or edges differ.
pub(super) fn open_unchanged(fingerprint: &FileFingerprint) -> Result<File, SourceError> {
    let mut file = File::open(&fingerprint.path).map_err(|error| SourceError::from_io(&fingerprint.name, &error))?;
    let metadata = still_the_same(&file, fingerprint)?;
    if !remembered(fingerprint, &metadata) {
        let found =
            edges(&mut file, fingerprint.bytes).map_err(|error| SourceError::from_io(&fingerprint.name, &error))?;
        if found != fingerprint.edges {
            return Err(changed(fingerprint, "other bytes stand at its beginning or its end".to_owned()));
        }
        remember(fingerprint, &still_the_same(&file, fingerprint)?);
    }
    Ok(file)
}

/// Compares what is cheap to compare: length and time.
pub(super) fn still_the_same(file: &File, fingerprint: &FileFingerprint) -> Result<Metadata, SourceError> {
    let metadata = file.metadata().map_err(|error| SourceError::from_io(&fingerprint.name, &error))?;
    if metadata.len() != fingerprint.bytes {
        return Err(changed(fingerprint, format!("it had {} bytes and has {}", fingerprint.bytes, metadata.len())));
    }
    if modified_ns(&metadata) != fingerprint.modified_ns {
        return Err(changed(fingerprint, "it was written to in between".to_owned()));
    }
    Ok(metadata)
}

/// The error for a file that no longer matches the plan.
pub(super) fn changed(fingerprint: &FileFingerprint, problem: String) -> SourceError {
    SourceError::Changed { name: fingerprint.name.clone(), problem }
}

fn edges(file: &mut File, bytes: u64) -> std::io::Result<String> {
    let mut digest = Sha256::new();
    let mut edge = Vec::new();
    file.seek(SeekFrom::Start(0))?;
    file.by_ref().take(EDGE_BYTES).read_to_end(&mut edge)?;
    digest.update(&edge);
    edge.clear();
    file.seek(SeekFrom::Start(bytes.saturating_sub(EDGE_BYTES).max(EDGE_BYTES)))?;
    file.by_ref().take(EDGE_BYTES).read_to_end(&mut edge)?;
    digest.update(&edge);
    Ok(hex::encode(digest.finalize()))
}

fn modified_ns(metadata: &Metadata) -> i128 {
    match metadata.modified() {
        Err(_) => 0,
        Ok(time) => match time.duration_since(UNIX_EPOCH) {
            Ok(after) => i128::try_from(after.as_nanos()).unwrap_or(i128::MAX),
            Err(before) => -i128::try_from(before.duration().as_nanos()).unwrap_or(i128::MAX),
        },
    }
}

/// Which state of which file was verified, and since when that state has been known.
struct Verified {
    edges: String,
    identity: Identity,
    since: Instant,
    settled: bool,
}

/// With chunks of a few rows, hashing the edges would cost more than the rows, so a state that cannot have changed
/// unnoticed is not hashed again. A write cannot hide: it moves `ctime`, which no program can set back.
static VERIFIED: Mutex<Option<HashMap<String, Verified>>> = Mutex::new(None);

fn remembered(fingerprint: &FileFingerprint, metadata: &Metadata) -> bool {
    let Some(identity) = identity(metadata) else { return false };
    let verified = VERIFIED.lock().unwrap_or_else(PoisonError::into_inner);
    verified
        .as_ref()
        .and_then(|files| files.get(&fingerprint.path))
        .is_some_and(|known| known.settled && known.identity == identity && known.edges == fingerprint.edges)
}

fn remember(fingerprint: &FileFingerprint, metadata: &Metadata) {
    let Some(identity) = identity(metadata) else { return };
    let mut verified = VERIFIED.lock().unwrap_or_else(PoisonError::into_inner);
    let files = verified.get_or_insert_default();
    if let Some(known) = files.get_mut(&fingerprint.path)
        && known.identity == identity
        && known.edges == fingerprint.edges
    {
        known.settled |= known.since.elapsed() >= SETTLED;
        return;
    }
    if files.len() >= REMEMBERED {
        files.clear();
    }
    let known = Verified { edges: fingerprint.edges.clone(), identity, since: Instant::now(), settled: false };
    files.insert(fingerprint.path.clone(), known);
}

/// Device, inode, and time of change in seconds and nanoseconds.
type Identity = (u64, u64, i64, i64);

#[cfg(unix)]
fn identity(metadata: &Metadata) -> Option<Identity> {
    use std::os::unix::fs::MetadataExt;
    Some((metadata.dev(), metadata.ino(), metadata.ctime(), metadata.ctime_nsec()))
}

#[cfg(not(unix))]
fn identity(_metadata: &Metadata) -> Option<Identity> {
    None
}
