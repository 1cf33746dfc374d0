//! The truth: jobs, batches, results, quarantine and outbox in PostgreSQL or SQLite.
//!
//! [`Store`] is the one way to change anything. A method is a transition is a transaction: it does
//! all of its work or none, it checks the state that it leaves, and running it a second time after
//! an unknown commit result does no harm. Which database is behind it makes no difference to the
//! outcome; one conformance suite runs on both.
//!
//! * [`Store`]: the transitions and the views.
//! * [`types`]: what goes in and what comes out.
//! * [`views`]: what people and pages are shown.
//! * [`schedules`]: schedules and the ledger of their ticks. [`events`]: what starts runs beside the clock.
//! * [`limits`]: limits and turns; [`mod@why`]: what a job waits for.
//! * [`postgres`], [`sqlite`]: the two stores, mirrored statement for statement.
//! * `reference` (feature `testing`): the model that both are compared with, in memory.
//!
//! Lock order everywhere: limits by name, then jobs by id, then batches by id, then queue counters by key.

mod check;
pub mod condition;
pub mod emails;
pub mod error;
pub mod failpoint;
mod group;
mod guard;
pub mod limits;
mod migrations;
mod notify;
pub mod open;
mod patched;
pub mod poison;
pub mod postgres;
#[cfg(feature = "testing")]
pub mod reference;
mod restart;
mod row;
pub mod schedules;
pub mod settings;
mod split;
pub mod sqlite;
#[cfg(feature = "testing")]
pub mod testing;
pub mod triggers;
pub mod types;
pub mod views;
pub mod why;

use std::fmt::Debug;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use gristmill_core::Instant;
use gristmill_core::chunk::SourceFingerprint;
use gristmill_core::id::{BatchId, JobId, WorkerId};
use gristmill_core::job::{ClaimedJob, Fence, NewJob};

pub use condition::Outage;
pub use emails::*;
pub use error::{Result, StoreError};
pub use guard::WorkGuard;
pub use limits::{
    Blocker, JobBlockers, LimitOrigin, LimitSpec, LimitUse, LimitView, Limited, LimitedClaim, QueueSpec, SaveLimit,
};
pub use open::{OpenOptions, connect, open};
pub use poison::*;
pub use schedules::*;
pub use settings::Settings;
pub use triggers::*;
pub use types::*;
pub use views::*;
pub use why::{Wait, why};

/// A store that many tasks share.
pub type StoreHandle = Arc<dyn Store>;

/// The truth. See the crate's documentation.
#[async_trait]
pub trait Store: Debug + Send + Sync + 'static {
    // ---- the database itself -------------------------------------------------------------

    /// Which database it is, for people: `postgres://host/db` or `sqlite:path`, never a password.
    fn describe(&self) -> String;

    /// Whether it is the embedded one, in which only one process works at a time.
    fn embedded(&self) -> bool;

    /// Applies the migrations that are missing. Safe to run in several processes at once.
    async fn migrate(&self) -> Result<MigrationStatus>;

    /// Which migrations are applied and which are known. Changes nothing.
    async fn migrations(&self) -> Result<MigrationStatus>;

    /// The database's own now: the only clock that state depends on.
    async fn now(&self) -> Result<Instant>;

    /// What keeps its transactions from going through, from the first that failed until one succeeds. Asks nobody.
    fn outage(&self) -> Option<Outage> {
        None
    }

    /// Waits for a hint that work became claimable, or for the time to pass. A hint may be missed
    /// and may be false: polling is the truth. `true` when it was a hint.
    async fn wait_for_work(&self, at_most: Duration) -> bool;

    // ---- create and seal ---------------------------------------------------------

    /// Creates jobs: all of them in one transaction, or none. At most [`GROUP_JOBS_MAX`].
    ///
    /// A job whose idempotency key is known gives the id of the first one and makes nothing. One whose unique key is
    /// held gives the holder's id, and [`OnConflict`](gristmill_core::unique::OnConflict) says what becomes of it:
    /// the holder stays as it is, or takes over what was asked for where it has not begun, or the whole group is
    /// refused with [`StoreError::Conflict`]. How long a key is held says its holder
    /// ([`Hold`](gristmill_core::unique::Hold)). The same id twice in one call is one job, the
    /// first of them.
    async fn enqueue(&self, jobs: &[NewJob]) -> Result<EnqueueReport>;

    /// Creates a batch in state `open` without chunks. A known idempotency key gives the first one.
    async fn create_batch(&self, batch: &NewBatch) -> Result<CreatedBatch>;

    /// Adds chunks: jobs, `remaining += n`, `input += items` and one outbox row in one transaction. At most
    /// [`GROUP_JOBS_MAX`]. A chunk number that exists already is left as it is, so that a planner
    /// that does not know whether it had committed may simply go on. Refused with
    /// [`StoreError::Conflict`] when the batch is not `open`.
    async fn add_chunks(&self, batch: BatchId, chunks: &[NewChunk]) -> Result<Dispatched>;

    /// Seal: no more chunks will come. Fires the aggregate at once when nothing remains. Sealing a
    /// sealed batch is a no-op.
    async fn seal(&self, batch: BatchId) -> Result<Dispatched>;

    /// Takes a batch back whose plan failed before it was sealed: the batch and all that belongs to
    /// it vanish. Refused with [`StoreError::Conflict`] when it is not `open`, or a chunk has been
    /// claimed already: then it is cancelled instead by whoever asks.
    async fn discard_batch(&self, batch: BatchId) -> Result<()>;

    /// Batches that are still `open` although nobody has added a chunk for so long: their planner is
    /// gone. Tenant and id, the oldest first. Views alone; what becomes of them is the caller's.
    async fn stalled_plans(&self, older_than: Duration, limit: u32) -> Result<Vec<(String, BatchId)>>;

    // ---- claim and complete ------------------------------------------------------

    /// Claims by message: those of the named jobs that may run, at most `claim.limit`. Those of a kind or version that
    /// the worker lacks are noted as astray: their message is of no use any more, whoever has got it. Ids that no job has
    /// are told from those that are merely late: see [`ClaimReport::unknown`].
    async fn claim(&self, claim: &Claim, ids: &[JobId]) -> Result<ClaimReport>;

    /// Claims from the store itself, for when no broker carries the ids: by priority, then by age. Nothing that is managed.
    async fn claim_next(&self, claim: &Claim) -> Result<Vec<ClaimedJob>>;

    /// Claims by limits and turns: whatever message there is, the store chooses among the queues and kinds that are
    /// [managed](Store::limited), as [`gristmill_core::limit::choose`] says. At any instant no more run than a limit allows,
    /// whoever claims; what runs is counted from the rows, so that however an attempt ends its place is free. What waits
    /// for a limit is not moved, spends no attempt, and holds back nothing that falls under others.
    async fn claim_limited(&self, claim: &Claim) -> Result<LimitedClaim>;

    /// Jobs that `claim.worker` may claim and whose message went to a worker that lacks their kind or version, at most
    /// `claim.limit`. They are claimed by [`Store::claim`] as if their message had come.
    async fn misrouted(&self, claim: &Claim) -> Result<Vec<JobId>>;

    /// Complete: closes attempts, all in one transaction. Those whose fence no longer holds are left
    /// alone and reported. Results, quarantine, counters, the fan-in and what follows are in the
    /// same transaction. At most [`COMPLETIONS_MAX`].
    ///
    /// A verdict that would try a job again whose last attempt is spent is refused with [`StoreError::Invalid`], and
    /// all of the group with it, as is a result that does not count its chunk's items.
    ///
    /// A completion with [`Completion::sql`] must come alone: a refusal by the user's table is
    /// [`StoreError::Sink`], and then nothing of it has happened.
    async fn complete(&self, completions: &[Completion]) -> Result<CompleteReport>;

    // ---- workers and leases --------------------------------------------------------------

    /// Takes the right to work, before [`Store::register_worker`], for as long as the guard lives.
    /// Whoever only enqueues, looks or steers needs none.
    ///
    /// On a server any number of processes work at once and this does nothing. On the embedded store
    /// a second one is refused with [`StoreError::Locked`]; and for the first, every job that is `running`
    /// belongs to a dead incarnation and is rescued at once.
    async fn begin_work(&self) -> Result<WorkGuard> {
        Ok(WorkGuard::default())
    }

    /// Enters a process incarnation with a fresh lease.
    async fn register_worker(&self, worker: &NewWorker) -> Result<()>;

    /// Prolongs its lease. `false` when the lease had run out and somebody has rescued its jobs:
    /// the incarnation is over, whatever it still runs is fenced.
    async fn beat(&self, worker: WorkerId, lease: Duration, running: u32) -> Result<bool>;

    /// Which of the attempts that an incarnation holds were taken away: their jobs were cancelled or rescued meanwhile, or
    /// have failed. One that is done as this attempt is not gone: its holder has completed it, and may still be at
    /// something. Changes nothing; a fence that is gone never comes back.
    async fn revoked(&self, held: &[Fence]) -> Result<Vec<Fence>>;

    /// Waits until attempts may have been taken away from whoever runs them, or for the time to pass. `seen` is what
    /// the last call gave, 0 at first: what happened between two calls is not missed. A hint, as
    /// [`Store::wait_for_work`] is: [`Store::revoked`] is the truth.
    async fn wait_for_revocation(&self, seen: u64, at_most: Duration) -> u64;

    /// Ends an incarnation at a graceful stop: its lease is over at once, and whatever is still
    /// `running` under it goes back to `queued` with the attempt given back.
    async fn retire_worker(&self, worker: WorkerId) -> Result<Dispatched>;

    /// After a claim whose commit result is unknown: whatever is `running` under this incarnation and is not
    /// among `known` has nobody who runs it, and goes back to `queued` with the attempt given back. Not to be
    /// called while a claim of the same incarnation is under way, whose jobs nobody can know yet; one whose answer was
    /// lost, and whose COMMIT may land at any moment, is waited for, for five seconds at most.
    async fn release_unknown(&self, worker: WorkerId, known: &[Fence]) -> Result<Dispatched>;

    /// All incarnations that are alive or were seen within the last day, newest first.
    async fn workers(&self) -> Result<Vec<WorkerView>>;

    // ---- rescue, promote, reconcile and the outbox: the scheduler's duties -------------------------------

    /// Rescue: jobs of workers whose lease ran out, and jobs past their deadline. `settle` decides; for a chunk whose
    /// worker died `split` does: its halves may take its place.
    async fn rescue(&self, limit: u32) -> Result<RescueReport>;

    /// Promote: `scheduled` and `retry` jobs whose time has come become `queued`.
    async fn promote(&self, limit: u32) -> Result<Dispatched>;

    /// Takes outbox rows that are older than `older_than` and that nobody holds, and holds them
    /// for 30 seconds, so that two sweepers do not publish the same at once.
    async fn outbox_take(&self, older_than: Duration, limit: u32) -> Result<Vec<Dispatch>>;

    /// Removes outbox rows: every confirm for them is in.
    async fn outbox_done(&self, ids: &[i64]) -> Result<()>;

    /// How many outbox rows wait, and since when the oldest does.
    async fn outbox_backlog(&self) -> Result<OutboxBacklog>;

    /// Writes outbox rows for at most `limit` jobs that have been `queued` for longer than
    /// `older_than` without one (the broker has lost their messages). Paused ones are left alone, and so are those
    /// astray, whose messages would go astray again, and managed ones, which need none.
    async fn redispatch(&self, queue: &str, older_than: Duration, limit: u32) -> Result<Dispatched>;

    /// Reconcile: compares every batch that is not final with its jobs, and every counter with what it
    /// counts; repairs what the transitions above can repair, and reports all it found.
    async fn reconcile(&self, dry_run: bool) -> Result<ReconcileReport>;

    /// Enqueues what `on.late` says for at most `limit` batches that have not ended by their deadline, each once.
    async fn notify_late(&self, limit: u32) -> Result<Dispatched>;

    /// Batches whose copies of their input may be removed, at most `limit`: they have ended, and nothing is left that
    /// would read them, or that was longer than `keep` ago. From now on they can be restarted no more.
    /// [`Store::spools_removed`] follows when the copies are removed; until then they are given again.
    async fn spools(&self, keep: Duration, limit: u32) -> Result<Vec<(BatchId, SourceFingerprint)>>;

    /// The copies of such a batch are removed.
    async fn spools_removed(&self, batch: BatchId) -> Result<()>;

    // ---- steering ------------------------------------------------------------------------

    /// Stops the claiming of all jobs of a batch, or with `None` lets it go. Resuming dispatches what waits. One that has
    /// ended cannot be paused, but resumed if it was paused before it ended: what it sends waits for that. What is
    /// paused already stays so, by whoever paused it first.
    async fn pause_batch(
        &self,
        tenant: &str,
        batch: BatchId,
        pause: Option<&Pause>,
        dry_run: bool,
    ) -> Result<ControlReport>;

    /// Cancels a batch for good: its unfinished jobs become `cancelled`, no aggregate will run.
    async fn cancel_batch(&self, tenant: &str, batch: BatchId, reason: &str, dry_run: bool) -> Result<ControlReport>;

    /// Halts a batch that is over its failure budget: its unfinished chunks become `cancelled`, the
    /// fan-in fires, and the aggregate that runs then declares it `halted`. A no-op on a batch that
    /// has halted or ended already, and on one that is in another generation than the one that was judged: a
    /// restart forgives, and a judgement that comes late must not take that back.
    async fn halt_batch(&self, batch: BatchId, generation: u32, reason: &str) -> Result<ControlReport>;

    /// Cancels a job that is not final. A chunk's items count as cancelled. Of one that runs, the attempt is closed
    /// as `cancelled` in the same transaction: whoever runs it is fenced from then on, and told by
    /// [`Store::wait_for_revocation`].
    async fn cancel_job(&self, tenant: &str, job: JobId, reason: &str, dry_run: bool) -> Result<ControlReport>;

    /// Cancels those of the named jobs that are not final, at most [`GROUP_JOBS_MAX`], in one transaction. Others, and
    /// aggregates, without which their batch could not end, are passed over: safe to be run again after a part.
    async fn cancel_jobs(&self, tenant: &str, jobs: &[JobId], reason: &str, dry_run: bool) -> Result<ControlReport>;

    /// Lets a job in state `retry` or `scheduled` run now. For a dead one, see [`Store::redrive_dead`].
    async fn retry_job(&self, tenant: &str, job: JobId, dry_run: bool) -> Result<ControlReport>;

    /// Stops the claiming from a queue, or with `None` lets it go. Resuming dispatches what waits and nothing else holds;
    /// a queue that is not paused is left as it is, and one that is, with whoever paused it first.
    async fn pause_queue(
        &self,
        tenant: &str,
        queue: &str,
        pause: Option<&Pause>,
        dry_run: bool,
    ) -> Result<ControlReport>;

    /// Dead letters become `queued` with as many attempts again as they had at first: the limit rises,
    /// the attempt's number never falls, so that no fence is ever used twice. Dead chunks of a batch
    /// that has ended open its next generation; while it aggregates they are refused.
    async fn redrive_dead(&self, tenant: &str, jobs: &[JobId], dry_run: bool) -> Result<ControlReport>;

    /// Lets a batch go on that is `halted` or `cancelled`, in its next generation: its cancelled chunks, and
    /// its dead ones where that is asked, become `queued` with as many attempts as they had at first. A chunk
    /// that is done is never run again. Where nothing is left to do the aggregate fires at once.
    ///
    /// Refused with [`StoreError::Conflict`] for any other state; for a batch that was cancelled before its plan
    /// was complete, since nobody knows the rest of its input; when the copies of its input are gone; and when
    /// it would halt again at once because what stays quarantined is over the budget.
    async fn restart_batch(&self, tenant: &str, restart: &Restart, dry_run: bool) -> Result<ControlReport>;

    /// Open quarantined items of one batch become a new chunk, or several of at most `chunk` items, in their old
    /// places; each is mended first, as [`PatchRedrive::mend`] says. One that cannot be mended stays in quarantine, is
    /// counted and named, and the others go: all in one transaction. Items of a batch that has ended open its
    /// next generation, unless none of them can go.
    async fn redrive_patched(&self, tenant: &str, patching: &PatchRedrive, dry_run: bool) -> Result<PatchReport>;

    /// Quarantined items of one batch run again as they are: [`Store::redrive_patched`] without mending.
    async fn redrive_quarantine(
        &self,
        tenant: &str,
        redrive: &QuarantineRedrive,
        dry_run: bool,
    ) -> Result<ControlReport> {
        let patching = PatchRedrive {
            which: QuarantineWhich { items: redrive.items.clone(), ..QuarantineWhich::default() },
            ..PatchRedrive::new(redrive.batch, redrive.chunk)
        };
        let report = self.redrive_patched(tenant, &patching, dry_run).await?;
        Ok(ControlReport {
            affected: report.redriven,
            samples: report.samples.iter().map(|sample| sample.id.to_string()).collect(),
            generation: report.generation,
            dispatched: report.dispatched,
        })
    }

    /// Puts two halves in the place of a chunk that is dead or waits: the chunk itself becomes `cancelled` with no
    /// items, and says which its halves are; the items are pending. A dead chunk of a batch that has ended opens its
    /// next generation. Refused with [`StoreError::Conflict`] while it runs, for one item, and while the batch is
    /// open or aggregates.
    async fn split_chunk(&self, tenant: &str, job: JobId, dry_run: bool) -> Result<ControlReport>;

    // ---- views ---------------------------------------------------------------------------

    /// One batch. `None` when there is none.
    async fn batch(&self, tenant: &str, batch: BatchId) -> Result<Option<BatchView>>;

    /// The definition, stamp and parameters of a batch, for the chunks' handler. Never changes after
    /// creation, so that it may be cached.
    async fn batch_plan(&self, batch: BatchId) -> Result<Option<BatchPlan>>;

    /// Batches, newest first.
    async fn batches(&self, filter: &BatchFilter, page: &Page) -> Result<Vec<BatchView>>;

    /// The results of a batch's chunks over all generations, in the order of their numbers, after
    /// the given number. At most `limit`.
    async fn chunk_results(&self, batch: BatchId, after_seq: i64, limit: u32) -> Result<Vec<StoredResult>>;

    /// One job with its attempts. `None` when there is none.
    async fn job(&self, tenant: &str, job: JobId) -> Result<Option<JobView>>;

    /// Jobs, newest first.
    async fn jobs(&self, filter: &JobFilter, page: &Page) -> Result<Vec<JobView>>;

    /// Whose jobs there are, or have been: every tenant with a queue, by name. For duties, which serve all of them.
    async fn tenants(&self) -> Result<Vec<String>>;

    /// The names of all queues of all tenants, in order: those that have had a job, or of which something is said.
    async fn queue_names(&self) -> Result<Vec<String>>;

    /// Every queue with its maintained counters.
    async fn queues(&self, tenant: &str) -> Result<Vec<QueueView>>;

    /// Jobs that wait although no live worker can run them. Looks at the first thousand of each queue: what nobody can
    /// take gathers there.
    async fn unhandled(&self, tenant: &str) -> Result<Vec<UnhandledView>>;

    /// Quarantined items, oldest first, after the given id.
    async fn quarantine(&self, filter: &QuarantineFilter, page: &Page) -> Result<Vec<QuarantineView>>;

    // ---- poison: messages that nobody can act upon -----------------------------------------

    /// Keeps messages, in one transaction. One that is kept already, by queue and hash, is counted. To be committed
    /// before the message is acknowledged: this is then the only copy.
    async fn record_poison(&self, poison: &[NewPoison]) -> Result<()>;

    /// Those of these ids that no job has, and that none of a batch that was taken back had.
    async fn unknown_jobs(&self, ids: &[JobId]) -> Result<Vec<JobId>>;

    /// Messages that were kept, newest first.
    async fn poison(&self, page: &Page) -> Result<Vec<PoisonView>>;

    /// One of them with its headers and bytes. `None` when there is none.
    async fn poison_message(&self, id: i64) -> Result<Option<PoisonMessage>>;

    /// Forgets messages that were kept. Ids that there are none of are passed over.
    async fn drop_poison(&self, ids: &[i64], dry_run: bool) -> Result<ControlReport>;

    // ---- kept by kinds of job ------------------------------------------------------------

    /// The delivery record of an email, made as `pending` when there is none yet.
    async fn email(&self, email: &NewEmail) -> Result<EmailRecord>;

    /// Moves a delivery record, guarded by the fence of the job that holds it: `false` when the
    /// job is not this attempt's any more.
    async fn email_move(&self, key: &EmailKey, fence: &Fence, to: EmailState, note: Option<&str>) -> Result<bool>;

    // ---- schedules -----------------------------------------------------------------------

    /// Makes or edits a schedule, guarded by what was seen of it: [`StoreError::Conflict`] when it has been made,
    /// edited or has decided a tick meanwhile. An edit raises its version.
    async fn save_schedule(&self, save: &SaveSchedule) -> Result<ScheduleView>;

    /// Takes a schedule away: whether it was there. Its ledger stays.
    async fn remove_schedule(&self, tenant: &str, name: &str) -> Result<bool>;

    /// Schedules by name: of one tenant or of all, one or all.
    async fn schedules(&self, tenant: Option<&str>, name: Option<&str>) -> Result<Vec<ScheduleView>>;

    /// Schedules that are enabled and have a tick to decide at `now`, the longest due first.
    async fn due_schedules(&self, now: Instant, limit: u32) -> Result<Vec<ScheduleView>>;

    /// Writes decided ticks down and starts their runs, all in one transaction: rows of the ledger, the steps of
    /// the schedules' clocks, batches in state `open`, jobs. A firing whose schedule somebody else has moved on, and a
    /// row whose tick is in the ledger already (or no longer in the outcome that it had), is left alone and starts
    /// nothing: at most one run for each tick, however many schedulers there are. At most [`FIRE_TICKS_MAX`] rows and
    /// [`GROUP_JOBS_MAX`] runs.
    async fn fire(&self, firings: &[Firing]) -> Result<FireReport>;

    /// Notes in the ledger which runs have ended, and how: how many there were.
    async fn note_ended_runs(&self) -> Result<u64>;

    /// Ticks that may start now: of each schedule that runs nothing the oldest that is buffered, of each backfill
    /// that is not paused as many as its concurrency allows, and those that were given back.
    async fn startable_ticks(&self, limit: u32) -> Result<Vec<TickView>>;

    /// Runs of schedules whose batch is still `open` although whoever planned it is not alive: tenant and id.
    async fn orphaned_plans(&self, limit: u32) -> Result<Vec<(String, BatchId)>>;

    /// Gives a tick back whose batch will never be planned to its end: it waits to be started anew, or has failed
    /// when that has happened [`FIRE_TRIES_MAX`] times or `again` is false. `false` when no tick started that batch.
    async fn release_tick(&self, batch: BatchId, reason: &str, again: bool) -> Result<bool>;

    /// Writes an event down and starts its job, in one transaction: once, whoever tells of it and however often. One
    /// that is known gives the row that the first has made, and starts nothing. Without a job its row is `waiting`.
    ///
    /// The end of a batch is such an event, written in the transaction that ends it, for each schedule that follows it
    /// ([`ScheduleSpec::after`](gristmill_core::schedule::ScheduleSpec::after)) and was made before: its key is the batch
    /// and its generation. For one that is switched off it is recorded as skipped.
    async fn note_event(&self, event: &NewEvent) -> Result<NotedEvent>;

    /// Rows of the ledger, the newest first.
    async fn ticks(&self, filter: &TickFilter) -> Result<Vec<TickView>>;

    /// Puts a past stretch of a schedule into the ledger as `waiting`: how many ticks. Those that ran, wait already,
    /// or are about to run are left alone.
    async fn backfill(&self, backfill: &NewBackfill) -> Result<u64>;

    /// Stops or lets go a backfill, or, with `None`, takes away what still waits: how many ticks wait, or did.
    async fn control_backfill(&self, tenant: &str, id: uuid::Uuid, paused: Option<bool>) -> Result<u64>;

    /// Backfills of a schedule, the newest first, at most 100.
    async fn backfills(&self, tenant: &str, schedule: &str) -> Result<Vec<BackfillView>>;

    // ---- limits and turns ----------------------------------------------------------------

    /// Which queues and kinds are claimed by limits and turns, and what is said of queues.
    async fn limited(&self) -> Result<Limited>;

    /// Every limit by name, with how many jobs under it run now.
    async fn limits(&self) -> Result<Vec<LimitView>>;

    /// Makes or changes a limit: it holds for what is claimed next. [`StoreError::Conflict`] when it was made in another
    /// place. What it manages no more is dispatched, since messages of managed jobs are dropped.
    async fn save_limit(&self, save: &SaveLimit) -> Result<(LimitView, Dispatched)>;

    /// Takes a limit away that was made in that place: 1 affected, or 0 when there was none. What is managed no more is
    /// dispatched, at most 20,000 jobs; the probe brings the rest.
    async fn drop_limit(&self, name: &str, origin: LimitOrigin, dry_run: bool) -> Result<ControlReport>;

    /// Says what holds for a queue; a [`QueueSpec`] that says nothing is forgotten. As [`Store::save_limit`] otherwise.
    async fn save_queue(&self, name: &str, spec: &QueueSpec) -> Result<Dispatched>;

    /// Moves at most `limit` jobs one priority up that have waited there for as long as their queue's `age_after`: of each
    /// priority the thousand oldest are looked at. They are dispatched to their new priority. Forgets rates whose time is past.
    async fn raise_aged(&self, limit: u32) -> Result<Dispatched>;

    /// Which limits keep a job from beginning, and whether its message waits to be published. Of no interest unless it
    /// is `queued`.
    async fn blockers(&self, job: JobId) -> Result<JobBlockers>;

    // ---- leadership (a convenience, never a guarantee) -----------------------------------

    /// Takes or keeps the lease of that name. `Some(epoch)` for whoever holds it now.
    async fn lead(&self, name: &str, holder: WorkerId, lease: Duration) -> Result<Option<i64>>;

    /// For what only one database can do, such as the user's own transactions.
    fn as_any(&self) -> &dyn std::any::Any;
}
