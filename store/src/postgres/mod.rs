//! The store in PostgreSQL: for production, with any number of processes.
//!
//! One file for each group of transitions; each step runs in one transaction, writes down in a ledger what
//! it moved ([`work`]), and is tried again when it collides with another one ([`mod@connect`]). Groups travel as
//! arrays (UNNEST): the number of statements does not depend on the number of jobs.
//!
//! Works behind PgBouncer in transaction mode (1.21 or later, for prepared statements); hints do not come
//! through there, and callers poll.

mod claim;
mod complete;
mod connect;
mod control;
mod create;
mod duties;
mod email;
mod fan_in;
mod fault;
mod guarded;
mod hints;
mod limited;
mod limits;
mod notify;
mod patch;
mod poison;
mod reconcile;
mod redrive;
mod rescue;
mod restart;
mod rows;
mod schedules;
mod split;
mod triggers;
mod tx;
mod unique;
mod values;
mod view;
mod work;
mod worker;

use std::any::Any;
use std::time::Duration;

use async_trait::async_trait;
use gristmill_core::Instant;
use gristmill_core::chunk::SourceFingerprint;
use gristmill_core::id::{BatchId, JobId, WorkerId};
use gristmill_core::job::{ClaimedJob, Fence, NewJob};

pub use self::connect::PostgresStore;
use crate::Store;
use crate::error::Result;
use crate::*;

/// Runs a step in a transaction. The closure captures nothing, so that it may be run again.
macro_rules! transact {
    ($store:expr, $step:path, $arguments:expr) => {
        $store.transact(stringify!($step), &$arguments, |work, arguments| Box::pin($step(work, arguments)))
    };
}

/// The same for what a person steers: a dry run is rolled back, and nothing of it may be published.
macro_rules! control {
    ($store:expr, $dry_run:expr, $step:path, $arguments:expr) => {{
        let mut control_report = $store
            .attempt(stringify!($step), &$arguments, $dry_run, |work, arguments| Box::pin($step(work, arguments)))
            .await?;
        if $dry_run {
            control_report.dispatched = Dispatched::default();
        }
        Ok(control_report)
    }};
}

/// Looks at one snapshot.
macro_rules! look {
    ($store:expr, $view:path $(, $argument:expr)*) => {{
        let mut snapshot = $store.look().await?;
        let seen = $store.answer($view(&mut snapshot $(, $argument)*)).await?;
        $store.seen(snapshot).await?;
        Ok(seen)
    }};
}

/// Runs one statement that needs no transaction of its own.
macro_rules! single {
    ($store:expr, $step:path $(, $argument:expr)*) => {{
        let mut held = $store.held().await?;
        // What the server refuses is an answer, too.
        let answer = async { Ok::<_, fault::Fault>($step(&mut held $(, $argument)*).await) };
        let answer = $store.answer(answer).await?;
        held.answered();
        Ok(answer?)
    }};
}

#[async_trait]
impl Store for PostgresStore {
    fn describe(&self) -> String {
        self.place().to_owned()
    }

    fn embedded(&self) -> bool {
        false
    }

    async fn migrate(&self) -> Result<MigrationStatus> {
        self.apply_migrations().await
    }

    async fn migrations(&self) -> Result<MigrationStatus> {
        self.read_migrations().await
    }

    async fn now(&self) -> Result<Instant> {
        let mut held = self.held().await?;
        let now = self.answer(sqlx::query_scalar("SELECT now()").fetch_one(&mut *held)).await?;
        held.answered();
        self.condition.well(false);
        Ok(now)
    }

    fn outage(&self) -> Option<Outage> {
        self.condition.outage()
    }

    async fn wait_for_work(&self, at_most: Duration) -> bool {
        self.hints.wait(at_most).await
    }

    async fn enqueue(&self, jobs: &[NewJob]) -> Result<EnqueueReport> {
        transact!(self, create::enqueue, jobs).await
    }

    async fn create_batch(&self, batch: &NewBatch) -> Result<CreatedBatch> {
        transact!(self, create::create_batch, batch).await
    }

    async fn add_chunks(&self, batch: BatchId, chunks: &[NewChunk]) -> Result<Dispatched> {
        transact!(self, create::add_chunks, (batch, chunks)).await
    }

    async fn seal(&self, batch: BatchId) -> Result<Dispatched> {
        transact!(self, create::seal, batch).await
    }

    async fn discard_batch(&self, batch: BatchId) -> Result<()> {
        // It deletes all chunks of a plan that broke off, of which there may be a million.
        self.attempt("discard_batch", &batch, false, |work, batch| Box::pin(create::discard_batch(work, batch))).await
    }

    async fn stalled_plans(&self, older_than: Duration, limit: u32) -> Result<Vec<(String, BatchId)>> {
        look!(self, view::stalled_plans, older_than, limit)
    }

    async fn claim(&self, claim: &Claim, ids: &[JobId]) -> Result<ClaimReport> {
        transact!(self, claim::claim, (claim, ids)).await
    }

    async fn claim_next(&self, claim: &Claim) -> Result<Vec<ClaimedJob>> {
        transact!(self, claim::claim_next, claim).await
    }

    async fn claim_limited(&self, claim: &Claim) -> Result<LimitedClaim> {
        transact!(self, limited::claim_limited, claim).await
    }

    async fn misrouted(&self, claim: &Claim) -> Result<Vec<JobId>> {
        single!(self, claim::misrouted, claim)
    }

    async fn complete(&self, completions: &[Completion]) -> Result<CompleteReport> {
        transact!(self, complete::complete, completions).await
    }

    async fn register_worker(&self, worker: &NewWorker) -> Result<()> {
        transact!(self, worker::register, worker).await
    }

    async fn beat(&self, worker: WorkerId, lease: Duration, running: u32) -> Result<bool> {
        let beaten: Result<bool> = async { single!(self, worker::beat, worker, lease, running) }.await;
        self.condition.note(&beaten, true);
        beaten
    }

    async fn revoked(&self, held: &[Fence]) -> Result<Vec<Fence>> {
        if held.is_empty() {
            return Ok(Vec::new());
        }
        single!(self, worker::revoked, held)
    }

    async fn wait_for_revocation(&self, seen: u64, at_most: Duration) -> u64 {
        self.hints.wait_for_revocation(seen, at_most).await
    }

    async fn retire_worker(&self, worker: WorkerId) -> Result<Dispatched> {
        transact!(self, worker::retire, worker).await
    }

    async fn release_unknown(&self, worker: WorkerId, known: &[Fence]) -> Result<Dispatched> {
        transact!(self, worker::release_unknown, (worker, known)).await
    }

    async fn workers(&self) -> Result<Vec<WorkerView>> {
        look!(self, worker::list)
    }

    async fn rescue(&self, limit: u32) -> Result<RescueReport> {
        transact!(self, rescue::rescue, limit).await
    }

    async fn promote(&self, limit: u32) -> Result<Dispatched> {
        transact!(self, duties::promote, limit).await
    }

    async fn outbox_take(&self, older_than: Duration, limit: u32) -> Result<Vec<Dispatch>> {
        transact!(self, duties::outbox_take, (older_than, limit)).await
    }

    async fn outbox_done(&self, ids: &[i64]) -> Result<()> {
        single!(self, duties::outbox_done, ids)
    }

    async fn outbox_backlog(&self) -> Result<OutboxBacklog> {
        look!(self, duties::outbox_backlog)
    }

    async fn redispatch(&self, queue: &str, older_than: Duration, limit: u32) -> Result<Dispatched> {
        transact!(self, duties::redispatch, (queue, older_than, limit)).await
    }

    async fn reconcile(&self, dry_run: bool) -> Result<ReconcileReport> {
        control!(self, dry_run, reconcile::reconcile, ())
    }

    async fn pause_batch(
        &self,
        tenant: &str,
        batch: BatchId,
        pause: Option<&Pause>,
        dry_run: bool,
    ) -> Result<ControlReport> {
        control!(self, dry_run, control::pause_batch, (tenant, batch, pause))
    }

    async fn cancel_batch(&self, tenant: &str, batch: BatchId, reason: &str, dry_run: bool) -> Result<ControlReport> {
        control!(self, dry_run, control::cancel_batch, (tenant, batch, reason))
    }

    async fn halt_batch(&self, batch: BatchId, generation: u32, reason: &str) -> Result<ControlReport> {
        transact!(self, control::halt_batch, (batch, generation, reason)).await
    }

    async fn cancel_job(&self, tenant: &str, job: JobId, reason: &str, dry_run: bool) -> Result<ControlReport> {
        control!(self, dry_run, control::cancel_job, (tenant, job, reason))
    }

    async fn cancel_jobs(&self, tenant: &str, jobs: &[JobId], reason: &str, dry_run: bool) -> Result<ControlReport> {
        control!(self, dry_run, control::cancel_jobs, (tenant, jobs, reason))
    }

    async fn retry_job(&self, tenant: &str, job: JobId, dry_run: bool) -> Result<ControlReport> {
        control!(self, dry_run, control::retry_job, (tenant, job))
    }

    async fn pause_queue(
        &self,
        tenant: &str,
        queue: &str,
        pause: Option<&Pause>,
        dry_run: bool,
    ) -> Result<ControlReport> {
        control!(self, dry_run, control::pause_queue, (tenant, queue, pause))
    }

    async fn redrive_dead(&self, tenant: &str, jobs: &[JobId], dry_run: bool) -> Result<ControlReport> {
        control!(self, dry_run, redrive::redrive_dead, (tenant, jobs))
    }

    async fn restart_batch(&self, tenant: &str, restart: &Restart, dry_run: bool) -> Result<ControlReport> {
        control!(self, dry_run, restart::restart, (tenant, restart))
    }

    async fn redrive_patched(&self, tenant: &str, patching: &PatchRedrive, dry_run: bool) -> Result<PatchReport> {
        control!(self, dry_run, patch::redrive_patched, (tenant, patching))
    }

    async fn split_chunk(&self, tenant: &str, job: JobId, dry_run: bool) -> Result<ControlReport> {
        control!(self, dry_run, split::split, (tenant, job))
    }

    async fn notify_late(&self, limit: u32) -> Result<Dispatched> {
        transact!(self, notify::late, limit).await
    }

    async fn spools(&self, keep: Duration, limit: u32) -> Result<Vec<(BatchId, SourceFingerprint)>> {
        transact!(self, notify::spools, (keep, limit)).await
    }

    async fn spools_removed(&self, batch: BatchId) -> Result<()> {
        single!(self, notify::spools_removed, batch)
    }

    async fn batch(&self, tenant: &str, batch: BatchId) -> Result<Option<BatchView>> {
        look!(self, view::batch, tenant, batch)
    }

    async fn batch_plan(&self, batch: BatchId) -> Result<Option<BatchPlan>> {
        look!(self, view::batch_plan, batch)
    }

    async fn batches(&self, filter: &BatchFilter, page: &Page) -> Result<Vec<BatchView>> {
        look!(self, view::batches, filter, page)
    }

    async fn chunk_results(&self, batch: BatchId, after_seq: i64, limit: u32) -> Result<Vec<StoredResult>> {
        look!(self, view::chunk_results, batch, after_seq, limit)
    }

    async fn job(&self, tenant: &str, job: JobId) -> Result<Option<JobView>> {
        look!(self, view::job, tenant, job)
    }

    async fn jobs(&self, filter: &JobFilter, page: &Page) -> Result<Vec<JobView>> {
        look!(self, view::jobs, filter, page)
    }

    async fn tenants(&self) -> Result<Vec<String>> {
        look!(self, view::tenants)
    }

    async fn queue_names(&self) -> Result<Vec<String>> {
        look!(self, view::queue_names)
    }

    async fn queues(&self, tenant: &str) -> Result<Vec<QueueView>> {
        look!(self, view::queues, tenant)
    }

    async fn unhandled(&self, tenant: &str) -> Result<Vec<UnhandledView>> {
        look!(self, view::unhandled, tenant)
    }

    async fn quarantine(&self, filter: &QuarantineFilter, page: &Page) -> Result<Vec<QuarantineView>> {
        look!(self, view::quarantine, filter, page)
    }

    async fn record_poison(&self, poison: &[NewPoison]) -> Result<()> {
        if poison.is_empty() {
            return Ok(());
        }
        transact!(self, poison::record_poison, poison).await
    }

    async fn unknown_jobs(&self, ids: &[JobId]) -> Result<Vec<JobId>> {
        let ids: Vec<uuid::Uuid> = ids.iter().map(|id| id.0).collect();
        let unknown: Result<std::collections::HashSet<JobId>> = single!(self, poison::unknown, &ids);
        Ok(unknown?.into_iter().collect())
    }

    async fn poison(&self, page: &Page) -> Result<Vec<PoisonView>> {
        look!(self, poison::list, page)
    }

    async fn poison_message(&self, id: i64) -> Result<Option<PoisonMessage>> {
        look!(self, poison::message, id)
    }

    async fn drop_poison(&self, ids: &[i64], dry_run: bool) -> Result<ControlReport> {
        control!(self, dry_run, poison::drop, ids)
    }

    async fn email(&self, email: &NewEmail) -> Result<EmailRecord> {
        transact!(self, email::record, email).await
    }

    async fn email_move(&self, key: &EmailKey, fence: &Fence, to: EmailState, note: Option<&str>) -> Result<bool> {
        transact!(self, email::advance, (key, fence, to, note)).await
    }

    async fn save_schedule(&self, save: &SaveSchedule) -> Result<ScheduleView> {
        transact!(self, schedules::save, save).await
    }

    async fn remove_schedule(&self, tenant: &str, name: &str) -> Result<bool> {
        transact!(self, schedules::remove, (tenant, name)).await
    }

    async fn schedules(&self, tenant: Option<&str>, name: Option<&str>) -> Result<Vec<ScheduleView>> {
        look!(self, schedules::list, tenant, name)
    }

    async fn due_schedules(&self, now: Instant, limit: u32) -> Result<Vec<ScheduleView>> {
        look!(self, schedules::due, now, limit)
    }

    async fn fire(&self, firings: &[Firing]) -> Result<FireReport> {
        transact!(self, schedules::fire, firings).await
    }

    async fn note_ended_runs(&self) -> Result<u64> {
        transact!(self, schedules::note_ended, ()).await
    }

    async fn startable_ticks(&self, limit: u32) -> Result<Vec<TickView>> {
        look!(self, schedules::startable, limit)
    }

    async fn orphaned_plans(&self, limit: u32) -> Result<Vec<(String, BatchId)>> {
        look!(self, schedules::orphaned, limit)
    }

    async fn release_tick(&self, batch: BatchId, reason: &str, again: bool) -> Result<bool> {
        transact!(self, schedules::release_tick, (batch, reason, again)).await
    }

    async fn note_event(&self, event: &NewEvent) -> Result<NotedEvent> {
        transact!(self, triggers::note, event).await
    }

    async fn ticks(&self, filter: &TickFilter) -> Result<Vec<TickView>> {
        look!(self, schedules::ticks, filter)
    }

    async fn backfill(&self, backfill: &NewBackfill) -> Result<u64> {
        transact!(self, schedules::backfill, backfill).await
    }

    async fn control_backfill(&self, tenant: &str, id: uuid::Uuid, paused: Option<bool>) -> Result<u64> {
        transact!(self, schedules::control_backfill, (tenant, id, paused)).await
    }

    async fn backfills(&self, tenant: &str, schedule: &str) -> Result<Vec<BackfillView>> {
        look!(self, schedules::backfills, tenant, schedule)
    }

    async fn limited(&self) -> Result<Limited> {
        single!(self, limits::limited)
    }

    async fn limits(&self) -> Result<Vec<LimitView>> {
        look!(self, limits::list)
    }

    async fn save_limit(&self, save: &SaveLimit) -> Result<(LimitView, Dispatched)> {
        transact!(self, limits::save, save).await
    }

    async fn drop_limit(&self, name: &str, origin: LimitOrigin, dry_run: bool) -> Result<ControlReport> {
        control!(self, dry_run, limits::drop, (name, origin))
    }

    async fn save_queue(&self, name: &str, spec: &QueueSpec) -> Result<Dispatched> {
        transact!(self, limits::save_queue, (name, spec)).await
    }

    async fn raise_aged(&self, limit: u32) -> Result<Dispatched> {
        transact!(self, limits::raise_aged, limit).await
    }

    async fn blockers(&self, job: JobId) -> Result<JobBlockers> {
        look!(self, limited::blockers, job)
    }

    async fn lead(&self, name: &str, holder: WorkerId, lease: Duration) -> Result<Option<i64>> {
        single!(self, worker::lead, name, holder, lease)
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}
