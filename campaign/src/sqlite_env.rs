//! What a run on SQLite stands on: one folder with one file, a mail server, and one program.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};
use sqlx::{ConnectOptions, Connection, Row};

use crate::actor::{LEASE, Program};
use crate::input::Input;
use crate::plan::{BatchPlan, REASON};
use crate::run::{PATIENCE, definition, mail};
use gristmill_testkit::FakeSmtp;
use gristmill_testkit::Random;

/// Between two looks.
pub(crate) const BREATH: Duration = Duration::from_millis(60);

/// See the module's documentation.
#[derive(Debug)]
pub(crate) struct SqliteEnv {
    pub(crate) folder: tempfile::TempDir,
    pub(crate) smtp: FakeSmtp,
    pub(crate) program: Program,
    pub(crate) plan: BatchPlan,
    pub(crate) input: Input,
}

impl SqliteEnv {
    /// A batch of its own in a folder of its own below `base`; `attempts` for each of its chunks and emails.
    pub(crate) async fn new(binary: &Path, base: &Path, seed: u64, rows: u64, attempts: u64) -> Self {
        let mut random = Random::new(seed ^ 0x7371_6c69_7465);
        let folder = tempfile::tempdir_in(base).expect("a temporary folder");
        let plan = BatchPlan {
            rows,
            chunk: 6,
            max_attempts: attempts,
            through_program: false,
            through_service: false,
            into_table: false,
            culprits: 0,
        };
        let (input, smtp) = (Input::new(plan.rows, plan.culprits, &mut random), FakeSmtp::unreliable(seed, 0).await);
        let config = format!("{}{}", definition(0, &plan, 0), mail(smtp.port, attempts));
        std::fs::write(folder.path().join("input-0.csv"), &input.text).expect("a writable folder");
        std::fs::write(folder.path().join("config.toml"), config).expect("a writable folder");
        let env = [
            ("STORE_URL", format!("sqlite://{}", folder.path().join("gristmill.db").display())),
            ("WORKER_LEASE", format!("{}ms", LEASE.as_millis())),
            ("WORKER_BEAT", "400ms".to_owned()),
            ("WORKER_SLOTS", "4".to_owned()),
            ("WORKER_ITEM_THREADS", "1".to_owned()),
            ("SCHEDULER_DUTIES_RECONCILE", "1s".to_owned()),
            ("SCHEDULER_DUTIES_SPOOLS", "1s".to_owned()),
            ("LOG_LEVEL", "info".to_owned()),
        ];
        let program = Program::of(binary, folder.path(), env.map(|(name, value)| (name, value)));
        Self { folder, smtp, program, plan, input }
    }

    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// A connection of our own.
    pub(crate) async fn look(&self) -> Result<SqliteConnection, String> {
        let options = SqliteConnectOptions::new().filename(self.file("gristmill.db"));
        options.busy_timeout(PATIENCE).connect().await.map_err(|error| format!("the file does not open: {error}"))
    }

    /// Whether the file as it lies there, log and all, is whole. A copy is looked at: to mend what lies there is the
    /// program's own task.
    pub(crate) async fn sound(&self) -> Result<(), String> {
        let copy = tempfile::tempdir().expect("a temporary folder");
        for name in ["gristmill.db", "gristmill.db-wal"] {
            if self.file(name).exists() {
                std::fs::copy(self.file(name), copy.path().join(name)).map_err(|error| error.to_string())?;
            }
        }
        if !copy.path().join("gristmill.db").exists() {
            return Ok(());
        }
        let options = SqliteConnectOptions::new().filename(copy.path().join("gristmill.db"));
        let mut connection = options.connect().await.map_err(|error| format!("the file does not open: {error}"))?;
        whole(&mut connection).await
    }

    /// Starts the batch as a careful client does: the same key until it is confirmed, another one only when the batch
    /// of the first was taken back.
    pub(crate) async fn insist(&self) -> Result<(), String> {
        let (began, mut round) = (Instant::now(), 0);
        while began.elapsed() < PATIENCE {
            let key = format!("work-0-{round}");
            let status = self.program.run(&["batch", "run", "work-0", "--idempotency-key", &key], None).await;
            match self.settled_start(&key).await? {
                Some((state, reason)) if state == "cancelled" && reason != REASON => round += 1,
                Some(_) if status.success() => return Ok(()),
                Some(_) | None => tokio::time::sleep(BREATH).await,
            }
        }
        Err("the batch could not be started".to_owned())
    }

    /// The state and reason of a key's batch once no planner can be at it any more: one that is still open is nobody's,
    /// and its time is made to pass.
    async fn settled_start(&self, key: &str) -> Result<Option<(String, String)>, String> {
        let (began, mut connection) = (Instant::now(), self.look().await?);
        let query = "SELECT state, COALESCE(reason, '') FROM batch WHERE idempotency_key = ?1";
        loop {
            let found = sqlx::query(query).bind(key).fetch_optional(&mut connection).await;
            match found.map(|row| row.map(|row| (row.get::<String, _>(0), row.get::<String, _>(1)))) {
                Ok(None) => return Ok(None),
                Ok(Some((state, reason))) if state != "open" => return Ok(Some((state, reason))),
                Ok(Some(_)) | Err(_) => {}
            }
            let old = "UPDATE batch SET planned_at = planned_at - 11 * 60000000 WHERE idempotency_key = ?1 AND state = 'open'";
            // On a full disk it is tried again.
            let _ = sqlx::query(old).bind(key).execute(&mut connection).await;
            if began.elapsed() > PATIENCE {
                return Err(format!("the batch {key} of a planner that died stays open"));
            }
            tokio::time::sleep(BREATH * 5).await;
        }
    }

    /// What is still to be done, by name and number.
    pub(crate) async fn unfinished(&self) -> Result<BTreeMap<String, i64>, String> {
        let query = "SELECT 'job ' || kind || ' ' || state, count(*) FROM job
                     WHERE state NOT IN ('done', 'dead', 'cancelled') GROUP BY 1
                     UNION ALL SELECT 'batch ' || state, count(*) FROM batch WHERE finished_at IS NULL GROUP BY 1
                     UNION ALL SELECT 'outbox ' || purpose, count(*) FROM outbox GROUP BY 1";
        let mut connection = self.look().await?;
        let rows: Vec<(String, i64)> =
            sqlx::query_as(query).fetch_all(&mut connection).await.map_err(|error| error.to_string())?;
        Ok(rows.into_iter().collect())
    }
}

/// Whether a file holds together, by SQLite's own word.
pub(crate) async fn whole(connection: &mut SqliteConnection) -> Result<(), String> {
    let broken = |error: sqlx::Error| format!("the oracle cannot look: {error}");
    let said: Vec<String> =
        sqlx::query_scalar("PRAGMA integrity_check").fetch_all(&mut *connection).await.map_err(broken)?;
    if said != ["ok"] {
        return Err(format!("the file is damaged: {said:?}"));
    }
    let orphans = sqlx::query("PRAGMA foreign_key_check").fetch_all(&mut *connection).await.map_err(broken)?;
    if orphans.is_empty() { Ok(()) } else { Err(format!("{} rows refer to nothing", orphans.len())) }
}

/// Closes it: what it waited for is over.
pub(crate) async fn close(connection: SqliteConnection) {
    let _ = connection.close().await;
}
