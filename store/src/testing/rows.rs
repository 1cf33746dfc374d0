//! Advancing time, and other changes of rows that are the same in every store.

use std::str::FromStr;
use std::sync::atomic::Ordering;
use std::time::Duration;

use chrono::TimeDelta;
use gristmill_core::id::{BatchId, JobId, WorkerId};
use sqlx::postgres::PgConnection;
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};
use sqlx::{AssertSqlSafe, ConnectOptions, Connection};
use uuid::Uuid;

use super::{Home, TestStore};

/// A connection behind the store's back, kept for the next change.
#[derive(Debug)]
pub(super) enum Raw {
    Sqlite(SqliteConnection),
    Postgres(PgConnection),
}

impl TestStore {
    /// Ends a worker's lease.
    pub async fn end_lease(&self, worker: WorkerId) {
        match &self.home {
            Home::Memory(store) => store.end_lease(worker),
            _ => self.past("worker", "lease_until", "id", worker.0).await,
        }
    }

    /// Makes a waiting job due. Each is due an instant after the last one, so that their order is defined.
    pub async fn make_due(&self, job: JobId) {
        let later = self.dues.fetch_add(1, Ordering::Relaxed);
        match &self.home {
            Home::Memory(store) => store.make_due(job, TimeDelta::microseconds(later)),
            Home::Folder { .. } => {
                let id = job.0.simple();
                self.rows(&format!("UPDATE job SET run_at = {later} WHERE id = x'{id}' AND run_at IS NOT NULL")).await;
            }
            Home::Schema { .. } => {
                let due = format!("to_timestamp(0) + {later} * interval '1 microsecond'");
                let statement = format!("UPDATE job SET run_at = {due} WHERE id = '{}' AND run_at IS NOT NULL", job.0);
                self.rows(&statement).await;
            }
        }
    }

    /// Moves the deadline of a running job into the past.
    pub async fn pass_deadline(&self, job: JobId) {
        match &self.home {
            Home::Memory(store) => store.pass_deadline(job),
            _ => self.past("job", "deadline", "id", job.0).await,
        }
    }

    /// Moves the time by which a batch should have ended into the past.
    pub async fn make_late(&self, batch: BatchId) {
        match &self.home {
            Home::Memory(store) => store.make_late(batch),
            _ => self.past("batch", "late_at", "id", batch.0).await,
        }
    }

    /// Makes a job have waited since long ago.
    pub async fn wait_long(&self, job: JobId) {
        match &self.home {
            Home::Memory(store) => store.wait_long(job),
            _ => {
                self.past("job", "queued_at", "id", job.0).await;
                self.past("job", "aged_at", "id", job.0).await;
            }
        }
    }

    /// Moves the time up to which every rate is used up into the past.
    pub async fn pass_rates(&self) {
        match &self.home {
            Home::Memory(store) => store.pass_rates(),
            Home::Folder { .. } => {
                let all = "UPDATE limit_bucket SET used_to = 0; UPDATE mail_domain SET used_to = 0";
                self.rows(&format!("BEGIN; {all}; COMMIT")).await;
            }
            Home::Schema { .. } => {
                let all = "UPDATE limit_bucket SET used_to = to_timestamp(0); UPDATE mail_domain SET used_to = to_timestamp(0)";
                self.rows(&format!("BEGIN; {all}; COMMIT")).await;
            }
        }
    }

    /// Makes every planner have been silent since long ago.
    pub async fn age_plans(&self) {
        match &self.home {
            Home::Memory(store) => store.age_plans(),
            Home::Folder { .. } => self.rows("UPDATE batch SET planned_at = 0").await,
            Home::Schema { .. } => self.rows("UPDATE batch SET planned_at = to_timestamp(0)").await,
        }
    }

    /// Makes every outbox row that is held stay held for another hour.
    pub async fn hold_outbox(&self) {
        match &self.home {
            Home::Memory(store) => store.hold_outbox(Duration::from_secs(3_600)),
            Home::Folder { .. } => self.rows("UPDATE outbox SET held_until = held_until + 3600000000").await,
            Home::Schema { .. } => self.rows("UPDATE outbox SET held_until = held_until + interval '1 hour'").await,
        }
    }

    /// Releases every outbox row that is held.
    pub async fn let_go_outbox(&self) {
        match &self.home {
            Home::Memory(store) => store.let_go_outbox(),
            _ => self.rows("UPDATE outbox SET held_until = NULL").await,
        }
    }

    /// Deletes everything in it.
    pub async fn empty(&self) {
        const TABLES: [&str; 32] = [
            "event",
            "event_delivery",
            "event_replay",
            "event_schema",
            "event_subscription",
            "error_acknowledged",
            "job",
            "batch",
            "operation",
            "outbox",
            "queue_count",
            "queue",
            "worker",
            "email",
            "suppression",
            "mail_relay",
            "mail_domain",
            "mail_wait",
            "leader",
            "quarantine",
            "discarded",
            "poison",
            "schedule_tick",
            "schedule_backfill",
            "schedule",
            "job_limit",
            "queue_spec",
            "managed",
            "limit_bucket",
            "queue_turn",
            "idempotency",
            "pruned",
        ];
        match &self.home {
            Home::Memory(store) => store.empty(),
            _ => {
                let all: String = TABLES.iter().map(|table| format!("DELETE FROM {table};")).collect();
                self.rows(&format!("BEGIN; {all} COMMIT;")).await;
            }
        }
    }

    /// Sets an instant of one row to 1970, if it is set.
    async fn past(&self, table: &str, column: &str, key: &str, id: Uuid) {
        let statement = match &self.home {
            Home::Schema { .. } => {
                format!("UPDATE {table} SET {column} = to_timestamp(0) WHERE {key} = '{id}' AND {column} IS NOT NULL")
            }
            _ => {
                let id = id.simple();
                format!("UPDATE {table} SET {column} = 0 WHERE {key} = x'{id}' AND {column} IS NOT NULL")
            }
        };
        self.rows(&statement).await;
    }

    /// As [`TestStore::tamper`], over a connection that is kept.
    async fn rows(&self, statement: &str) {
        let mut raw = self.raw.lock().await;
        let connection = match raw.take() {
            Some(connection) => connection,
            None => self.connect().await,
        };
        let statement = sqlx::raw_sql(AssertSqlSafe(statement.to_owned()));
        *raw = Some(match connection {
            Raw::Sqlite(mut connection) => {
                statement.execute(&mut connection).await.expect("the statement runs");
                Raw::Sqlite(connection)
            }
            Raw::Postgres(mut connection) => {
                statement.execute(&mut connection).await.expect("the statement runs");
                Raw::Postgres(connection)
            }
        });
    }

    async fn connect(&self) -> Raw {
        if matches!(self.home, Home::Schema { .. }) {
            return Raw::Postgres(PgConnection::connect(&self.url).await.expect("the test server answers"));
        }
        let options = SqliteConnectOptions::from_str(&self.url).expect("our own URL").foreign_keys(true);
        Raw::Sqlite(options.busy_timeout(Duration::from_secs(60)).connect().await.expect("the file opens"))
    }
}
