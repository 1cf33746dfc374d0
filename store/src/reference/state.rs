//! Everything that the store knows: plain maps, each in the order of its key.
//!
//! Rows are shared until they change, so that a transition can work on a copy of everything and either replace the old
//! state with it, or drop it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use gristmill_core::Instant;
use gristmill_core::batch::{BatchState, Counts, FailureBudget};
use gristmill_core::chunk::SourceFingerprint;
use gristmill_core::definition::BatchDefinition;
use gristmill_core::event::Event;
use gristmill_core::history::{HistoryStep, Throughput};
use gristmill_core::id::{BatchId, JobId, OperationId, WorkerId};
use gristmill_core::job::{JobState, Priority};
use gristmill_core::letter::SuppressionReason;
use gristmill_core::limit::{Buckets, LimitSpec, QueueSpec, Turns};
use gristmill_core::mail_flow::{Breaker, Pace, Spent};
use gristmill_core::mailing::{Funnel, Judged};
use gristmill_core::retry::RetryPolicy;
use gristmill_core::unique::Unique;
use serde_json::Value;
use uuid::{Builder, Uuid};

use super::operation::{KeptBatch, KeptJob, Operation};
use super::schedules::{Backfill, Tick};
use crate::Suspension;
use crate::error::Result;
use crate::{
    AcknowledgementView, AttemptView, DeliveryView, EmailAttempt, EmailRecord, EmailView, EventSchemaView, KeptAnswer,
    LimitOrigin, LogView, NewWorker, PauseView, PoisonMessage, PruneNoun, PrunedView, Purpose, QuarantineView,
    ReplayView, RequestKey, ScheduleView, StoredResult, SubscriptionView,
};

/// A name that belongs to a tenant: of a queue, or a key.
pub(super) type Named = (String, String);

/// Everything.
#[derive(Debug, Clone)]
pub(super) struct State {
    pub(super) jobs: BTreeMap<JobId, Arc<Job>>,
    pub(super) batches: BTreeMap<BatchId, Arc<Batch>>,
    pub(super) results: BTreeMap<(BatchId, i64), Arc<StoredResult>>,
    pub(super) quarantine: BTreeMap<i64, Arc<Quarantined>>,
    pub(super) outbox: BTreeMap<i64, Arc<OutboxRow>>,
    pub(super) workers: BTreeMap<WorkerId, Arc<Worker>>,
    pub(super) emails: BTreeMap<Named, Arc<Email>>,
    /// By tenant, hash of the address, and stream.
    pub(super) suppressions: BTreeMap<(String, [u8; 32], String), Listed>,
    /// What was judged of mailings when they paused for their bounces last.
    pub(super) mailings_judged: BTreeMap<BatchId, Judged>,
    /// Recipients of mailings whose messages have been deleted since, by batch and variant.
    pub(super) mailings_past: BTreeMap<(BatchId, String), Funnel>,
    pub(super) leaders: BTreeMap<String, Leader>,
    pub(super) schedules: BTreeMap<Named, ScheduleView>,
    pub(super) ticks: BTreeMap<(String, String, Instant), Tick>,
    pub(super) backfills: BTreeMap<Uuid, Backfill>,
    /// Queues that have ever had a job.
    pub(super) queues: BTreeSet<Named>,
    /// Queues that have ever had a pause setting: their pause, while they are paused.
    pub(super) pauses: BTreeMap<Named, Option<PauseView>>,
    /// Rows that completions wrote into the user's own tables.
    pub(super) tables: BTreeMap<String, Vec<Arc<Value>>>,
    /// Messages that no process can act upon, by their number.
    pub(super) poison: BTreeMap<i64, Arc<PoisonMessage>>,
    /// Batches that were discarded, each with its first and its last job.
    pub(super) discarded: Vec<Discarded>,
    /// Requests from outside, by their keys.
    pub(super) requests: BTreeMap<RequestKey, KeptRequest>,
    /// Operations, and the jobs that they have changed, as they were before.
    pub(super) operations: BTreeMap<OperationId, Operation>,
    pub(super) operation_jobs: BTreeMap<(OperationId, JobId), KeptJob>,
    /// Items that operations have taken out of the quarantine, and batches that they have cancelled.
    pub(super) operation_items: BTreeMap<(OperationId, i64), Arc<Quarantined>>,
    pub(super) operation_batches: BTreeMap<(OperationId, BatchId), KeptBatch>,
    /// Idempotency keys of rows that were deleted: tenant, scope and key, each with the id and how long it is kept.
    pub(super) idempotency: BTreeMap<(String, &'static str, String), (Uuid, Instant)>,
    /// What was deleted.
    pub(super) pruned: BTreeMap<PruneNoun, PrunedView>,
    /// Limits, and the settings of queues.
    pub(super) limits: BTreeMap<String, LimitRow>,
    pub(super) queue_specs: BTreeMap<String, QueueSpec>,
    pub(super) buckets: Buckets,
    pub(super) turns: Turns,
    /// What has passed and is not in the history yet, and the history.
    pub(super) flow: BTreeMap<PassedKey, Throughput>,
    pub(super) history: BTreeMap<HistoryKey, Throughput>,
    /// Errors that an operator has seen, by tenant and fingerprint.
    pub(super) acknowledged: BTreeMap<Named, AcknowledgementView>,
    /// What attempts have said, by job and attempt.
    pub(super) logs: BTreeMap<(JobId, u32), KeptLog>,
    /// Relays and recipients' domains by name, and which jobs wait for a domain.
    pub(super) mail_relays: BTreeMap<String, MailRelayRow>,
    pub(super) mail_domains: BTreeMap<String, MailDomainRow>,
    pub(super) mail_waiting: MailWaiting,
    /// The log of events, by their numbers, and the last position that was given.
    pub(super) events: BTreeMap<i64, Arc<KeptEvent>>,
    pub(super) event_head: u64,
    pub(super) event_number: i64,
    /// By tenant, type and version.
    pub(super) event_schemas: BTreeMap<(String, String, u32), EventSchemaView>,
    pub(super) subscriptions: BTreeMap<Named, SubscriptionView>,
    /// Replays, each with when its next step is due.
    pub(super) replays: BTreeMap<Uuid, (ReplayView, Instant)>,
    /// The inbox: by tenant, subscription, position and replay.
    pub(super) deliveries: BTreeMap<(String, String, u64, String), DeliveryView>,
    pub(super) ids: Ids,
}

/// An event, and the hash of what its publisher said.
#[derive(Debug, Clone)]
pub(super) struct KeptEvent {
    pub(super) event: Event,
    pub(super) sha256: String,
}

/// Tenant, minute, queue and kind.
pub(super) type PassedKey = (String, Instant, String, String);

/// Tenant, step, beginning, queue and kind.
pub(super) type HistoryKey = (String, HistoryStep, Instant, String, String);

/// A request from outside, under way or answered.
#[derive(Debug, Clone)]
pub(super) struct KeptRequest {
    pub(super) attempt: Uuid,
    pub(super) sha256: String,
    pub(super) lease_until: Instant,
    pub(super) keep_until: Instant,
    pub(super) answer: Option<KeptAnswer>,
}

/// What an attempt has said, and who wrote it.
#[derive(Debug, Clone)]
pub(super) struct KeptLog {
    pub(super) worker: WorkerId,
    pub(super) revision: u64,
    pub(super) view: LogView,
}

/// A mail relay.
#[derive(Debug, Clone)]
pub(super) struct MailRelayRow {
    pub(super) place: String,
    pub(super) breaker: Breaker,
    pub(super) spent: Spent,
}

/// A recipients' domain.
#[derive(Debug, Clone, Default)]
pub(super) struct MailDomainRow {
    pub(super) suspension: Option<Suspension>,
    pub(super) pace: Pace,
    pub(super) used_to: Option<Instant>,
}

/// Domain, tenant and job.
pub(super) type MailWaiting = BTreeSet<(String, String, JobId)>;

/// A limit, and where it was created.
#[derive(Debug, Clone)]
pub(super) struct LimitRow {
    pub(super) origin: LimitOrigin,
    pub(super) spec: LimitSpec,
    pub(super) updated_at: Instant,
}

impl State {
    pub(super) fn new(seed: u64) -> Self {
        Self {
            jobs: BTreeMap::new(),
            batches: BTreeMap::new(),
            results: BTreeMap::new(),
            quarantine: BTreeMap::new(),
            outbox: BTreeMap::new(),
            workers: BTreeMap::new(),
            emails: BTreeMap::new(),
            suppressions: BTreeMap::new(),
            mailings_judged: BTreeMap::new(),
            mailings_past: BTreeMap::new(),
            leaders: BTreeMap::new(),
            schedules: BTreeMap::new(),
            ticks: BTreeMap::new(),
            backfills: BTreeMap::new(),
            queues: BTreeSet::new(),
            pauses: BTreeMap::new(),
            tables: BTreeMap::new(),
            poison: BTreeMap::new(),
            discarded: Vec::new(),
            requests: BTreeMap::new(),
            operations: BTreeMap::new(),
            operation_jobs: BTreeMap::new(),
            operation_items: BTreeMap::new(),
            operation_batches: BTreeMap::new(),
            idempotency: BTreeMap::new(),
            pruned: BTreeMap::new(),
            limits: BTreeMap::new(),
            queue_specs: BTreeMap::new(),
            buckets: Buckets::new(),
            turns: Turns::new(),
            flow: BTreeMap::new(),
            history: BTreeMap::new(),
            acknowledged: BTreeMap::new(),
            logs: BTreeMap::new(),
            mail_relays: BTreeMap::new(),
            mail_domains: BTreeMap::new(),
            mail_waiting: MailWaiting::new(),
            events: BTreeMap::new(),
            event_head: 0,
            event_number: 0,
            event_schemas: BTreeMap::new(),
            subscriptions: BTreeMap::new(),
            replays: BTreeMap::new(),
            deliveries: BTreeMap::new(),
            ids: Ids { seed, drawn: 0, rows: 0 },
        }
    }

    /// A job goes with what its attempts have said.
    pub(super) fn remove_job(&mut self, job: JobId) {
        self.jobs.remove(&job);
        self.logs.retain(|(of, _), _| *of != job);
    }

    /// The id behind an idempotency key that has outlived its row.
    pub(super) fn kept_key(&self, tenant: &str, scope: &'static str, key: Option<&str>, now: Instant) -> Option<Uuid> {
        let (id, until) = self.idempotency.get(&(tenant.to_owned(), scope, key?.to_owned()))?;
        (*until > now).then_some(*id)
    }

    /// A job to be changed, if it exists.
    pub(super) fn job_mut(&mut self, id: JobId) -> Option<&mut Job> {
        self.jobs.get_mut(&id).map(Arc::make_mut)
    }

    /// A batch to be changed, if it exists.
    pub(super) fn batch_mut(&mut self, id: BatchId) -> Option<&mut Batch> {
        self.batches.get_mut(&id).map(Arc::make_mut)
    }

    /// Whether nothing can be claimed from this job's queue or batch at the moment.
    pub(super) fn paused(&self, job: &Job) -> bool {
        self.queue_paused(&job.tenant, &job.queue) || self.batch_paused(job)
    }

    /// Whether the batch of a job is paused.
    pub(super) fn batch_paused(&self, job: &Job) -> bool {
        job.batch.and_then(|id| self.batches.get(&id)).is_some_and(|batch| batch.pause.is_some())
    }

    /// Whether a queue is paused.
    pub(super) fn queue_paused(&self, tenant: &str, queue: &str) -> bool {
        self.pause_of(tenant, queue).is_some()
    }

    /// The pause of a queue.
    pub(super) fn pause_of(&self, tenant: &str, queue: &str) -> Option<&PauseView> {
        self.pauses.get(&(tenant.to_owned(), queue.to_owned()))?.as_ref()
    }
}

/// A job.
#[derive(Debug, Clone)]
pub(super) struct Job {
    pub(super) id: JobId,
    pub(super) tenant: String,
    pub(super) queue: String,
    pub(super) priority: Priority,
    pub(super) key: Option<String>,
    /// When waiting moved it up a priority.
    pub(super) aged_at: Option<Instant>,
    pub(super) kind: String,
    pub(super) version: u32,
    /// Its message went to a worker that lacks its kind or version.
    pub(super) misrouted: bool,
    pub(super) state: JobState,
    pub(super) attempt: u32,
    pub(super) max_attempts: u32,
    pub(super) snoozes: u32,
    pub(super) max_snoozes: u32,
    /// How many attempts each redrive adds.
    pub(super) granted: u32,
    pub(super) timeout: Duration,
    pub(super) retry: RetryPolicy,
    pub(super) payload: Value,
    pub(super) batch: Option<BatchId>,
    pub(super) seq: Option<i64>,
    pub(super) items: u64,
    pub(super) generation: u32,
    pub(super) worker: Option<WorkerId>,
    pub(super) idempotency_key: Option<String>,
    pub(super) unique: Option<Unique>,
    pub(super) trace: Option<String>,
    pub(super) output: Option<Value>,
    pub(super) error: Option<String>,
    pub(super) created_at: Instant,
    pub(super) run_at: Option<Instant>,
    pub(super) queued_at: Option<Instant>,
    pub(super) started_at: Option<Instant>,
    pub(super) deadline: Option<Instant>,
    pub(super) finished_at: Option<Instant>,
    /// The number of the chunk of which it is a half.
    pub(super) half_of: Option<i64>,
    /// Attempts that did not end well, in the order in which they ended.
    pub(super) attempts: Vec<AttemptView>,
}

impl Job {
    /// The batch in which this job counts, if it is a chunk.
    pub(super) fn chunk_of(&self) -> Option<BatchId> {
        self.seq.and(self.batch)
    }

    /// The unique key that it holds at this time.
    pub(super) fn holds(&self, now: Instant) -> Option<&str> {
        let unique = self.unique.as_ref()?;
        let over = unique.hold.period().is_some_and(|period| later(self.created_at, period) <= now);
        (!over && unique.hold.holds(self.state, self.started_at.is_some())).then_some(unique.key.as_str())
    }

    /// Its items as a difference of counts.
    pub(super) fn weight(&self) -> i64 {
        signed(self.items)
    }
}

/// A batch. Its counters can be wrong only if a [`super::Clause`] was removed.
#[derive(Debug, Clone)]
pub(super) struct Batch {
    pub(super) id: BatchId,
    pub(super) tenant: String,
    pub(super) name: String,
    pub(super) state: BatchState,
    pub(super) pause: Option<PauseView>,
    pub(super) halting: bool,
    pub(super) generation: u32,
    pub(super) definition: Arc<BatchDefinition>,
    pub(super) fingerprint: Arc<SourceFingerprint>,
    pub(super) params: Value,
    pub(super) idempotency_key: Option<String>,
    pub(super) trace: Option<String>,
    pub(super) tally: Tally,
    pub(super) result: Option<Value>,
    pub(super) reason: Option<String>,
    /// The error of its aggregate, if that died in this generation.
    pub(super) aggregate_error: Option<String>,
    pub(super) created_at: Instant,
    pub(super) planned_at: Instant,
    pub(super) finished_at: Option<Instant>,
    /// How many items may be quarantined, according to the definition or the last restart.
    pub(super) failure_budget: FailureBudget,
    /// Whether its plan was ever complete.
    pub(super) planned: bool,
    /// The generation whose first failure has been reported.
    pub(super) told_failure: Option<u32>,
    /// When it counts as late; `None` if that is never, or was reported already.
    pub(super) late_at: Option<Instant>,
    /// What has become of the spools of its input, if it has any.
    pub(super) spools: Option<Spools>,
    /// Whether it is being deleted.
    pub(super) deleting: bool,
}

/// What has become of the spools of an input.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Spools {
    Kept,
    Releasing,
    Removed,
}

/// The counters of a batch, or by how much they change. All zero is an empty change: it fires the fan-in if nothing
/// remains.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Tally {
    pub(super) chunks: i64,
    pub(super) remaining: i64,
    pub(super) dead: i64,
    pub(super) retries: i64,
    pub(super) input: i64,
    pub(super) ok: i64,
    pub(super) skipped: i64,
    pub(super) quarantined: i64,
    pub(super) cancelled: i64,
}

impl Tally {
    pub(super) fn add(&mut self, by: &Self) {
        self.chunks += by.chunks;
        self.remaining += by.remaining;
        self.dead += by.dead;
        self.retries += by.retries;
        self.input += by.input;
        self.ok += by.ok;
        self.skipped += by.skipped;
        self.quarantined += by.quarantined;
        self.cancelled += by.cancelled;
    }

    pub(super) fn counts(&self) -> Counts {
        Counts {
            input: unsigned(self.input),
            ok: unsigned(self.ok),
            skipped: unsigned(self.skipped),
            quarantined: unsigned(self.quarantined),
            cancelled: unsigned(self.cancelled),
        }
    }
}

/// A quarantined item, and its tenant.
#[derive(Debug, Clone)]
pub(super) struct Quarantined {
    pub(super) tenant: String,
    pub(super) view: QuarantineView,
}

/// What has been committed and must still be published.
#[derive(Debug, Clone)]
pub(super) struct OutboxRow {
    pub(super) purpose: Purpose,
    pub(super) queue: String,
    pub(super) priority: Priority,
    pub(super) jobs: Vec<JobId>,
    pub(super) created_at: Instant,
    pub(super) held_until: Option<Instant>,
}

/// A process incarnation.
#[derive(Debug, Clone)]
pub(super) struct Worker {
    pub(super) entered: NewWorker,
    pub(super) running: u32,
    pub(super) state: WorkerState,
    pub(super) started_at: Instant,
    pub(super) seen_at: Instant,
    pub(super) lease_until: Instant,
}

/// Whether an incarnation goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum WorkerState {
    Alive,
    Lost,
    Stopped,
}

/// An email, and how far it is for each of its recipients.
#[derive(Debug, Clone)]
pub(super) struct Email {
    pub(super) job: JobId,
    pub(super) record: EmailRecord,
    pub(super) view: EmailView,
    /// The hashes of the recipients' addresses, in their order.
    pub(super) hashes: Vec<[u8; 32]>,
    pub(super) content: Option<Arc<[u8]>>,
    pub(super) attempts: BTreeMap<u32, EmailAttempt>,
    pub(super) moved_at: Instant,
    /// Whether those of whom it is unknown may get it once more, whatever the policy says.
    pub(super) again: bool,
}

/// An address to which nothing is sent.
#[derive(Debug, Clone)]
pub(super) struct Listed {
    pub(super) reason: SuppressionReason,
    pub(super) note: Option<String>,
    pub(super) created_at: Instant,
    pub(super) until: Option<Instant>,
}

impl Listed {
    pub(super) fn stands(&self, now: Instant) -> bool {
        self.until.is_none_or(|until| until > now)
    }
}

/// A batch that was discarded.
#[derive(Debug, Clone, Copy)]
pub(super) struct Discarded {
    pub(super) batch: BatchId,
    pub(super) first: JobId,
    pub(super) last: JobId,
    pub(super) at: Instant,
}

/// The leader.
#[derive(Debug, Clone, Copy)]
pub(super) struct Leader {
    pub(super) holder: WorkerId,
    pub(super) epoch: i64,
    pub(super) lease_until: Instant,
}

/// What the store draws by itself: ids, row numbers, random numbers. The same seed draws the same.
#[derive(Debug, Clone)]
pub(super) struct Ids {
    seed: u64,
    drawn: u64,
    rows: i64,
}

impl Ids {
    /// An id that sorts by the time of its creation, and after those created before at the same time.
    pub(super) fn job(&mut self, now: Instant) -> JobId {
        let mut bytes = [0; 10];
        let number = self.drawn.to_be_bytes();
        bytes[..2].copy_from_slice(&number[6..]);
        // Ids that others create at the same time begin lower.
        bytes[0] |= 0b1000;
        bytes[2..].copy_from_slice(&self.draw().to_be_bytes());
        let millis = u64::try_from(now.timestamp_millis()).unwrap_or(0);
        JobId(Builder::from_unix_timestamp_millis(millis, &bytes).into_uuid())
    }

    /// The number of the next row of the outbox or the quarantine.
    pub(super) fn row(&mut self) -> i64 {
        self.rows += 1;
        self.rows
    }

    /// A random number from 0 to 1.
    pub(super) fn random(&mut self) -> f64 {
        let [a, b, c, d, ..] = self.draw().to_be_bytes();
        f64::from(u32::from_be_bytes([a, b, c, d])) / f64::from(u32::MAX)
    }

    /// SplitMix64 (G. Steele, D. Lea, C. Flood: Fast splittable pseudorandom number generators, 2014).
    fn draw(&mut self) -> u64 {
        self.drawn += 1;
        let mut z = self.seed.wrapping_add(self.drawn.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
}

/// A count as a difference.
pub(super) fn signed(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

/// A counter as it is shown.
pub(super) fn unsigned(count: i64) -> u64 {
    u64::try_from(count).unwrap_or(0)
}

/// The instant after that wait.
pub(super) fn later(now: Instant, wait: Duration) -> Instant {
    chrono::TimeDelta::from_std(wait).ok().and_then(|wait| now.checked_add_signed(wait)).unwrap_or(Instant::MAX_UTC)
}

/// The instant that long ago.
pub(super) fn ago(now: Instant, wait: Duration) -> Instant {
    chrono::TimeDelta::from_std(wait).ok().and_then(|wait| now.checked_sub_signed(wait)).unwrap_or(Instant::MIN_UTC)
}

/// What a value is after it has been written and read again.
pub(super) fn kept<T: serde::Serialize + serde::de::DeserializeOwned>(value: &T) -> Result<T> {
    let text = crate::check::json(value)?;
    serde_json::from_str(&text).map_err(|error| crate::StoreError::Database(error.to_string()))
}

/// What any JSON value is after it has been written and read again.
pub(super) fn kept_json(value: &Value) -> Result<Value> {
    let text = crate::check::json(value)?;
    gristmill_core::json::kept(&text).map_err(|error| crate::StoreError::Database(error.to_string()))
}

/// A limit as the number of rows.
pub(super) fn most(limit: u32) -> usize {
    usize::try_from(limit).unwrap_or(usize::MAX)
}
