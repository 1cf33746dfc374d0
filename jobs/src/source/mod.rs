//! The sources of a batch: from what the user named to the records of one chunk.
//!
//! Planning ([`open`], [`Planner::next_chunk`]) passes over the input once and says where the chunks are, by reference;
//! a worker then reads one of them ([`read`]). Neither holds more than a buffer or a chunk, however large the input is.
//! The plan includes fingerprints, and a chunk that finds its source changed is an error: a wrong result would be
//! worse.
//!
//! * `format`, `names`: what the definition says, and which files it means.
//! * `spool`: spools of input that cannot be read by ranges; `text`: such input as UTF-8.
//! * `cut`, `plan`: where records begin, and where chunks do.
//! * `file`: the state of a file when it was planned, and whether it is still the same.
//! * `gather`: several sources in one.
//! * `chunk`, `item`, `csv`, `fixed`, `jsonl`, `record`: from bytes to records; `rows`: to the fields of each row, of JSON lines by `flat`.
//! * `sniff`: what a file looks like, for people; `peek`: its first records, for a trial; `stream`: all of
//!   them, one after the other.
//! * `sql`: rows of a query.

mod chunk;
mod csv;
mod cut;
mod error;
mod file;
mod fixed;
mod flat;
mod format;
mod gather;
mod item;
mod jsonl;
mod names;
mod peek;
mod plan;
mod record;
mod rows;
mod sniff;
mod spool;
mod sql;
mod stream;
mod text;
mod unpack;

use std::path::PathBuf;

use gristmill_core::chunk::{ChunkPayload, Slice, SourceFingerprint};
use gristmill_core::definition::{CHUNK_ITEMS_DEFAULT, CHUNK_ITEMS_MAX, SourceSpec};
use gristmill_core::inline;
use serde_json::Value;
use tokio::sync::mpsc;

pub use csv::COLUMNS_MAX;
pub use error::SourceError;
pub use format::{RECORD_BYTES_DEFAULT, RECORD_BYTES_MAX};
pub use jsonl::DEPTH_MAX;
pub use names::FILES_MAX;
pub use peek::peek;
pub use plan::{CHUNK_BYTES_MAX, CHUNK_FIELDS_MAX};
pub use record::{RAW_BYTES_MAX, Record, Unreadable};
pub(crate) use rows::Rows;
pub use sniff::{Look, look};
pub use spool::{SPOOL_BYTES_DEFAULT, remove_spooled};
pub use unpack::Stream;

use format::{Format, Origin};
use gather::Gathering;
use plan::FilePlan;
use spool::Spooled;

/// How many chunks the scan may be ahead of the planner's caller.
const CHUNKS_AHEAD: usize = 256;

/// How much makes a chunk. A chunk of files ends early at [`CHUNK_BYTES_MAX`], at [`CHUNK_FIELDS_MAX`] and at the end of
/// its file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ChunkSize {
    /// So many items: 1 to [`CHUNK_ITEMS_MAX`].
    Items(u64),
    /// Of files as many as suit the size of the input: so many that there is work for every worker, and no more, because
    /// each chunk is a transaction and a file. Of a query [`CHUNK_ITEMS_DEFAULT`].
    Fitting,
}

impl From<u64> for ChunkSize {
    fn from(items: u64) -> Self {
        Self::Items(items)
    }
}

impl ChunkSize {
    fn items(self) -> u64 {
        match self {
            Self::Items(items) => items,
            Self::Fitting => CHUNK_ITEMS_DEFAULT,
        }
    }
}

/// What a source needs in addition to its definition.
pub struct OpenOptions {
    /// Where spools of compressed, re-encoded and streamed input are kept. Created when it is missing. Workers on other
    /// machines need it under the same path, as they need the files themselves.
    pub spool_dir: PathBuf,
    /// The folder that relative paths start from.
    pub base_dir: PathBuf,
    /// How much makes a chunk.
    pub chunk: ChunkSize,
    /// The most bytes that one spool may have, decompressed: a small file may hold terabytes of zeros.
    pub spool_bytes_max: u64,
    /// What `-` reads. `None` where there is no standard input, as in a schedule.
    pub stdin: Option<Stream>,
}

impl std::fmt::Debug for OpenOptions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("OpenOptions")
            .field("spool_dir", &self.spool_dir)
            .field("base_dir", &self.base_dir)
            .field("chunk", &self.chunk)
            .field("spool_bytes_max", &self.spool_bytes_max)
            .field("stdin", &self.stdin.is_some())
            .finish()
    }
}

/// Checks whether the settings of a source make sense, without looking at any file or table.
///
/// # Errors
///
/// [`SourceError::Setting`], which names the setting and says what would be right.
pub fn check(spec: &SourceSpec) -> Result<(), SourceError> {
    match format::origin(spec)? {
        Origin::Files(..) | Origin::Sql(_) => Ok(()),
        Origin::Gathered => gather::check(spec),
    }
}

/// Checks a source and takes its fingerprint: everything that can be known before a batch exists.
///
/// The files exist and can be read; the definition's settings make sense; headers are unique, complete and equal. An
/// input without records is an empty batch, unless its CSV header is missing: that is an error. Spools are written
/// here. Errors that only a pass over the records shows (a record over the limit, a ragged row that is an error) come
/// from [`Planner::next_chunk`].
///
/// # Errors
///
/// See [`SourceError`].
pub async fn open(spec: &SourceSpec, options: OpenOptions) -> Result<Planner, SourceError> {
    if let ChunkSize::Items(items) = options.chunk
        && !(1..=CHUNK_ITEMS_MAX).contains(&items)
    {
        let problem = format!("`chunk` = {items} must be from 1 to {CHUNK_ITEMS_MAX} items");
        return Err(SourceError::Setting(problem));
    }
    match format::origin(spec)? {
        Origin::Files(names, format) => {
            let names = names.to_vec();
            let (plan, spooled) = blocking(move || open_files(&names, format, options)).await?;
            let fingerprint = plan.fingerprint();
            Ok(Planner { fingerprint, chunks: Chunks::Files(scan(plan)), spooled })
        }
        Origin::Sql(source) => {
            let planner = sql::Planner::open(source, options.chunk.items()).await?;
            Ok(Planner { fingerprint: SourceFingerprint::default(), chunks: Chunks::Sql(planner), spooled: Vec::new() })
        }
        Origin::Gathered => {
            gather::check(spec)?;
            let OpenOptions { spool_dir, base_dir, chunk, spool_bytes_max, stdin } = options;
            let gathering = Gathering::begin(spec, base_dir, stdin, true)?;
            let planned = blocking(move || {
                let ready = gathering.spool(&spool::Room { dir: &spool_dir, bytes_max: spool_bytes_max })?;
                let plan = FilePlan::new(std::slice::from_ref(&ready), gather::spooled_format(), chunk)?;
                Ok((plan, ready.spooled.into_iter().collect()))
            });
            let (plan, spooled): (FilePlan, Vec<Spooled>) = planned.await?;
            let fingerprint = plan.fingerprint();
            Ok(Planner { fingerprint, chunks: Chunks::Files(scan(plan)), spooled })
        }
    }
}

/// Yields the chunks of a source, one by one.
///
/// When dropped before its last chunk was taken, it removes the spools that it made: the plan has failed, and nothing
/// is left behind. After the last chunk they belong to the batch; [`remove_spooled`] removes them.
#[derive(Debug)]
pub struct Planner {
    fingerprint: SourceFingerprint,
    chunks: Chunks,
    spooled: Vec<Spooled>,
}

#[derive(Debug)]
enum Chunks {
    /// From the scanning thread; `None` is the end.
    Files(mpsc::Receiver<Result<Option<ChunkPayload>, SourceError>>),
    Sql(sql::Planner),
    Ended,
}

impl Planner {
    /// Returns what the source looks like now: for the batch, and for [`read`].
    pub fn fingerprint(&self) -> &SourceFingerprint {
        &self.fingerprint
    }

    /// Returns the next chunk, in the order of the input; `None` after the last one, then and ever after.
    ///
    /// # Errors
    ///
    /// Errors that the pass over the records shows: a record over the limit, a ragged row when that is an error, a file
    /// that changes during the scan. No chunk follows an error.
    pub async fn next_chunk(&mut self) -> Result<Option<ChunkPayload>, SourceError> {
        let next = match &mut self.chunks {
            Chunks::Files(chunks) => chunks.recv().await.unwrap_or(Err(SourceError::Interrupted)),
            Chunks::Sql(planner) => planner.next_chunk().await,
            Chunks::Ended => return Ok(None),
        };
        if let Ok(None) = next {
            self.spooled.iter_mut().for_each(Spooled::keep);
        }
        if !matches!(next, Ok(Some(_))) {
            self.chunks = Chunks::Ended;
        }
        next
    }
}

fn open_files(names: &[String], format: Format, options: OpenOptions) -> Result<(FilePlan, Vec<Spooled>), SourceError> {
    let mut stdin = options.stdin;
    let room = spool::Room { dir: &options.spool_dir, bytes_max: options.spool_bytes_max };
    let mut ready = Vec::new();
    for input in names::inputs(names, &options.base_dir)? {
        ready.push(spool::prepare(input, &format, &room, &mut stdin)?);
    }
    let plan = FilePlan::new(&ready, format, options.chunk)?;
    Ok((plan, ready.into_iter().filter_map(|ready| ready.spooled).collect()))
}

/// Scans on its own thread; a scan whose receiver is gone ends by itself.
fn scan(plan: FilePlan) -> mpsc::Receiver<Result<Option<ChunkPayload>, SourceError>> {
    let (sender, receiver) = mpsc::channel(CHUNKS_AHEAD);
    tokio::task::spawn_blocking(move || {
        let ended = plan.run(|payload| sender.blocking_send(Ok(Some(payload))).is_ok());
        // A missing receiver means that the planner was dropped, which is not a failure.
        let _ = sender.blocking_send(ended.map(|()| None));
    });
    receiver
}

/// Reads the records of one chunk, in the order of the input.
///
/// Returns as many as the plan counted, or an error: for a record that cannot be read, `item` is an [`Unreadable`]. The
/// file is compared with its fingerprint before and after.
///
/// # Errors
///
/// [`SourceError::Changed`] when the source no longer matches the plan; the message of the operating system or the
/// database when it cannot be read. [`SourceError::is_permanent`] says whether to try again.
pub async fn read(
    payload: &ChunkPayload,
    fingerprint: &SourceFingerprint,
    spec: &SourceSpec,
) -> Result<Vec<Record>, SourceError> {
    let Slice::Part { whole, items, skip } = &payload.slice else {
        return read_whole(payload, fingerprint, spec).await;
    };
    let first = payload.first.saturating_sub(*skip);
    let whole = ChunkPayload::new(whole.as_ref().clone(), *items, first);
    let mut records = read_whole(&whole, fingerprint, spec).await?;
    // As many as were planned; otherwise reading the whole slice would have failed.
    let until = usize::try_from(skip.saturating_add(payload.items)).unwrap_or(usize::MAX);
    records.truncate(until);
    Ok(records.split_off(records.len().min(usize::try_from(*skip).unwrap_or(usize::MAX))))
}

/// Reads the rows of one chunk. `None`: it is no range of a file, or of lines that are no rows.
///
/// # Errors
///
/// As [`read`].
pub(crate) async fn read_rows(
    payload: &ChunkPayload,
    fingerprint: &SourceFingerprint,
    spec: &SourceSpec,
) -> Result<Option<Rows>, SourceError> {
    let (Slice::Bytes { file, from, to, line }, Origin::Files(_, format)) = (&payload.slice, format::origin(spec)?)
    else {
        return Ok(None);
    };
    let (file, from, to, line) = (*file, *from, *to, *line);
    let range = chunk::Range { file, from, to, line, items: payload.items, first: payload.first };
    let fingerprint = fingerprint.clone();
    blocking(move || Rows::read(range, &fingerprint, format.shape)).await
}

async fn read_whole(
    payload: &ChunkPayload,
    fingerprint: &SourceFingerprint,
    spec: &SourceSpec,
) -> Result<Vec<Record>, SourceError> {
    let format = match format::origin(spec)? {
        Origin::Files(_, format) => Some(format),
        Origin::Gathered => Some(gather::spooled_format()),
        Origin::Sql(_) => None,
    };
    match (&payload.slice, format) {
        (Slice::Inline { zstd }, _) => {
            let packed = zstd.clone();
            blocking(move || inline_records(&packed)).await
        }
        (Slice::Bytes { file, from, to, line }, Some(format)) => {
            let (file, from, to, line) = (*file, *from, *to, *line);
            let range = chunk::Range { file, from, to, line, items: payload.items, first: payload.first };
            let fingerprint = fingerprint.clone();
            blocking(move || chunk::read(range, &fingerprint, &format)).await
        }
        (Slice::Keys { after, upto }, None) => {
            let Some(source) = &spec.sql else { return Err(another_kind()) };
            let range = sql::Range { after: after.as_deref(), upto: upto.as_deref() };
            sql::read(source, range, payload.items, payload.first).await
        }
        (Slice::Part { .. }, _) => Err(SourceError::Changed {
            name: "the plan".to_owned(),
            problem: "the chunk is a part of a part, which no split makes".to_owned(),
        }),
        (Slice::Bytes { .. }, None) | (Slice::Keys { .. }, Some(_)) => Err(another_kind()),
    }
}

fn another_kind() -> SourceError {
    let problem = "the chunk was planned over another kind of source".to_owned();
    SourceError::Changed { name: "the definition".to_owned(), problem }
}

fn inline_records(packed: &str) -> Result<Vec<Record>, SourceError> {
    let records = inline::decode(packed)?.into_iter().map(|inline| Record {
        position: inline.position,
        line: inline.line,
        item: match inline.item {
            Value::Object(object) => Ok(Value::Object(object)),
            other => {
                let reason = "the item is still not an object: it could not be read the first time; mend it in the source and start a new batch";
                Err(Unreadable { reason: reason.to_owned(), raw: other })
            }
        },
    });
    Ok(records.collect())
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, SourceError> + Send + 'static,
) -> Result<T, SourceError> {
    tokio::task::spawn_blocking(work).await.unwrap_or(Err(SourceError::Interrupted))
}
