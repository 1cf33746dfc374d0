//! The first records of a source, for a trial: no more is read than what is shown, and nothing is written.

use std::path::{Path, PathBuf};

use gristmill_core::definition::SourceSpec;

use super::error::SourceError;
use super::format::{self, Format, Origin};
use super::gather;
use super::record::Record;
use super::stream::{Files, Streamed};
use super::unpack::Stream;
use super::{ChunkSize, OpenOptions, blocking, open, read};

/// Reads the first records of a source as a batch would have them, each with its position and its line.
///
/// Of files only the beginnings are read, through compression and encoding; of a query as many rows as are asked for. So
/// an error that stands behind what is shown is not met. Sources that are joined, or merged by a key, are read whole. A pipe is refused: what a trial takes from it would be missing
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
            blocking(move || files(&names, format, &base_dir, stdin, limit)).await
        }
        Origin::Gathered => gather::peek(spec, &base_dir, stdin, limit).await,
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
    format: Format,
    base_dir: &Path,
    stdin: Option<Stream>,
    limit: u64,
) -> Result<Vec<Record>, SourceError> {
    let mut files = Files::new(names, format, base_dir, stdin, false)?;
    let mut records = Vec::new();
    for position in 0..limit {
        let Some((_, Streamed { line, item })) = files.next()? else { break };
        records.push(Record { position, line, item });
    }
    Ok(records)
}
