//! The store in one SQLite file: one writer, many readers, no server.
//!
//! Write-ahead log with `synchronous=FULL`, so that what was committed is still there after a power cut. There is
//! exactly one connection that writes, and its transactions begin `IMMEDIATE`, so that none is refused halfway.
//! Everything that concerns many rows is one statement with one JSON parameter.

mod accounts;
mod acknowledged;
mod audit;
mod chunks;
mod claim;
mod claims;
mod complete;
mod completions;
mod control;
mod create;
mod database;
mod done;
mod duties;
mod edit;
mod email;
mod error;
mod events;
mod fan_in;
mod file_events;
mod history;
mod insert;
mod insert_rows;
mod job_list;
mod job_row;
mod limited;
mod limits;
mod lock;
mod logs;
mod mail_flow;
mod notify;
mod opening;
mod operations;
mod others;
mod outbox;
mod patch;
mod poison;
mod promote;
mod reconcile;
mod redrive;
mod redrives;
mod requests;
mod rescue;
mod restart;
mod retention;
mod row;
mod schedules;
mod settle;
mod split;
pub(crate) mod sql;
mod stop;
mod transition;
mod triggers;
mod unique;
mod view;
mod worker;
mod writer;

use std::fs::OpenOptions;
use std::ops::Deref;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use sqlx::sqlite::{SqliteConnectOptions, SqlitePool, SqlitePoolOptions, SqliteSynchronous};
use sqlx::{ConnectOptions, Connection};
use tokio::sync::watch;

use crate::audit::{Attributed, Attribution};
use crate::condition::Condition;
use crate::duties::EndedCount;
use crate::error::{Result, StoreError};
use crate::settings::Settings;
use others::Others;
use writer::Writer;

/// How many rows of an answer may wait to be read: those of a claim, so that its thread need not stop for us.
const ROWS_AT_ONCE: usize = 1_024;

/// How long a statement waits for another process's transaction.
const BUSY: Duration = Duration::from_secs(10);

/// The store in one SQLite file.
#[derive(Debug)]
pub struct SqliteStore {
    shared: Arc<Shared>,
    /// The step of an order whose entry in the audit is written with the next change.
    attributed: Option<Arc<Attributed>>,
    /// Whether what is added is held to the quotas of tenants.
    metered: bool,
}

/// What all handles of one store have in common.
#[derive(Debug)]
pub struct Shared {
    path: PathBuf,
    writer: Writer,
    readers: SqlitePool,
    /// Whether a broker carries ids: without one nothing is written to the outbox.
    with_outbox: bool,
    /// How many times work may have become claimable, counted from 1.
    work: watch::Sender<u64>,
    /// How many times attempts may have been taken away, counted from 1.
    gone: watch::Sender<u64>,
    /// How many times events may have been published, counted from 1.
    events: watch::Sender<u64>,
    /// What other processes commit.
    others: Others,
    /// The condition that its transactions observe.
    condition: Condition,
    ended_count: EndedCount,
    /// The last claim took all that it asked for: the next one need not look first whether anything waits.
    plenty: AtomicBool,
}

impl Deref for SqliteStore {
    type Target = Shared;

    fn deref(&self) -> &Shared {
        &self.shared
    }
}

impl SqliteStore {
    /// Opens the file, created if there is none, without checking its schema.
    ///
    /// # Errors
    ///
    /// [`StoreError::Invalid`] when it is not an SQLite database or its folder does not exist,
    /// [`StoreError::Unavailable`] when it cannot be opened.
    pub async fn connect(path: &Path, settings: &Settings, with_outbox: bool) -> Result<Self> {
        if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty() && !folder.is_dir()) {
            let what =
                format!("the folder {} of the store does not exist; create it, or name another", folder.display());
            return Err(StoreError::Invalid(what));
        }
        for_its_owner(path);
        let options = SqliteConnectOptions::new()
            .filename(path)
            .create_if_missing(true)
            .foreign_keys(true)
            .busy_timeout(BUSY)
            .row_buffer_size(ROWS_AT_ONCE)
            .synchronous(SqliteSynchronous::Full)
            .disable_statement_logging();
        let first = opening::first(&options, BUSY).await?;
        let wait = settings.acquire_timeout.0;
        let writer =
            SqlitePoolOptions::new().max_connections(1).acquire_timeout(wait).idle_timeout(None).max_lifetime(None);
        // A connection to a file is not lost between two statements: a look whether it was would cost as much as either.
        let readers = SqlitePoolOptions::new()
            .max_connections(settings.connections.max(1))
            .acquire_timeout(wait)
            .test_before_acquire(false);
        let writer = writer.connect_with(options.clone()).await.map_err(error::database)?;
        let writer = Writer::new(writer, wait);
        let (work, gone, events) = (watch::Sender::new(1), watch::Sender::new(1), watch::Sender::new(1));
        let shared = Shared {
            path: path.to_owned(),
            others: Others::new(path, &writer, [&work, &gone, &events]),
            writer,
            readers: readers
                .connect_with(options.read_only(true).create_if_missing(false))
                .await
                .map_err(error::database)?,
            with_outbox,
            work,
            gone,
            events,
            condition: Condition::default(),
            ended_count: EndedCount::default(),
            plenty: AtomicBool::new(false),
        };
        let store = Self { shared: Arc::new(shared), attributed: None, metered: false };
        first.close().await.map_err(error::database)?;
        store.others.look().await?;
        Ok(store)
    }

    /// A handle of the same store that is attributed to a step of an order.
    fn attributed(&self, attribution: Attribution) -> Self {
        let attributed = Some(Attributed::new(attribution));
        Self { shared: Arc::clone(&self.shared), attributed, metered: self.metered }
    }

    /// A handle of the same store that is held to the quotas of tenants.
    fn metered(&self) -> Self {
        Self { shared: Arc::clone(&self.shared), attributed: self.attributed.clone(), metered: true }
    }

    /// The step whose entry is still to be written.
    fn pending(&self) -> Option<&Attributed> {
        self.attributed.as_deref().filter(|attributed| attributed.pending())
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The connection that writes, and those that read, for tests that count what they do.
    #[cfg(feature = "testing")]
    pub async fn pools(&self) -> [&SqlitePool; 2] {
        [self.writer.pool().await, &self.readers]
    }

    /// Wakes all callers in this process that wait for work.
    fn hint(&self) {
        self.work.send_modify(|count| *count += 1);
    }

    /// The database's current time, in microseconds since 1970.
    async fn now_micros(&self) -> Result<i64> {
        sqlx::query_scalar(transition::NOW).fetch_one(&self.readers).await.map_err(error::database)
    }
}

/// Makes a file that is missing that only its owner can read: it holds payloads and addresses. What goes
/// wrong is said by the library, which opens it next. Its log gets the same mode from the library.
fn for_its_owner(path: &Path) {
    let _ = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
}

#[cfg(test)]
mod tests {
    use gristmill_core::id::{DEFAULT_TENANT, JobId};
    use gristmill_core::job::NewJob;
    use serde_json::json;
    use uuid::Uuid;

    use super::*;
    use crate::{Database, Duties, Jobs, Views};

    fn group() -> Vec<NewJob> {
        (0..20).map(|_| NewJob::new(JobId(Uuid::now_v7()), "work", json!("x".repeat(2_000)))).collect()
    }

    async fn fresh(folder: &Path) -> SqliteStore {
        let store = SqliteStore::connect(&folder.join("store.db"), &Settings::default(), true).await.expect("opens");
        store.migrate().await.expect("migrated");
        store
    }

    #[tokio::test]
    async fn only_its_owner_may_read_the_files_of_a_store() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().expect("a folder");
        let store = fresh(folder.path()).await;
        store.enqueue(&group()).await.expect("enqueued");
        for name in ["store.db", "store.db-wal", "store.db-shm"] {
            let mode = std::fs::metadata(folder.path().join(name)).expect(name).permissions().mode();
            assert_eq!(mode & 0o777, 0o600, "{name}");
        }
    }

    #[tokio::test]
    async fn a_full_disk_refuses_a_group_whole_and_is_got_over() {
        let folder = tempfile::tempdir().expect("a folder");
        let store = fresh(folder.path()).await;
        let limit = async |pages: i64| {
            let pragma = sqlx::AssertSqlSafe(format!("PRAGMA max_page_count = {pages}"));
            let mut turn = store.writer.turn().await.expect("a turn");
            sqlx::query(pragma).execute(turn.conn().expect("open")).await.expect("a limit");
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
        // As SQLite does by itself when it finds no room in the middle of a write or of the commit.
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

    /// Begins a transaction that enqueues, and returns with it and the jobs when so many others wait for a turn.
    async fn begun_before<'s>(
        store: &'s SqliteStore,
        others: usize,
    ) -> (transition::Transition<'s>, impl Future<Output = ()> + use<'s>) {
        let mut t = transition::Transition::begin_short(store).await.expect("begun");
        insert::new_jobs(&mut t, &group()).await.expect("inserted");
        let all_wait = async move {
            while store.writer.coming() < others {
                tokio::task::yield_now().await;
            }
        };
        (t, all_wait)
    }

    #[tokio::test]
    async fn those_that_wait_join_a_commit_and_one_that_is_taken_back_harms_nobody() {
        let folder = tempfile::tempdir().expect("a folder");
        let store = fresh(folder.path()).await;
        let (first, all_wait) = begun_before(&store, 2).await;
        let given_up = async {
            let mut t = transition::Transition::begin_short(&store).await.expect("joined");
            insert::new_jobs(&mut t, &group()).await.expect("inserted");
        };
        let joined = group();
        let ends = async {
            all_wait.await;
            first.commit().await
        };
        let (first, (), last) = tokio::join!(ends, given_up, store.enqueue(&joined));
        assert_eq!((first.expect("committed").dispatched.moved, last.expect("committed, too").jobs.len()), (20, 20));
        let queued = store.queues(DEFAULT_TENANT).await.expect("listed").first().map(|queue| queue.queued);
        assert_eq!(queued, Some(40), "what was given up has left nothing");
        assert_eq!(store.reconcile(true).await.expect("compared").findings, Vec::<String>::new());
    }

    #[tokio::test]
    async fn what_sqlite_rolls_back_by_itself_is_confirmed_to_none_of_a_group() {
        let folder = tempfile::tempdir().expect("a folder");
        let store = fresh(folder.path()).await;
        let (first, all_wait) = begun_before(&store, 1).await;
        let fails = async {
            let mut t = transition::Transition::begin_short(&store).await.expect("joined");
            // As SQLite does by itself when it finds no room in the middle of a write.
            t.run(sqlx::query("ROLLBACK")).await.expect("rolled back");
        };
        let ends = async {
            all_wait.await;
            first.commit().await
        };
        let (first, ()) = tokio::join!(ends, fails);
        let error = first.err().expect("nothing of it is there");
        assert!(error.is_transient(), "it may be asked for again: {error}");
        assert_eq!(store.queues(DEFAULT_TENANT).await.expect("listed").len(), 0);
        store.enqueue(&group()).await.expect("the next one begins");
    }

    #[tokio::test]
    async fn what_was_committed_survives_a_power_cut_by_the_settings_of_the_connection() {
        let folder = tempfile::tempdir().expect("a folder");
        let store = fresh(folder.path()).await;
        let mut turn = store.writer.turn().await.expect("a turn");
        let conn = turn.conn().expect("open");
        let mode: String = sqlx::query_scalar("PRAGMA journal_mode").fetch_one(&mut *conn).await.expect("asked");
        let synchronous: i64 = sqlx::query_scalar("PRAGMA synchronous").fetch_one(&mut *conn).await.expect("asked");
        let keys: i64 = sqlx::query_scalar("PRAGMA foreign_keys").fetch_one(conn).await.expect("asked");
        assert_eq!((mode.as_str(), synchronous, keys), ("wal", 2, 1));
    }
}
