//! Planning: how the chunks of a batch get into the store and are sealed in the end, or nothing at all.

use std::path::{Path, PathBuf};

use gristmill_core::audit::Action;
use gristmill_core::backoff;
use gristmill_core::chunk::{ChunkPayload, Slice};
use gristmill_core::definition::{BatchDefinition, OneOrMany};
use gristmill_core::id::{BatchId, JobId};
use gristmill_dispatcher::Overlap;
use gristmill_jobs::RegistryOptions;
use gristmill_jobs::pipeline::{DefinitionError, Pipeline, resolve};
use gristmill_jobs::source::{self, OpenOptions, Planner, Stream};
use gristmill_store::{GROUP_JOBS_MAX, NewBatch, NewChunk, StoreError};
use serde_json::Value;
use uuid::Uuid;

use super::batch::StartError;
use crate::Service;
use crate::order::Order;

/// The first group is small, so that workers begin while the rest is still being counted.
const FIRST_GROUP: usize = 16;

/// The most bytes of inline items in one transaction.
const GROUP_BYTES_MAX: usize = 8 * 1024 * 1024;

/// How often an unavailable store is tried before the plan is given up: about half a minute.
const TRIES_MAX: u32 = 10;

/// A batch to be started, complete in itself.
pub struct StartBatch {
    /// The name of the definition.
    pub name: String,
    /// The definition.
    pub definition: BatchDefinition,
    /// Files in place of those that the definition names.
    pub input: Option<OneOrMany>,
    /// Items in a chunk, in place of what the definition says.
    pub chunk: Option<u64>,
    /// Parameters of this run.
    pub params: Value,
    /// A second start with the same key returns the first one's id and plans nothing.
    pub idempotency_key: Option<String>,
    /// The W3C trace context of the cause.
    pub trace: Option<String>,
    /// What relative paths are relative to.
    pub base_dir: PathBuf,
    /// Where spools of inputs that cannot be read by ranges are kept.
    pub spool_dir: PathBuf,
    /// The most bytes that one such spool may have.
    pub spool_bytes_max: u64,
    /// What `-` reads.
    pub stdin: Option<Stream>,
    /// What the stages are checked against: the same processors that the workers have.
    pub kinds: RegistryOptions,
}

impl std::fmt::Debug for StartBatch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("StartBatch").field("name", &self.name).finish_non_exhaustive()
    }
}

/// A batch that has been checked and whose source is open, but that is not in the store yet.
pub(crate) struct Prepared {
    pub(crate) batch: NewBatch,
    pub(crate) planner: Planner,
}

/// A batch whose definition has been checked. Neither its input nor its output has been looked at.
pub(super) struct Checked {
    pub(super) name: String,
    pub(super) definition: BatchDefinition,
    pub(super) pipeline: Pipeline,
    pub(super) base_dir: PathBuf,
}

/// Checks a batch and makes its definition complete in itself.
pub(super) fn checked(start: &StartBatch) -> Result<Checked, StartError> {
    let name = start.name.clone();
    let base_dir = absolute(&name, &start.base_dir)?;
    let mut definition = settled(&name, &start.definition, &base_dir)?;
    if let Some(input) = &start.input {
        replace_input(&name, &mut definition, input.clone())?;
    }
    definition.chunk = start.chunk.or(definition.chunk);
    let RegistryOptions { pool, processors } = &start.kinds;
    let pipeline = Pipeline::compile(&name, &definition, &base_dir, processors, pool)?;
    Ok(Checked { name, definition, pipeline, base_dir })
}

/// Checks a batch and opens its source. Nothing is created.
pub(crate) async fn prepare(tenant: &str, start: StartBatch) -> Result<Prepared, StartError> {
    let Checked { name, definition, pipeline, base_dir } = checked(&start)?;
    let StartBatch { params, idempotency_key, trace, .. } = start;
    pipeline.try_output(&name)?;
    let options = OpenOptions {
        spool_dir: start.spool_dir,
        base_dir,
        chunk: gristmill_jobs::chunk_size(&definition, &pipeline),
        spool_bytes_max: start.spool_bytes_max,
        stdin: start.stdin,
    };
    let planner = source::open(&definition.source, options).await?;
    let batch = NewBatch {
        id: BatchId(Uuid::now_v7()),
        tenant: tenant.to_owned(),
        name,
        definition,
        fingerprint: planner.fingerprint().clone(),
        params,
        idempotency_key,
        trace,
    };
    Ok(Prepared { batch, planner })
}

/// The definition that the run keeps: complete in itself, with every path absolute, because a worker may have started
/// in another folder.
fn settled(name: &str, definition: &BatchDefinition, base_dir: &Path) -> Result<BatchDefinition, StartError> {
    let mut definition = resolve(name, definition, base_dir)?;
    let from_root = |path: &str| base_dir.join(path).display().to_string();
    if let Some(output) = &mut definition.output {
        for folder in [&mut output.jsonl, &mut output.csv].into_iter().flatten() {
            *folder = from_root(folder);
        }
    }
    if let Some(program) = definition.process.as_mut().and_then(|process| process.exec.as_mut()) {
        program.dir = Some(from_root(program.dir.as_deref().unwrap_or("")));
    }
    Ok(definition)
}

fn absolute(name: &str, folder: &Path) -> Result<PathBuf, DefinitionError> {
    let folder = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
    std::path::absolute(folder).map_err(|error| DefinitionError {
        key: format!("batch.{name}"),
        problem: format!("the folder `{}` that its paths are relative to cannot be had: {error}", folder.display()),
    })
}

fn replace_input(name: &str, definition: &mut BatchDefinition, input: OneOrMany) -> Result<(), StartError> {
    let source = &mut definition.source;
    if source.is_composite() {
        return Err(StartError::Definition(DefinitionError {
            key: format!("batch.{name}.source"),
            problem: "it is put together of several, and it is not known which one another file would replace; leave the input out"
                .to_owned(),
        }));
    }
    match (&mut source.csv, &mut source.jsonl, &mut source.fixed) {
        (Some(files), None, None) | (None, Some(files), None) | (None, None, Some(files)) => {
            *files = input;
            Ok(())
        }
        _ => Err(StartError::Definition(DefinitionError {
            key: format!("batch.{name}.source"),
            problem: "it is not one list of files, so that no other file can take its place; leave the input out"
                .to_owned(),
        })),
    }
}

impl Service {
    /// Adds the chunks of a batch that has been created, each group in one transaction and published after it, and
    /// seals the batch.
    pub(super) async fn fill(&self, batch: BatchId, mut planner: Planner) -> Result<(), StartError> {
        let mut overlap = Overlap::default();
        let chunks = self.add_all(batch, &mut planner, &mut overlap).await;
        overlap.finished().await;
        let chunks = chunks?;
        self.after(patiently(|| self.store.seal(batch))).await?;
        tracing::info!(batch.id = %batch, chunks, "batch planned");
        Ok(())
    }

    /// Returns how many chunks there are.
    async fn add_all(&self, batch: BatchId, planner: &mut Planner, overlap: &mut Overlap) -> Result<i64, StartError> {
        let (mut group, mut bytes, mut seq, mut size) = (Vec::new(), 0, 0, FIRST_GROUP);
        while let Some(payload) = planner.next_chunk().await? {
            bytes += inline_bytes(&payload);
            group.push(NewChunk { id: JobId(Uuid::now_v7()), seq, payload });
            seq += 1;
            if group.len() >= size || bytes >= GROUP_BYTES_MAX {
                self.after_beside(overlap, patiently(|| self.store.add_chunks(batch, &group))).await?;
                group.clear();
                (bytes, size) = (0, (size * 4).min(GROUP_JOBS_MAX));
            }
        }
        if !group.is_empty() {
            self.after_beside(overlap, patiently(|| self.store.add_chunks(batch, &group))).await?;
        }
        Ok(seq)
    }

    /// Takes back a batch that could not start, so that nothing of it is left. When a worker has begun with it, it is
    /// cancelled with the order's reason instead. If even this fails, the scheduler finds the batch: it takes back
    /// plans that make no progress. A dry run does nothing.
    pub async fn take_back(&self, order: &Order, batch: BatchId) {
        if order.dry_run {
            return;
        }
        let store = order.at(&self.store, Action::BatchTakeBack, batch);
        let taken_back = match store.discard_batch(batch).await {
            Err(StoreError::Conflict(_)) => self.cancel_batch(order, batch).await.map(drop),
            result => result,
        };
        if let Err(error) = taken_back {
            tracing::warn!(batch.id = %batch, %error, "a batch that could not start was not taken back yet");
        }
    }
}

/// Repeats a transition that may be repeated when its commit result is unknown.
pub(super) async fn patiently<T, F>(transition: impl Fn() -> F) -> Result<T, StoreError>
where
    F: Future<Output = Result<T, StoreError>>,
{
    let mut attempt = 0;
    loop {
        match transition().await {
            Err(error) if error.is_transient() && attempt < TRIES_MAX => {
                attempt += 1;
                tokio::time::sleep(backoff::WRITING.wait(attempt, 1.0)).await;
            }
            result => return result,
        }
    }
}

fn inline_bytes(payload: &ChunkPayload) -> usize {
    match &payload.slice {
        Slice::Inline { zstd } => zstd.len(),
        // The planner produces no parts.
        Slice::Bytes { .. } | Slice::Keys { .. } | Slice::Part { .. } => 0,
    }
}
