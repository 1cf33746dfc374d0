//! The store in one SQLite file: one writer, many readers, no server.
//!
//! Write-ahead log with `synchronous=FULL`, so that what was committed is still there after a power
//! cut. There is exactly one connection that writes, and its transactions begin `IMMEDIATE`, so that none is
//! refused halfway. Whatever concerns many rows is one statement with one JSON parameter.

mod claim;
mod complete;
mod control;
mod create;
mod duties;
mod email;
mod error;
mod fan_in;
mod insert;
mod limited;
mod limits;
mod lock;
mod notify;
mod opening;
mod patch;
mod poison;
mod reconcile;
mod redrive;
mod rescue;
mod restart;
mod row;
mod schedules;
mod settle;
mod split;
mod transition;
mod triggers;
mod unique;
mod view;
mod worker;

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use gristmill_core::Instant;
use gristmill_core::chunk::SourceFingerprint;
use gristmill_core::id::{BatchId, JobId, WorkerId};
use gristmill_core::job::{ClaimedJob, Fence, NewJob};
use sqlx::sqlite::{SqliteConnectOptions, SqlitePool, SqlitePoolOptions, SqliteSynchronous};
use sqlx::{ConnectOptions, Connection};
use tokio::sync::{Notify, watch};

use crate::Store;
use crate::condition::Condition;
use crate::error::{Result, StoreError};
use crate::guard::WorkGuard;
use crate::migrations::{self, Applied};
use crate::settings::Settings;
use crate::*;

/// How long a statement waits for another process's transaction.
const BUSY: Duration = Duration::from_secs(10);

/// How often another process's commits are looked for while somebody waits for work.
const LOOK: Duration = Duration::from_millis(50);

/// The same while somebody waits to hear that what it runs was taken away.
const LOOK_FOR_GONE: Duration = Duration::from_millis(200);

/// The store in one SQLite file.
#[derive(Debug)]
pub struct SqliteStore {
    path: PathBuf,
    /// Exactly one connection.
    writer: SqlitePool,
    readers: SqlitePool,
    /// Whether a broker carries ids: without one nothing is written to the outbox.
    with_outbox: bool,
    work: Notify,
    /// How many times attempts may have been taken away, counted from 1.
    gone: watch::Sender<u64>,
    /// What `PRAGMA data_version` of the writer said last: it changes when another process commits.
    seen: AtomicI64,
    /// What its transactions run into.
    condition: Condition,
}

impl SqliteStore {
    /// Opens the file, made when there is none, without looking at its schema.
    ///
    /// # Errors
    ///
    /// [`StoreError::Invalid`] when it is no SQLite database or lies in no folder, [`StoreError::Unavailable`]
    /// when it cannot be opened.
    pub async fn connect(path: &Path, settings: &Settings, with_outbox: bool) -> Result<Self> {
        if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty() && !folder.is_dir()) {
            let what =
                format!("the folder {} of the store does not exist; create it, or name another", folder.display());
            return Err(StoreError::Invalid(what));
        }
        let options = SqliteConnectOptions::new()
            .filename(path)
            .create_if_missing(true)
            .foreign_keys(true)
            .busy_timeout(BUSY)
            .synchronous(SqliteSynchronous::Full)
            .disable_statement_logging();
        let first = opening::first(&options, BUSY).await?;
        let wait = settings.acquire_timeout.0;
        let writer = SqlitePoolOptions::new()
            .max_connections(1)
            .acquire_timeout(wait)
            .idle_timeout(None)
            .max_lifetime(None)
            // After some errors, a full disk among them, SQLite has rolled back by itself. The library's own ROLLBACK is
            // refused then, and it goes on counting a transaction that is none: nothing could be begun any more.
            .before_acquire(|conn, _| Box::pin(async move { Ok(!conn.is_in_transaction()) }));
        let readers = SqlitePoolOptions::new().max_connections(settings.connections.max(1)).acquire_timeout(wait);
        let store = Self {
            path: path.to_owned(),
            writer: writer.connect_with(options.clone()).await.map_err(error::database)?,
            readers: readers
                .connect_with(options.read_only(true).create_if_missing(false))
                .await
                .map_err(error::database)?,
            with_outbox,
            work: Notify::new(),
            gone: watch::Sender::new(1),
            seen: AtomicI64::new(0),
            condition: Condition::default(),
        };
        first.close().await.map_err(error::database)?;
        store.others_committed().await?;
        Ok(store)
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Wakes whoever waits for work in this process.
    fn hint(&self) {
        self.work.notify_waiters();
        // For whoever looked before the commit and waits only after it.
        self.work.notify_one();
    }

    /// The database's own now, in microseconds since 1970.
    async fn now_micros(&self) -> Result<i64> {
        sqlx::query_scalar(transition::NOW).fetch_one(&self.readers).await.map_err(error::database)
    }

    /// Whether another process has committed since this was last asked.
    async fn others_committed(&self) -> Result<bool> {
        // Asked on the writer, whose own commits do not change it.
        let version: i64 =
            sqlx::query_scalar("PRAGMA data_version").fetch_one(&self.writer).await.map_err(error::database)?;
        let others = self.seen.swap(version, Ordering::Relaxed) != version;
        if others {
            // What they did is not known: everybody looks, whatever they wait for.
            self.work.notify_waiters();
            self.gone.send_modify(|count| *count += 1);
        }
        Ok(others)
    }

    async fn applied(&self) -> Result<Vec<Applied>> {
        let known =
            "SELECT EXISTS (SELECT 1 FROM sqlite_schema WHERE type = 'table' AND name = '_gristmill_migrations')";
        let known: bool = sqlx::query_scalar(known).fetch_one(&self.readers).await.map_err(error::database)?;
        if !known {
            return Ok(Vec::new());
        }
        let statement = "
            SELECT version, description, unixepoch(installed_on) * 1000000 AS at
            FROM _gristmill_migrations WHERE success ORDER BY version";
        let rows = sqlx::query(statement).fetch_all(&self.readers).await.map_err(error::database)?;
        rows.iter()
            .map(|row| {
                Ok(Applied {
                    version: row::get(row, "version")?,
                    name: row::get(row, "description")?,
                    at: row::instant(row, "at")?,
                })
            })
            .collect()
    }
}

#[async_trait]
impl Store for SqliteStore {
    fn describe(&self) -> String {
        format!("sqlite:{}", self.path.display())
    }

    fn embedded(&self) -> bool {
        true
    }

    async fn migrate(&self) -> Result<MigrationStatus> {
        migrations::refuse_newer(&self.migrations().await?)?;
        // One transaction around all of them keeps other processes out, which the library does not do
        // on this database; each migration then runs in a savepoint of it.
        let mut tx = self.writer.begin_with("BEGIN IMMEDIATE").await.map_err(error::database)?;
        let done = migrations::SQLITE.run_direct(None, &mut *tx, false).await;
        done.map_err(|refused| migrations::refused(refused, error::database))?;
        tx.commit().await.map_err(error::database)?;
        self.migrations().await
    }

    async fn migrations(&self) -> Result<MigrationStatus> {
        Ok(migrations::status(&migrations::SQLITE, &self.applied().await?))
    }

    async fn now(&self) -> Result<Instant> {
        row::at(self.now_micros().await?, "now")
    }

    fn outage(&self) -> Option<Outage> {
        self.condition.outage()
    }

    async fn wait_for_work(&self, at_most: Duration) -> bool {
        let deadline = tokio::time::Instant::now() + at_most;
        loop {
            let look = deadline.min(tokio::time::Instant::now() + LOOK);
            tokio::select! {
                () = self.work.notified() => return true,
                () = tokio::time::sleep_until(look) => {}
            }
            if self.others_committed().await.unwrap_or(false) {
                return true;
            }
            if tokio::time::Instant::now() >= deadline {
                return false;
            }
        }
    }

    async fn enqueue(&self, jobs: &[NewJob]) -> Result<EnqueueReport> {
        create::enqueue(self, jobs).await
    }

    async fn create_batch(&self, batch: &NewBatch) -> Result<CreatedBatch> {
        create::create_batch(self, batch).await
    }

    async fn add_chunks(&self, batch: BatchId, chunks: &[NewChunk]) -> Result<Dispatched> {
        create::add_chunks(self, batch, chunks).await
    }

    async fn seal(&self, batch: BatchId) -> Result<Dispatched> {
        create::seal(self, batch).await
    }

    async fn discard_batch(&self, batch: BatchId) -> Result<()> {
        create::discard_batch(self, batch).await
    }

    async fn stalled_plans(&self, older_than: Duration, limit: u32) -> Result<Vec<(String, BatchId)>> {
        view::stalled_plans(self, older_than, limit).await
    }

    async fn claim(&self, claim: &Claim, ids: &[JobId]) -> Result<ClaimReport> {
        claim::claim(self, claim, ids).await
    }

    async fn claim_next(&self, claim: &Claim) -> Result<Vec<ClaimedJob>> {
        claim::claim_next(self, claim).await
    }

    async fn claim_limited(&self, claim: &Claim) -> Result<LimitedClaim> {
        limited::claim_limited(self, claim).await
    }

    async fn misrouted(&self, claim: &Claim) -> Result<Vec<JobId>> {
        claim::misrouted(self, claim).await
    }

    async fn complete(&self, completions: &[Completion]) -> Result<CompleteReport> {
        complete::complete(self, completions).await
    }

    async fn begin_work(&self) -> Result<WorkGuard> {
        lock::begin_work(self).await
    }

    async fn register_worker(&self, worker: &NewWorker) -> Result<()> {
        worker::register(self, worker).await
    }

    async fn beat(&self, worker: WorkerId, lease: Duration, running: u32) -> Result<bool> {
        worker::beat(self, worker, lease, running).await
    }

    async fn revoked(&self, held: &[Fence]) -> Result<Vec<Fence>> {
        worker::revoked(self, held).await
    }

    async fn wait_for_revocation(&self, seen: u64, at_most: Duration) -> u64 {
        let mut gone = self.gone.subscribe();
        let deadline = tokio::time::Instant::now() + at_most;
        loop {
            let now = tokio::time::Instant::now();
            if *gone.borrow_and_update() != seen || now >= deadline {
                return *gone.borrow();
            }
            let look = deadline.min(now + LOOK_FOR_GONE);
            if tokio::time::timeout_at(look, gone.changed()).await.is_err() {
                // A store that does not answer says nothing new.
                let _ = self.others_committed().await;
            }
        }
    }

    async fn retire_worker(&self, worker: WorkerId) -> Result<Dispatched> {
        worker::retire(self, worker).await
    }

    async fn release_unknown(&self, worker: WorkerId, known: &[Fence]) -> Result<Dispatched> {
        worker::release_unknown(self, worker, known).await
    }

    async fn workers(&self) -> Result<Vec<WorkerView>> {
        worker::workers(self).await
    }

    async fn rescue(&self, limit: u32) -> Result<RescueReport> {
        rescue::rescue(self, limit).await
    }

    async fn promote(&self, limit: u32) -> Result<Dispatched> {
        duties::promote(self, limit).await
    }

    async fn outbox_take(&self, older_than: Duration, limit: u32) -> Result<Vec<Dispatch>> {
        duties::outbox_take(self, older_than, limit).await
    }

    async fn outbox_done(&self, ids: &[i64]) -> Result<()> {
        duties::outbox_done(self, ids).await
    }

    async fn outbox_backlog(&self) -> Result<OutboxBacklog> {
        duties::outbox_backlog(self).await
    }

    async fn redispatch(&self, queue: &str, older_than: Duration, limit: u32) -> Result<Dispatched> {
        duties::redispatch(self, queue, older_than, limit).await
    }

    async fn reconcile(&self, dry_run: bool) -> Result<ReconcileReport> {
        reconcile::reconcile(self, dry_run).await
    }

    async fn pause_batch(
        &self,
        tenant: &str,
        batch: BatchId,
        pause: Option<&Pause>,
        dry_run: bool,
    ) -> Result<ControlReport> {
        control::pause_batch(self, tenant, batch, pause, dry_run).await
    }

    async fn cancel_batch(&self, tenant: &str, batch: BatchId, reason: &str, dry_run: bool) -> Result<ControlReport> {
        control::cancel_batch(self, tenant, batch, reason, dry_run).await
    }

    async fn halt_batch(&self, batch: BatchId, generation: u32, reason: &str) -> Result<ControlReport> {
        control::halt_batch(self, batch, generation, reason).await
    }

    async fn cancel_job(&self, tenant: &str, job: JobId, reason: &str, dry_run: bool) -> Result<ControlReport> {
        control::cancel_job(self, tenant, job, reason, dry_run).await
    }

    async fn cancel_jobs(&self, tenant: &str, jobs: &[JobId], reason: &str, dry_run: bool) -> Result<ControlReport> {
        control::cancel_jobs(self, tenant, jobs, reason, dry_run).await
    }

    async fn retry_job(&self, tenant: &str, job: JobId, dry_run: bool) -> Result<ControlReport> {
        control::retry_job(self, tenant, job, dry_run).await
    }

    async fn pause_queue(
        &self,
        tenant: &str,
        queue: &str,
        pause: Option<&Pause>,
        dry_run: bool,
    ) -> Result<ControlReport> {
        control::pause_queue(self, tenant, queue, pause, dry_run).await
    }

    async fn redrive_dead(&self, tenant: &str, jobs: &[JobId], dry_run: bool) -> Result<ControlReport> {
        redrive::dead(self, tenant, jobs, dry_run).await
    }

    async fn restart_batch(&self, tenant: &str, restart: &Restart, dry_run: bool) -> Result<ControlReport> {
        restart::restart(self, tenant, restart, dry_run).await
    }

    async fn redrive_patched(&self, tenant: &str, patching: &PatchRedrive, dry_run: bool) -> Result<PatchReport> {
        patch::redrive_patched(self, tenant, patching, dry_run).await
    }

    async fn split_chunk(&self, tenant: &str, job: JobId, dry_run: bool) -> Result<ControlReport> {
        split::split(self, tenant, job, dry_run).await
    }

    async fn notify_late(&self, limit: u32) -> Result<Dispatched> {
        notify::late(self, limit).await
    }

    async fn spools(&self, keep: Duration, limit: u32) -> Result<Vec<(BatchId, SourceFingerprint)>> {
        notify::spools(self, keep, limit).await
    }

    async fn spools_removed(&self, batch: BatchId) -> Result<()> {
        notify::spools_removed(self, batch).await
    }

    async fn batch(&self, tenant: &str, batch: BatchId) -> Result<Option<BatchView>> {
        view::batch(self, tenant, batch).await
    }

    async fn batch_plan(&self, batch: BatchId) -> Result<Option<BatchPlan>> {
        view::batch_plan(self, batch).await
    }

    async fn batches(&self, filter: &BatchFilter, page: &Page) -> Result<Vec<BatchView>> {
        view::batches(self, filter, page).await
    }

    async fn chunk_results(&self, batch: BatchId, after_seq: i64, limit: u32) -> Result<Vec<StoredResult>> {
        view::chunk_results(self, batch, after_seq, limit).await
    }

    async fn job(&self, tenant: &str, job: JobId) -> Result<Option<JobView>> {
        view::job(self, tenant, job).await
    }

    async fn jobs(&self, filter: &JobFilter, page: &Page) -> Result<Vec<JobView>> {
        view::jobs(self, filter, page).await
    }

    async fn tenants(&self) -> Result<Vec<String>> {
        view::tenants(self).await
    }

    async fn queue_names(&self) -> Result<Vec<String>> {
        view::queue_names(self).await
    }

    async fn queues(&self, tenant: &str) -> Result<Vec<QueueView>> {
        view::queues(self, tenant).await
    }

    async fn unhandled(&self, tenant: &str) -> Result<Vec<UnhandledView>> {
        view::unhandled(self, tenant).await
    }

    async fn quarantine(&self, filter: &QuarantineFilter, page: &Page) -> Result<Vec<QuarantineView>> {
        view::quarantine(self, filter, page).await
    }

    async fn record_poison(&self, poison: &[NewPoison]) -> Result<()> {
        poison::record_poison(self, poison).await
    }

    async fn unknown_jobs(&self, ids: &[JobId]) -> Result<Vec<JobId>> {
        poison::unknown(self, ids).await
    }

    async fn poison(&self, page: &Page) -> Result<Vec<PoisonView>> {
        poison::list(self, page).await
    }

    async fn poison_message(&self, id: i64) -> Result<Option<PoisonMessage>> {
        poison::message(self, id).await
    }

    async fn drop_poison(&self, ids: &[i64], dry_run: bool) -> Result<ControlReport> {
        poison::drop(self, ids, dry_run).await
    }

    async fn email(&self, email: &NewEmail) -> Result<EmailRecord> {
        email::email(self, email).await
    }

    async fn email_move(&self, key: &EmailKey, fence: &Fence, to: EmailState, note: Option<&str>) -> Result<bool> {
        email::email_move(self, key, fence, to, note).await
    }

    async fn save_schedule(&self, save: &SaveSchedule) -> Result<ScheduleView> {
        schedules::save(self, save).await
    }

    async fn remove_schedule(&self, tenant: &str, name: &str) -> Result<bool> {
        schedules::remove(self, tenant, name).await
    }

    async fn schedules(&self, tenant: Option<&str>, name: Option<&str>) -> Result<Vec<ScheduleView>> {
        schedules::list(self, tenant, name).await
    }

    async fn due_schedules(&self, now: Instant, limit: u32) -> Result<Vec<ScheduleView>> {
        schedules::due(self, now, limit).await
    }

    async fn fire(&self, firings: &[Firing]) -> Result<FireReport> {
        schedules::fire(self, firings).await
    }

    async fn note_ended_runs(&self) -> Result<u64> {
        schedules::note_ended(self).await
    }

    async fn startable_ticks(&self, limit: u32) -> Result<Vec<TickView>> {
        schedules::startable(self, limit).await
    }

    async fn orphaned_plans(&self, limit: u32) -> Result<Vec<(String, BatchId)>> {
        schedules::orphaned(self, limit).await
    }

    async fn release_tick(&self, batch: BatchId, reason: &str, again: bool) -> Result<bool> {
        schedules::release_tick(self, batch, reason, again).await
    }

    async fn note_event(&self, event: &NewEvent) -> Result<NotedEvent> {
        triggers::note(self, event).await
    }

    async fn ticks(&self, filter: &TickFilter) -> Result<Vec<TickView>> {
        schedules::ticks(self, filter).await
    }

    async fn backfill(&self, backfill: &NewBackfill) -> Result<u64> {
        schedules::backfill(self, backfill).await
    }

    async fn control_backfill(&self, tenant: &str, id: uuid::Uuid, paused: Option<bool>) -> Result<u64> {
        schedules::control_backfill(self, tenant, id, paused).await
    }

    async fn backfills(&self, tenant: &str, schedule: &str) -> Result<Vec<BackfillView>> {
        schedules::backfills(self, tenant, schedule).await
    }

    async fn limited(&self) -> Result<Limited> {
        limits::limited(self).await
    }

    async fn limits(&self) -> Result<Vec<LimitView>> {
        limits::list(self).await
    }

    async fn save_limit(&self, save: &SaveLimit) -> Result<(LimitView, Dispatched)> {
        limits::save(self, save).await
    }

    async fn drop_limit(&self, name: &str, origin: LimitOrigin, dry_run: bool) -> Result<ControlReport> {
        limits::drop(self, name, origin, dry_run).await
    }

    async fn save_queue(&self, name: &str, spec: &QueueSpec) -> Result<Dispatched> {
        limits::save_queue(self, name, spec).await
    }

    async fn raise_aged(&self, limit: u32) -> Result<Dispatched> {
        limits::raise_aged(self, limit).await
    }

    async fn blockers(&self, job: JobId) -> Result<JobBlockers> {
        limited::blockers(self, job).await
    }

    async fn lead(&self, name: &str, holder: WorkerId, lease: Duration) -> Result<Option<i64>> {
        worker::lead(self, name, holder, lease).await
    }

    fn as_any(&self) -> &dyn std::any::Any {
        self
    }
}

#[cfg(test)]
mod tests {
    use gristmill_core::id::DEFAULT_TENANT;
    use serde_json::json;
    use uuid::Uuid;

    use super::*;

    fn group() -> Vec<NewJob> {
        (0..20).map(|_| NewJob::new(JobId(Uuid::now_v7()), "work", json!("x".repeat(2_000)))).collect()
    }

    async fn fresh(folder: &Path) -> SqliteStore {
        let store = SqliteStore::connect(&folder.join("store.db"), &Settings::default(), true).await.expect("opens");
        store.migrate().await.expect("migrated");
        store
    }

    #[tokio::test]
    async fn a_full_disk_refuses_a_group_whole_and_is_got_over() {
        let folder = tempfile::tempdir().expect("a folder");
        let store = fresh(folder.path()).await;
        let limit = async |pages: i64| {
            let pragma = sqlx::AssertSqlSafe(format!("PRAGMA max_page_count = {pages}"));
            sqlx::query(pragma).execute(&store.writer).await.expect("a limit");
        };
        limit(200).await;
        let mut made = 0;
        let error = loop {
            match store.enqueue(&group()).await {
                Ok(report) => made += report.jobs.len() as u64,
                Err(error) => break error,
            }
        };
        assert!(matches!(error, StoreError::Full(_)) && error.is_transient(), "{error}");
        let trouble = store.outage().expect("it says so");
        assert!(trouble.reason.contains("no room left") && trouble.remedy.contains("make room"), "{trouble:?}");
        let queued =
            async || store.queues(DEFAULT_TENANT).await.expect("listed").first().map_or(0, |queue| queue.queued);
        assert_eq!(queued().await, made);
        limit(100_000).await;
        store.enqueue(&group()).await.expect("there is room again");
        assert_eq!(queued().await, made + 20);
        assert_eq!(store.outage(), None);
        assert_eq!(store.reconcile(true).await.expect("compared").findings, Vec::<String>::new());
    }

    #[tokio::test]
    async fn what_sqlite_has_rolled_back_by_itself_does_not_keep_others_from_beginning() {
        let folder = tempfile::tempdir().expect("a folder");
        let store = fresh(folder.path()).await;
        let mut t = transition::Transition::begin(&store).await.expect("begun");
        insert::new_jobs(&mut t, &group()).await.expect("inserted");
        // As SQLite does where it finds no room in the middle of a write or of the commit: unasked.
        t.run(sqlx::query("ROLLBACK")).await.expect("rolled back");
        drop(t);
        let asked = group();
        store.enqueue(&asked).await.expect("the next one begins");
        let queued = store.queues(DEFAULT_TENANT).await.expect("listed").first().map(|queue| queue.queued);
        assert_eq!(queued, Some(asked.len() as u64));
    }

    #[tokio::test]
    async fn a_transition_that_is_dropped_leaves_nothing_and_blocks_nobody() {
        let folder = tempfile::tempdir().expect("a folder");
        let store = fresh(folder.path()).await;
        let mut t = transition::Transition::begin(&store).await.expect("begun");
        let asked = group();
        insert::new_jobs(&mut t, &asked).await.expect("inserted");
        drop(t);
        assert!(store.job(DEFAULT_TENANT, asked[0].id).await.expect("asked").is_none());
        store.enqueue(&asked).await.expect("the writer is free");
    }

    #[tokio::test]
    async fn what_was_committed_survives_a_power_cut_by_the_settings_of_the_connection() {
        let folder = tempfile::tempdir().expect("a folder");
        let store = fresh(folder.path()).await;
        let mode: String = sqlx::query_scalar("PRAGMA journal_mode").fetch_one(&store.writer).await.expect("asked");
        let synchronous: i64 = sqlx::query_scalar("PRAGMA synchronous").fetch_one(&store.writer).await.expect("asked");
        let keys: i64 = sqlx::query_scalar("PRAGMA foreign_keys").fetch_one(&store.writer).await.expect("asked");
        assert_eq!((mode.as_str(), synchronous, keys), ("wal", 2, 1));
    }
}
