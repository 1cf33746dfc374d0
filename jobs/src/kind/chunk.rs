//! Kind `chunk`: reads a slice of a batch's items, takes them through the stages and writes them.

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use gristmill_core::chunk::{ChunkPayload, ChunkResult, SetAside};
use gristmill_core::id::BatchId;
use gristmill_store::{BatchPlan, StoreError, Views, failpoint};
use moka::future::Cache;
use serde::Deserialize;

use crate::handler::{Finish, Handler, JobContext, WithoutRows};
use crate::pipeline::{self, ChunkOutcome, Pipeline, RunFailure};
use crate::pool::ItemPool;
use crate::process::answers::Memory;
use crate::process::{BatchContext, ProcessContext, Processors};
use crate::row::RowPlan;
use crate::sink::{Encoded, PartName, SinkError, Written};
use crate::source::{self, Record, Rows, SourceError};
use crate::stage::mail::MessageFrame;

/// The name of the kind.
pub const CHUNK: &str = "chunk";

/// How many batches' pipelines are kept ready. An evicted one is compiled again.
const PIPELINES_MAX: u64 = 64;

/// After this long without a chunk a batch's pipeline is dropped, and with it its programs and connections.
const PIPELINE_IDLE: Duration = Duration::from_secs(300);

/// For how many kinds of columns the short way of a batch is kept ready.
const SHORT_WAYS_MAX: usize = 16;

/// Runs chunks.
#[derive(Debug)]
pub struct ChunkHandler {
    processors: Processors,
    pool: ItemPool,
    ready: Cache<BatchId, Arc<Ready>>,
    /// What was answered in attempts that failed.
    memory: Memory,
}

/// A batch's plan and its compiled stages.
#[derive(Debug)]
struct Ready {
    plan: BatchPlan,
    batch: Arc<BatchContext>,
    pipeline: Arc<Pipeline>,
    /// Nearly always all files have the same columns.
    short: Mutex<Vec<ShortWay>>,
}

/// Columns, and the short way for rows with them, if there is one.
type ShortWay = (Vec<String>, Option<Arc<RowPlan>>);

/// A chunk's items as they were read.
enum Input {
    Rows(Rows, Arc<RowPlan>),
    Records(Vec<Record>),
}

impl Input {
    fn into_records(self) -> Vec<Record> {
        match self {
            Self::Rows(rows, _) => rows.records(),
            Self::Records(records) => records,
        }
    }
}

impl Ready {
    /// Reads a chunk: as rows, where they can go the short way.
    async fn read(&self, payload: &ChunkPayload) -> Result<Input, SourceError> {
        let (fingerprint, spec) = (&self.plan.fingerprint, &self.plan.definition.source);
        if self.pipeline.stages().is_some()
            && let Some(rows) = source::read_rows(payload, fingerprint, spec).await?
        {
            return Ok(match self.short_way(rows.columns()) {
                Some(plan) => Input::Rows(rows, plan),
                None => Input::Records(rows.records()),
            });
        }
        source::read(payload, fingerprint, spec).await.map(Input::Records)
    }

    fn short_way(&self, columns: &[String]) -> Option<Arc<RowPlan>> {
        let mut known = self.short.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, plan)) = known.iter().find(|(of, _)| of == columns) {
            return plan.clone();
        }
        let plan = RowPlan::of(self.pipeline.stages()?, columns).map(Arc::new);
        known.truncate(SHORT_WAYS_MAX - 1);
        known.insert(0, (columns.to_vec(), plan.clone()));
        plan
    }

    async fn run(&self, input: Input, context: &ProcessContext, pool: &ItemPool) -> Result<ChunkOutcome, RunFailure> {
        let records = match input {
            Input::Records(records) => records,
            Input::Rows(rows, plan) => {
                let rows = Arc::new(rows);
                if let Some(outcome) = plan.run(&self.pipeline, &rows, pool, &context.cancel).await? {
                    return Ok(outcome);
                }
                rows.records()
            }
        };
        self.pipeline.run(records, context, pool).await
    }
}

impl ChunkHandler {
    /// Creates a handler with these processors, whose items are processed by these threads.
    pub fn new(processors: Processors, pool: ItemPool) -> Self {
        let ready = Cache::builder().max_capacity(PIPELINES_MAX).time_to_idle(PIPELINE_IDLE).build();
        Self { processors, pool, ready, memory: Memory::default() }
    }

    async fn attempt(&self, context: JobContext) -> Result<Finish, Finish> {
        let job = &context.job;
        let payload = ChunkPayload::deserialize(&job.payload)
            .map_err(|error| Finish::permanent(format!("the chunk's payload cannot be read: {error}")))?;
        let batch = job.batch.ok_or_else(|| Finish::permanent("the chunk belongs to no batch"))?;
        let ready = self.ready(&*context.store, batch).await?;
        // Held until the items are gone again. Chunks that wait for a program or a service are bounded only by the
        // worker's slots: holding others back would leave threads idle.
        let _room = if ready.pipeline.waits() { None } else { self.pool.room().await };
        let input: Input = tokio::select! {
            input = ready.read(&payload) => input?,
            () = context.cancel.cancelled() => return Err(Finish::failed("the attempt was over while the source was read")),
        };
        if let Some(reason) = payload.condemned {
            return Ok(condemned(input.into_records(), &reason));
        }
        let process = ProcessContext {
            idempotency_key: job.fence.job.to_string(),
            trace: job.trace.clone(),
            cancel: context.cancel.clone(),
            batch: Arc::clone(&ready.batch),
            last_attempt: job.fence.attempt >= job.max_attempts,
            answers: self.memory.take(job.fence.job),
            room: Default::default(),
        };
        failpoint::point("chunk.read");
        let mut ground = ready.run(input, &process, &self.pool).await.inspect_err(|_| {
            self.memory.keep(job.fence.job, process.answers.clone());
        })?;
        reconcile(&ground, payload.items).map_err(Finish::permanent)?;
        let (attempt, worker) = (job.fence.attempt, job.fence.worker);
        let name = PartName { seq: job.seq.unwrap_or_default(), attempt, worker };
        let of_items = std::mem::take(&mut ground.messages);
        let frame = MessageFrame { batch, tenant: &job.tenant, trace: job.trace.as_deref() };
        let messages = ready.pipeline.mail().map(|mail| mail.messages(frame, of_items));
        let finish = finish(&ready.pipeline, batch, name, ground).await?;
        Ok(Finish { messages: messages.filter(|new| !new.messages.is_empty()), ..finish })
    }

    /// Chunks of the same batch that arrive at the same time compile it once.
    async fn ready(&self, store: &dyn Views, batch: BatchId) -> Result<Arc<Ready>, Finish> {
        let made = self.ready.try_get_with(batch, self.prepare(store, batch)).await;
        made.map_err(|finish| finish.as_ref().clone())
    }

    async fn prepare(&self, store: &dyn Views, batch: BatchId) -> Result<Arc<Ready>, Finish> {
        let mut plan = plan(store, batch).await?;
        let pipeline = Pipeline::compile(&plan.name, &plan.definition, Path::new(""), &self.processors, &self.pool)
            .map_err(|error| Finish::permanent(error.to_string()))?;
        let params = std::mem::take(&mut plan.params);
        let batch = Arc::new(BatchContext { id: plan.id, name: plan.name.clone(), params });
        Ok(Arc::new(Ready { plan, batch, pipeline: Arc::new(pipeline), short: Mutex::default() }))
    }
}

#[async_trait]
impl Handler for ChunkHandler {
    async fn run(&self, context: JobContext) -> Finish {
        self.attempt(context).await.unwrap_or_else(|failed| failed)
    }
}

/// The plan of a batch.
pub(super) async fn plan(store: &dyn Views, batch: BatchId) -> Result<BatchPlan, Finish> {
    store.batch_plan(batch).await?.ok_or_else(|| Finish::permanent(format!("there is no batch {batch}")))
}

/// An item that killed its workers is set aside without being processed once more.
fn condemned(records: Vec<Record>, reason: &str) -> Finish {
    let set_aside: Vec<SetAside> = records
        .into_iter()
        .map(|record| SetAside {
            position: record.position,
            line: record.line,
            stage: "process".to_owned(),
            reason: reason.to_owned(),
            item: record.item.unwrap_or_else(|unreadable| unreadable.raw),
        })
        .collect();
    let result = ChunkResult { quarantined: set_aside.len() as u64, set_aside, ..ChunkResult::default() };
    Finish { chunk: Some(result), ..Finish::done(None) }
}

/// The store would refuse counts that do not reconcile; here the reason can still be given.
fn reconcile(ground: &ChunkOutcome, items: u64) -> Result<(), String> {
    let found = ground.passed() + ground.skipped + ground.set_aside.len() as u64;
    if found == items {
        return Ok(());
    }
    Err(format!("the chunk was planned with {items} items and has {found}; start a new batch"))
}

async fn finish(
    pipeline: &Arc<Pipeline>,
    batch: BatchId,
    name: PartName,
    ground: ChunkOutcome,
) -> Result<Finish, Finish> {
    let mut result = ChunkResult {
        ok: ground.passed(),
        skipped: ground.skipped,
        quarantined: ground.set_aside.len() as u64,
        partial: ground.partial,
        parts: Vec::new(),
        set_aside: ground.set_aside,
    };
    let mut finish = Finish::done(None);
    if let Some(sink) = pipeline.sink() {
        let written = match ground.encoded {
            Encoded { items: 0, .. } => sink.write(batch, name, ground.ok).await?,
            encoded => sink.write_encoded(batch, name, encoded).await?,
        };
        match written {
            Written::Part(part) => result.parts.extend(part),
            Written::Rows(rows) => {
                let (pipeline, all, passed) = (Arc::clone(pipeline), result.clone(), ground.passed);
                finish.without_rows = rows.is_some().then(|| {
                    let of = move |refused: &[_]| pipeline::without(&all, pipeline.aggregation(), &passed, refused);
                    WithoutRows::new(of)
                });
                finish.sql = rows;
            }
        }
    }
    finish.chunk = Some(result);
    Ok(finish)
}

impl From<StoreError> for Finish {
    fn from(error: StoreError) -> Self {
        Self::failed(error.to_string())
    }
}

impl From<SourceError> for Finish {
    fn from(error: SourceError) -> Self {
        if error.is_permanent() { Self::permanent(error.to_string()) } else { Self::failed(error.to_string()) }
    }
}

impl From<SinkError> for Finish {
    fn from(error: SinkError) -> Self {
        Self::failed(error.to_string())
    }
}

impl From<RunFailure> for Finish {
    fn from(failure: RunFailure) -> Self {
        match failure.retry_after() {
            _ if failure.is_permanent() => Self::permanent(failure.to_string()),
            Some(wait) => Self::failed_until(failure.to_string(), wait),
            None => Self::failed(failure.to_string()),
        }
    }
}
