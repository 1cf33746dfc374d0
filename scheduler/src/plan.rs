//! Planning: from a definition and an input to a sealed batch, or to nothing at all.

use std::path::{Path, PathBuf};
use std::time::Duration;

use gristmill_core::chunk::{ChunkPayload, Slice};
use gristmill_core::definition::{BatchDefinition, OneOrMany};
use gristmill_core::duration::Span;
use gristmill_core::id::{BatchId, JobId};
use gristmill_core::retry::RetryPolicy;
use gristmill_jobs::RegistryOptions;
use gristmill_jobs::pipeline::{DefinitionError, Pipeline, resolve};
use gristmill_jobs::source::{self, OpenOptions, Planner, SourceError, Stream};
use gristmill_service::dispatcher::Dispatcher;
use gristmill_store::{GROUP_JOBS_MAX, NewBatch, NewChunk, StoreError, StoreHandle};
use serde_json::Value;
use uuid::Uuid;

/// The first group is small, so that workers begin while the rest is still being counted.
const FIRST_GROUP: usize = 16;

/// The most bytes of inline items in one transaction.
const GROUP_BYTES_MAX: usize = 8 * 1024 * 1024;

/// How often a store that is away is asked before the plan is given up: about half a minute.
const TRIES_MAX: u32 = 10;

/// What is to be started.
pub struct StartBatch {
    /// Whose it is.
    pub tenant: String,
    /// The name of the definition.
    pub name: String,
    /// The definition.
    pub definition: BatchDefinition,
    /// Files instead of those that the definition names.
    pub input: Option<OneOrMany>,
    /// Items in a chunk instead of what the definition says.
    pub chunk: Option<u64>,
    /// Parameters of this run.
    pub params: Value,
    /// A second start with the same key gives the first one's id and plans nothing.
    pub idempotency_key: Option<String>,
    /// The W3C trace context of whoever causes it.
    pub trace: Option<String>,
    /// What relative paths are relative to.
    pub base_dir: PathBuf,
    /// Where copies of what cannot be read by ranges are kept.
    pub spool_dir: PathBuf,
    /// The most bytes that one such copy may have.
    pub spool_bytes_max: u64,
    /// What `-` reads.
    pub stdin: Option<Stream>,
    /// What the stages are checked against: the same that the workers have.
    pub kinds: RegistryOptions,
}

impl std::fmt::Debug for StartBatch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("StartBatch").field("tenant", &self.tenant).field("name", &self.name).finish_non_exhaustive()
    }
}

/// Why a batch did not start. Nothing of it is left behind.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// What the definition says makes no sense.
    #[error(transparent)]
    Definition(#[from] DefinitionError),
    /// The input cannot be read, or not as it should be.
    #[error(transparent)]
    Source(#[from] SourceError),
    /// The store did not take it.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Checks, opens, creates, plans and seals. When it returns, every chunk is in the store; workers
/// have begun long before that.
///
/// # Errors
///
/// See [`StartError`]. A batch that fails while it is planned is taken back, or cancelled when a
/// worker has begun with it already.
pub async fn start_batch(
    store: &StoreHandle,
    dispatcher: &Dispatcher,
    start: StartBatch,
) -> Result<BatchId, StartError> {
    let Prepared { batch, planner } = prepare(start).await?;
    // Known already, but under the id that nobody else has, is made by a first try whose answer was lost: it
    // would stay empty for ever if we took it for somebody else's.
    let created = patiently(|| store.create_batch(&batch)).await?;
    if created.id != batch.id {
        return Ok(created.id);
    }
    if let Err(error) = fill(store, dispatcher, created.id, planner).await {
        take_back(store, &batch.tenant, created.id, &error.to_string()).await;
        return Err(error);
    }
    Ok(created.id)
}

/// A batch that has been checked and whose source is open: not in the store yet.
pub(crate) struct Prepared {
    pub(crate) batch: NewBatch,
    pub(crate) planner: Planner,
}

/// Checks a batch and opens its source. Nothing is created.
pub(crate) async fn prepare(start: StartBatch) -> Result<Prepared, StartError> {
    let StartBatch { tenant, name, definition, input, chunk, params, idempotency_key, trace, .. } = start;
    let base_dir = absolute(&name, &start.base_dir)?;
    let mut definition = settled(&name, definition, &base_dir)?;
    if let Some(input) = input {
        replace_input(&name, &mut definition, input)?;
    }
    definition.chunk = chunk.unwrap_or(definition.chunk);
    let RegistryOptions { pool, processors } = &start.kinds;
    Pipeline::compile(&name, &definition, &base_dir, processors, pool)?;
    let options = OpenOptions {
        spool_dir: start.spool_dir,
        base_dir,
        chunk: definition.chunk,
        spool_bytes_max: start.spool_bytes_max,
        stdin: start.stdin,
    };
    let planner = source::open(&definition.source, options).await?;
    let batch = NewBatch {
        id: BatchId(Uuid::now_v7()),
        tenant,
        name,
        definition,
        fingerprint: planner.fingerprint().clone(),
        params,
        idempotency_key,
        trace,
    };
    Ok(Prepared { batch, planner })
}

/// The definition that the run keeps: complete in itself, with every path from the root, because a
/// worker may have started in another folder.
fn settled(name: &str, definition: BatchDefinition, base_dir: &Path) -> Result<BatchDefinition, StartError> {
    let mut definition = resolve(name, &definition, base_dir)?;
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

/// A planner that has added nothing for so long is gone: even a large file gives chunks every second.
pub const STALLED_AFTER: Duration = Duration::from_secs(600);

/// How many stalled plans are dealt with at a time.
const STALLED_LIMIT: u32 = 100;

/// Takes back, or cancels, batches whose planner died: how many they were. A plan cannot be taken up
/// again, since what was still to be read is known to its planner alone.
///
/// # Errors
///
/// Those of the store.
pub async fn resume(store: &StoreHandle, older_than: Duration) -> Result<u64, StoreError> {
    let stalled = store.stalled_plans(older_than, STALLED_LIMIT).await?;
    for (tenant, batch) in &stalled {
        let reason = format!("its planner has added nothing for {older_than:?}: it is gone; start the batch again");
        tracing::warn!(batch.id = %batch, reason, "a plan that was never finished is taken back");
        // The tick of a schedule that started it is started anew.
        store.release_tick(*batch, &reason, true).await?;
        take_back(store, tenant, *batch, &reason).await;
    }
    Ok(stalled.len() as u64)
}

fn replace_input(name: &str, definition: &mut BatchDefinition, input: OneOrMany) -> Result<(), StartError> {
    let source = &mut definition.source;
    match (&mut source.csv, &mut source.jsonl) {
        (Some(files), None) | (None, Some(files)) => {
            *files = input;
            Ok(())
        }
        (None, None) | (Some(_), Some(_)) => Err(StartError::Definition(DefinitionError {
            key: format!("batch.{name}.source"),
            problem: "it is not one list of files, so that no other file can take its place; leave the input out"
                .to_owned(),
        })),
    }
}

/// Adds the chunks of a batch that has been created, and seals it.
pub(crate) async fn fill(
    store: &StoreHandle,
    dispatcher: &Dispatcher,
    batch: BatchId,
    mut planner: Planner,
) -> Result<(), StartError> {
    let (mut group, mut bytes, mut seq, mut size) = (Vec::new(), 0, 0, FIRST_GROUP);
    while let Some(payload) = planner.next_chunk().await? {
        bytes += inline_bytes(&payload);
        group.push(NewChunk { id: JobId(Uuid::now_v7()), seq, payload });
        seq += 1;
        if group.len() >= size || bytes >= GROUP_BYTES_MAX {
            add(store, dispatcher, batch, &group).await?;
            group.clear();
            (bytes, size) = (0, (size * 4).min(GROUP_JOBS_MAX));
        }
    }
    if !group.is_empty() {
        add(store, dispatcher, batch, &group).await?;
    }
    dispatcher.publish(&patiently(|| store.seal(batch)).await?).await;
    tracing::info!(batch.id = %batch, chunks = seq, "batch planned");
    Ok(())
}

async fn add(
    store: &StoreHandle,
    dispatcher: &Dispatcher,
    batch: BatchId,
    group: &[NewChunk],
) -> Result<(), StoreError> {
    let dispatched = patiently(|| store.add_chunks(batch, group)).await?;
    dispatcher.publish(&dispatched).await;
    Ok(())
}

/// A transition that may be made again after an unknown commit result is made again.
async fn patiently<T, F>(transition: impl Fn() -> F) -> Result<T, StoreError>
where
    F: Future<Output = Result<T, StoreError>>,
{
    let waits = RetryPolicy::Exponential { base: Span(Duration::from_millis(50)), cap: Span(Duration::from_secs(5)) };
    let mut attempt = 0;
    loop {
        match transition().await {
            Err(error) if error.is_transient() && attempt < TRIES_MAX => {
                attempt += 1;
                tokio::time::sleep(waits.wait(attempt, 1.0)).await;
            }
            result => return result,
        }
    }
}

fn inline_bytes(payload: &ChunkPayload) -> usize {
    match &payload.slice {
        Slice::Inline { zstd } => zstd.len(),
        // The planner makes no parts.
        Slice::Bytes { .. } | Slice::Keys { .. } | Slice::Part { .. } => 0,
    }
}

/// Nothing shall be left of a batch that could not start; when a worker has begun with it, its end
/// is at least said. What fails even here is found by [`resume`].
pub(crate) async fn take_back(store: &StoreHandle, tenant: &str, batch: BatchId, reason: &str) {
    let taken_back = match store.discard_batch(batch).await {
        Err(StoreError::Conflict(_)) => store.cancel_batch(tenant, batch, reason, false).await.map(|_| ()),
        result => result,
    };
    if let Err(error) = taken_back {
        tracing::warn!(batch.id = %batch, %error, "a batch that could not start was not taken back yet");
    }
}
