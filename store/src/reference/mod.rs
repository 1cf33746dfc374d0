//! The model: the whole contract in plain maps, one mutex and no database.
//!
//! It is what the two real stores are compared with, and the store under simulation. Hence it has no clock, no
//! dice and no threads of its own: the [`Clock`] and the seed are the test's, every method is one step that nobody
//! sees the middle of, and everything is gone through in the order of its key. What the contract says, it says as
//! plainly as it can; how fast it is matters to nobody.
//!
//! A [`Clause`] of the contract can be taken away, to see whether the tests notice.

mod claim;
mod clause;
mod clock;
mod complete;
mod control;
mod create;
mod duties;
mod email;
mod fan_in;
mod insert;
mod limits;
mod notify;
mod patch;
mod poison;
mod reconcile;
mod redrive;
mod rescue;
mod restart;
mod schedules;
mod settle;
mod split;
mod state;
mod tamper;
mod transition;
mod triggers;
mod view;
mod worker;

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use gristmill_core::Instant;
use gristmill_core::chunk::SourceFingerprint;
use gristmill_core::id::{BatchId, JobId, WorkerId};
use gristmill_core::job::{ClaimedJob, Fence, NewJob};
use tokio::sync::{Notify, watch};

use crate::Store;
use crate::error::Result;
use crate::*;

pub use clause::Clause;
pub use clock::Clock;
use state::State;

/// How long a fan-in that is not in its completion's transition comes after it.
const BETWEEN: Duration = Duration::from_millis(1);

/// The store in memory: see the module's documentation.
#[derive(Debug)]
pub struct ReferenceStore {
    truth: Arc<Mutex<State>>,
    clock: Clock,
    seed: u64,
    /// Whether a broker carries ids: without one nothing is written to the outbox.
    with_outbox: bool,
    /// The clauses that were taken away.
    without: BTreeSet<Clause>,
    work: Arc<Notify>,
    /// How many times attempts may have been taken away, counted from 1.
    gone: watch::Sender<u64>,
}

impl ReferenceStore {
    /// An empty store. It judges time by `clock`, and what it draws by itself follows from `seed`. With `with_outbox` it
    /// writes an outbox, as if a broker carried ids.
    pub fn new(clock: Clock, seed: u64, with_outbox: bool) -> Self {
        let truth = Arc::new(Mutex::new(State::new(seed)));
        Self {
            truth,
            clock,
            seed,
            with_outbox,
            without: BTreeSet::new(),
            work: Arc::default(),
            gone: watch::Sender::new(1),
        }
    }

    /// The same without a clause of the contract.
    #[must_use]
    pub fn without(mut self, clause: Clause) -> Self {
        self.without.insert(clause);
        self
    }

    /// The same store as a program sees it that has no broker: nothing is written to the outbox.
    #[must_use]
    pub fn brokerless(&self) -> Self {
        Self {
            truth: Arc::clone(&self.truth),
            clock: self.clock.clone(),
            seed: self.seed,
            with_outbox: false,
            without: self.without.clone(),
            work: Arc::clone(&self.work),
            gone: self.gone.clone(),
        }
    }

    /// Its clock, which the test may turn.
    pub fn clock(&self) -> &Clock {
        &self.clock
    }

    fn keeps(&self, clause: Clause) -> bool {
        !self.without.contains(&clause)
    }

    /// Wakes whoever waits for work.
    fn hint(&self) {
        self.work.notify_waiters();
        // For whoever looked before the commit and waits only after it.
        self.work.notify_one();
    }
}

#[async_trait]
impl Store for ReferenceStore {
    fn describe(&self) -> String {
        format!("memory:{}", self.seed)
    }

    fn embedded(&self) -> bool {
        false
    }

    async fn migrate(&self) -> Result<MigrationStatus> {
        Ok(MigrationStatus::default())
    }

    async fn migrations(&self) -> Result<MigrationStatus> {
        Ok(MigrationStatus::default())
    }

    async fn now(&self) -> Result<Instant> {
        Ok(self.clock.now())
    }

    async fn wait_for_work(&self, at_most: Duration) -> bool {
        tokio::time::timeout(at_most, self.work.notified()).await.is_ok()
    }

    async fn enqueue(&self, jobs: &[NewJob]) -> Result<EnqueueReport> {
        create::enqueue(self, jobs)
    }

    async fn create_batch(&self, batch: &NewBatch) -> Result<CreatedBatch> {
        create::create_batch(self, batch)
    }

    async fn add_chunks(&self, batch: BatchId, chunks: &[NewChunk]) -> Result<Dispatched> {
        create::add_chunks(self, batch, chunks)
    }

    async fn seal(&self, batch: BatchId) -> Result<Dispatched> {
        create::seal(self, batch)
    }

    async fn discard_batch(&self, batch: BatchId) -> Result<()> {
        create::discard_batch(self, batch)
    }

    async fn stalled_plans(&self, older_than: Duration, limit: u32) -> Result<Vec<(String, BatchId)>> {
        Ok(view::stalled_plans(self, older_than, limit))
    }

    async fn claim(&self, claim: &Claim, ids: &[JobId]) -> Result<ClaimReport> {
        claim::claim(self, claim, ids)
    }

    async fn claim_next(&self, claim: &Claim) -> Result<Vec<ClaimedJob>> {
        claim::claim_next(self, claim)
    }

    async fn claim_limited(&self, claim: &Claim) -> Result<LimitedClaim> {
        limits::claim_limited(self, claim)
    }

    async fn misrouted(&self, claim: &Claim) -> Result<Vec<JobId>> {
        Ok(claim::misrouted(self, claim))
    }

    async fn complete(&self, completions: &[Completion]) -> Result<CompleteReport> {
        let (mut report, late) = complete::complete(self, completions)?;
        if !late.is_empty() {
            tokio::time::sleep(BETWEEN).await;
            complete::fan_in_late(self, &late, &mut report)?;
        }
        Ok(report)
    }

    async fn register_worker(&self, worker: &NewWorker) -> Result<()> {
        worker::register(self, worker)
    }

    async fn beat(&self, worker: WorkerId, lease: Duration, running: u32) -> Result<bool> {
        worker::beat(self, worker, lease, running)
    }

    async fn revoked(&self, held: &[Fence]) -> Result<Vec<Fence>> {
        Ok(worker::revoked(self, held))
    }

    async fn wait_for_revocation(&self, seen: u64, at_most: Duration) -> u64 {
        let mut gone = self.gone.subscribe();
        // The sender lives as long as we do: whether it was a hint or the time does not matter.
        let _ = tokio::time::timeout(at_most, gone.wait_for(|count| *count != seen)).await;
        *gone.borrow()
    }

    async fn retire_worker(&self, worker: WorkerId) -> Result<Dispatched> {
        worker::retire(self, worker)
    }

    async fn release_unknown(&self, worker: WorkerId, known: &[Fence]) -> Result<Dispatched> {
        worker::release_unknown(self, worker, known)
    }

    async fn workers(&self) -> Result<Vec<WorkerView>> {
        Ok(worker::workers(self))
    }

    async fn rescue(&self, limit: u32) -> Result<RescueReport> {
        rescue::rescue(self, limit)
    }

    async fn promote(&self, limit: u32) -> Result<Dispatched> {
        duties::promote(self, limit)
    }

    async fn outbox_take(&self, older_than: Duration, limit: u32) -> Result<Vec<Dispatch>> {
        duties::outbox_take(self, older_than, limit)
    }

    async fn outbox_done(&self, ids: &[i64]) -> Result<()> {
        duties::outbox_done(self, ids)
    }

    async fn outbox_backlog(&self) -> Result<OutboxBacklog> {
        Ok(duties::outbox_backlog(self))
    }

    async fn redispatch(&self, queue: &str, older_than: Duration, limit: u32) -> Result<Dispatched> {
        duties::redispatch(self, queue, older_than, limit)
    }

    async fn reconcile(&self, dry_run: bool) -> Result<ReconcileReport> {
        reconcile::reconcile(self, dry_run)
    }

    async fn pause_batch(
        &self,
        tenant: &str,
        batch: BatchId,
        pause: Option<&Pause>,
        dry_run: bool,
    ) -> Result<ControlReport> {
        control::pause_batch(self, tenant, batch, pause, dry_run)
    }

    async fn cancel_batch(&self, tenant: &str, batch: BatchId, reason: &str, dry_run: bool) -> Result<ControlReport> {
        control::cancel_batch(self, tenant, batch, reason, dry_run)
    }

    async fn halt_batch(&self, batch: BatchId, generation: u32, reason: &str) -> Result<ControlReport> {
        control::halt_batch(self, batch, generation, reason)
    }

    async fn cancel_job(&self, tenant: &str, job: JobId, reason: &str, dry_run: bool) -> Result<ControlReport> {
        control::cancel_job(self, tenant, job, reason, dry_run)
    }

    async fn cancel_jobs(&self, tenant: &str, jobs: &[JobId], reason: &str, dry_run: bool) -> Result<ControlReport> {
        control::cancel_jobs(self, tenant, jobs, reason, dry_run)
    }

    async fn retry_job(&self, tenant: &str, job: JobId, dry_run: bool) -> Result<ControlReport> {
        control::retry_job(self, tenant, job, dry_run)
    }

    async fn pause_queue(
        &self,
        tenant: &str,
        queue: &str,
        pause: Option<&Pause>,
        dry_run: bool,
    ) -> Result<ControlReport> {
        control::pause_queue(self, tenant, queue, pause, dry_run)
    }

    async fn redrive_dead(&self, tenant: &str, jobs: &[JobId], dry_run: bool) -> Result<ControlReport> {
        redrive::dead(self, tenant, jobs, dry_run)
    }

    async fn restart_batch(&self, tenant: &str, restart: &Restart, dry_run: bool) -> Result<ControlReport> {
        restart::restart(self, tenant, restart, dry_run)
    }

    async fn redrive_patched(&self, tenant: &str, patching: &PatchRedrive, dry_run: bool) -> Result<PatchReport> {
        patch::redrive_patched(self, tenant, patching, dry_run)
    }

    async fn split_chunk(&self, tenant: &str, job: JobId, dry_run: bool) -> Result<ControlReport> {
        split::split(self, tenant, job, dry_run)
    }

    async fn notify_late(&self, limit: u32) -> Result<Dispatched> {
        notify::late(self, limit)
    }

    async fn spools(&self, keep: Duration, limit: u32) -> Result<Vec<(BatchId, SourceFingerprint)>> {
        notify::spools(self, keep, limit)
    }

    async fn spools_removed(&self, batch: BatchId) -> Result<()> {
        notify::spools_removed(self, batch)
    }

    async fn batch(&self, tenant: &str, batch: BatchId) -> Result<Option<BatchView>> {
        Ok(view::batch(self, tenant, batch))
    }

    async fn batch_plan(&self, batch: BatchId) -> Result<Option<BatchPlan>> {
        Ok(view::batch_plan(self, batch))
    }

    async fn batches(&self, filter: &BatchFilter, page: &Page) -> Result<Vec<BatchView>> {
        view::batches(self, filter, page)
    }

    async fn chunk_results(&self, batch: BatchId, after_seq: i64, limit: u32) -> Result<Vec<StoredResult>> {
        Ok(view::chunk_results(self, batch, after_seq, limit))
    }

    async fn job(&self, tenant: &str, job: JobId) -> Result<Option<JobView>> {
        Ok(view::job(self, tenant, job))
    }

    async fn jobs(&self, filter: &JobFilter, page: &Page) -> Result<Vec<JobView>> {
        view::jobs(self, filter, page)
    }

    async fn tenants(&self) -> Result<Vec<String>> {
        Ok(view::tenants(self))
    }

    async fn queue_names(&self) -> Result<Vec<String>> {
        Ok(view::queue_names(self))
    }

    async fn queues(&self, tenant: &str) -> Result<Vec<QueueView>> {
        Ok(view::queues(self, tenant))
    }

    async fn unhandled(&self, tenant: &str) -> Result<Vec<UnhandledView>> {
        Ok(view::unhandled(self, tenant))
    }

    async fn quarantine(&self, filter: &QuarantineFilter, page: &Page) -> Result<Vec<QuarantineView>> {
        view::quarantine(self, filter, page)
    }

    async fn record_poison(&self, poison: &[NewPoison]) -> Result<()> {
        poison::record_poison(self, poison)
    }

    async fn unknown_jobs(&self, ids: &[JobId]) -> Result<Vec<JobId>> {
        Ok(poison::unknown_jobs(self, ids))
    }

    async fn poison(&self, page: &Page) -> Result<Vec<PoisonView>> {
        poison::list(self, page)
    }

    async fn poison_message(&self, id: i64) -> Result<Option<PoisonMessage>> {
        Ok(poison::message(self, id))
    }

    async fn drop_poison(&self, ids: &[i64], dry_run: bool) -> Result<ControlReport> {
        poison::drop(self, ids, dry_run)
    }

    async fn email(&self, email: &NewEmail) -> Result<EmailRecord> {
        email::email(self, email)
    }

    async fn email_move(&self, key: &EmailKey, fence: &Fence, to: EmailState, note: Option<&str>) -> Result<bool> {
        email::email_move(self, key, fence, to, note)
    }

    async fn save_schedule(&self, save: &SaveSchedule) -> Result<ScheduleView> {
        schedules::save(self, save)
    }

    async fn remove_schedule(&self, tenant: &str, name: &str) -> Result<bool> {
        schedules::remove(self, tenant, name)
    }

    async fn schedules(&self, tenant: Option<&str>, name: Option<&str>) -> Result<Vec<ScheduleView>> {
        Ok(schedules::list(self, tenant, name))
    }

    async fn due_schedules(&self, now: Instant, limit: u32) -> Result<Vec<ScheduleView>> {
        Ok(schedules::due(self, now, limit))
    }

    async fn fire(&self, firings: &[Firing]) -> Result<FireReport> {
        schedules::fire(self, firings)
    }

    async fn note_ended_runs(&self) -> Result<u64> {
        schedules::note_ended(self)
    }

    async fn startable_ticks(&self, limit: u32) -> Result<Vec<TickView>> {
        Ok(schedules::startable(self, limit))
    }

    async fn orphaned_plans(&self, limit: u32) -> Result<Vec<(String, BatchId)>> {
        Ok(schedules::orphaned(self, limit))
    }

    async fn release_tick(&self, batch: BatchId, reason: &str, again: bool) -> Result<bool> {
        schedules::release_tick(self, batch, reason, again)
    }

    async fn note_event(&self, event: &NewEvent) -> Result<NotedEvent> {
        triggers::note(self, event)
    }

    async fn ticks(&self, filter: &TickFilter) -> Result<Vec<TickView>> {
        Ok(schedules::ticks(self, filter))
    }

    async fn backfill(&self, backfill: &NewBackfill) -> Result<u64> {
        schedules::backfill(self, backfill)
    }

    async fn control_backfill(&self, tenant: &str, id: uuid::Uuid, paused: Option<bool>) -> Result<u64> {
        schedules::control_backfill(self, tenant, id, paused)
    }

    async fn backfills(&self, tenant: &str, schedule: &str) -> Result<Vec<BackfillView>> {
        Ok(schedules::backfills(self, tenant, schedule))
    }

    async fn limited(&self) -> Result<Limited> {
        Ok(limits::seen(self))
    }

    async fn limits(&self) -> Result<Vec<LimitView>> {
        Ok(limits::list(self))
    }

    async fn save_limit(&self, save: &SaveLimit) -> Result<(LimitView, Dispatched)> {
        limits::save(self, save)
    }

    async fn drop_limit(&self, name: &str, origin: LimitOrigin, dry_run: bool) -> Result<ControlReport> {
        limits::drop(self, name, origin, dry_run)
    }

    async fn save_queue(&self, name: &str, spec: &QueueSpec) -> Result<Dispatched> {
        limits::save_queue(self, name, spec)
    }

    async fn raise_aged(&self, limit: u32) -> Result<Dispatched> {
        limits::raise_aged(self, limit)
    }

    async fn blockers(&self, job: JobId) -> Result<JobBlockers> {
        Ok(limits::blockers(self, job))
    }

    async fn lead(&self, name: &str, holder: WorkerId, lease: Duration) -> Result<Option<i64>> {
        worker::lead(self, name, holder, lease)
    }

    fn as_any(&self) -> &dyn std::any::Any {
        self
    }
}
