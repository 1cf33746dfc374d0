//! SQLite's side of the transitions that both databases share.

use gristmill_core::Instant;
use gristmill_core::id::BatchId;
use gristmill_core::job::{JobState, NewJob};
use sqlx::AssertSqlSafe;
use sqlx::sqlite::{SqlitePool, SqliteRow};
use uuid::Uuid;

use super::error::database;
use super::transition::{NOW, Query, Transition, micros};
use super::{create, insert, notify, row};
use crate::NewBatch;
use crate::audit::Facts;
use crate::error::{Result, StoreError};
use crate::sql::batch_ends::Reported;
use crate::sql::{Columns, Creating, Sql, Value};

/// What has another name here. Parameters need no types, and the one writer locks no rows.
const WORDS: [(&str, &str); 28] = [
    ("json_array_elements_text(", "json_each("),
    ("json_array_elements(", "json_each("),
    // Instants are microseconds here, and ids are their bytes.
    ("'epoch'::timestamptz + ", ""),
    (" * interval '1 microsecond'", ""),
    ("CAST(", "unhex("),
    (" AS uuid)", ", '-')"),
    ("GREATEST(", "max("),
    ("LEAST(", "min("),
    ("strpos(", "instr("),
    ("decode(", "unhex("),
    (", 'hex')", ")"),
    // PostgreSQL chooses its index by itself.
    ("/* INDEXED BY job_listed */", "INDEXED BY job_listed"),
    ("/* INDEXED BY job_in_batch */", "INDEXED BY job_in_batch"),
    ("/* INDEXED BY quarantine_open */", "INDEXED BY quarantine_open"),
    ("/* INDEXED BY batch_by_state */", "INDEXED BY batch_by_state"),
    ("/* INDEXED BY batch_paused */", "INDEXED BY batch_paused"),
    // A key may be given here as it is.
    ("OVERRIDING SYSTEM VALUE", ""),
    ("::bigint", ""),
    ("::text", ""),
    ("::uuid", ""),
    ("::timestamptz", ""),
    ("::json", ""),
    ("::smallint", ""),
    (" FOR SHARE", ""),
    (" FOR NO KEY UPDATE", ""),
    (" FOR UPDATE SKIP LOCKED", ""),
    (" FOR UPDATE OF r", ""),
    (" FOR UPDATE", ""),
];

/// Runs a step in a transaction.
macro_rules! transact {
    ($store:expr, $step:path, $arguments:expr) => {{
        let mut t = $crate::sqlite::transition::Transition::begin($store).await?;
        let done = $step(&mut t, $arguments).await?;
        t.commit().await?;
        Ok(done)
    }};
}
pub(super) use transact;

/// The same for a step that is short and frequent: it may be committed together with others.
macro_rules! transact_short {
    ($store:expr, $step:path, $arguments:expr) => {{
        let mut t = $crate::sqlite::transition::Transition::begin_short($store).await?;
        let done = $step(&mut t, $arguments).await?;
        t.commit().await?;
        Ok(done)
    }};
}
pub(super) use transact_short;

/// For views: the connections that only read.
pub(super) struct Reading<'s>(pub(super) &'s SqlitePool);

impl Sql for Transition<'_> {
    type Row = SqliteRow;
    type Fault = StoreError;

    async fn rows(&mut self, statement: &'static str, values: Vec<Value>) -> Result<Vec<SqliteRow>> {
        let query = query(statement, values, self.now);
        Transition::rows(self, query).await
    }

    async fn run(&mut self, statement: &'static str, values: Vec<Value>) -> Result<u64> {
        let query = query(statement, values, self.now);
        Transition::run(self, query).await
    }

    fn facts(&mut self) -> Option<&mut Facts> {
        self.facts_mut()
    }

    fn publishes(&mut self) {
        self.published = true;
    }

    async fn now(&mut self) -> Result<Instant> {
        row::at(self.now, "now")
    }
}

impl Creating for Transition<'_> {
    async fn create_batch(&mut self, batch: &NewBatch) -> Result<()> {
        if create::insert_batch(self, batch).await? {
            self.tell(batch);
            create::hold_to_quota(self, batch).await?;
        }
        Ok(())
    }

    async fn enqueue(&mut self, jobs: &[NewJob]) -> Result<()> {
        insert::new_jobs(self, jobs).await.map(drop)
    }

    async fn reported(&mut self, batch: BatchId) -> Result<Option<Reported>> {
        notify::reported(self, batch).await
    }

    fn count_moved(&mut self, tenant: &str, queue: &str, from: JobState, to: JobState) {
        self.count(tenant, queue, from, -1);
        self.count(tenant, queue, to, 1);
        self.moved += 1;
    }
}

impl Sql for Reading<'_> {
    type Row = SqliteRow;
    type Fault = StoreError;

    async fn rows(&mut self, statement: &'static str, values: Vec<Value>) -> Result<Vec<SqliteRow>> {
        let now = if statement.contains("now()") { self.now().await?.timestamp_micros() } else { 0 };
        query(statement, values, now).fetch_all(self.0).await.map_err(database)
    }

    async fn run(&mut self, _: &'static str, _: Vec<Value>) -> Result<u64> {
        Err(StoreError::Database("a view writes nothing".to_owned()))
    }

    async fn now(&mut self) -> Result<Instant> {
        let now = sqlx::query_scalar(NOW).fetch_one(self.0).await.map_err(database)?;
        row::at(now, "now")
    }
}

/// The statement in SQLite's words. The instant of the transaction is its last parameter, behind as many as are given.
pub(crate) fn in_our_words(statement: &str, values: usize) -> String {
    let now_here = format!("${}", values + 1);
    WORDS.iter().fold(statement.replace("now()", &now_here), |text, (there, here)| text.replace(there, here))
}

pub(super) fn query(statement: &str, values: Vec<Value>, now: i64) -> Query {
    let text = in_our_words(statement, values.len());
    let query = values.into_iter().fold(sqlx::query(AssertSqlSafe(text)), |query, value| match value {
        Value::Text(text) => query.bind(text),
        Value::Number(number) => query.bind(number),
        Value::Id(id) => query.bind(id),
        Value::Time(at) => query.bind(at.map(micros)),
        Value::Flag(flag) => query.bind(flag),
        Value::Bytes(bytes) => query.bind(bytes),
    });
    if statement.contains("now()") { query.bind(now) } else { query }
}

impl Columns for SqliteRow {
    fn maybe_text(&self, column: &str) -> Result<Option<String>> {
        row::get(self, column)
    }

    fn maybe_number(&self, column: &str) -> Result<Option<i64>> {
        row::get(self, column)
    }

    fn maybe_id(&self, column: &str) -> Result<Option<Uuid>> {
        row::get(self, column)
    }

    fn maybe_instant(&self, column: &str) -> Result<Option<Instant>> {
        row::maybe_instant(self, column)
    }

    fn flag(&self, column: &str) -> Result<bool> {
        row::flag(self, column)
    }

    fn bytes(&self, column: &str) -> Result<Vec<u8>> {
        row::get(self, column)
    }
}
