//! PostgreSQL's side of the transitions that both databases share.

use gristmill_core::Instant;
use gristmill_core::id::BatchId;
use gristmill_core::job::{JobState, NewJob};
use sqlx::postgres::{PgArguments, PgConnection, PgRow};
use sqlx::query::Query;
use sqlx::{Decode, Postgres, Row, Type};
use uuid::Uuid;

use super::create;
use super::fault::Fault;
use super::notify;
use super::values::plain;
use super::work::Work;
use crate::NewBatch;
use crate::audit::Facts;
use crate::error::{Result, StoreError};
use crate::sql::batch_ends::Reported;
use crate::sql::{Columns, Creating, Sql, Value};

impl Sql for PgConnection {
    type Row = PgRow;
    type Fault = Fault;

    async fn rows(&mut self, statement: &'static str, values: Vec<Value>) -> Result<Vec<PgRow>, Fault> {
        Ok(query(statement, values).fetch_all(self).await?)
    }

    async fn run(&mut self, statement: &'static str, values: Vec<Value>) -> Result<u64, Fault> {
        Ok(query(statement, values).execute(self).await?.rows_affected())
    }

    async fn now(&mut self) -> Result<Instant, Fault> {
        Ok(sqlx::query_scalar("SELECT now()").fetch_one(self).await?)
    }
}

impl Sql for Work<'_> {
    type Row = PgRow;
    type Fault = Fault;

    async fn rows(&mut self, statement: &'static str, values: Vec<Value>) -> Result<Vec<PgRow>, Fault> {
        self.conn.rows(statement, values).await
    }

    async fn run(&mut self, statement: &'static str, values: Vec<Value>) -> Result<u64, Fault> {
        let changed = self.conn.run(statement, values).await?;
        if changed > 0 {
            self.changed();
        }
        Ok(changed)
    }

    fn facts(&mut self) -> Option<&mut Facts> {
        self.facts_mut()
    }

    fn publishes(&mut self) {
        self.published();
    }

    async fn now(&mut self) -> Result<Instant, Fault> {
        self.conn.now().await
    }
}

impl Creating for Work<'_> {
    async fn create_batch(&mut self, batch: &NewBatch) -> Result<(), Fault> {
        create::create_batch(self, batch).await.map(drop)
    }

    async fn enqueue(&mut self, jobs: &[NewJob]) -> Result<(), Fault> {
        create::insert(self, jobs).await.map(drop)
    }

    async fn reported(&mut self, batch: BatchId) -> Result<Option<Reported>, Fault> {
        notify::reported(self, batch).await
    }

    fn count_moved(&mut self, tenant: &str, queue: &str, from: JobState, to: JobState) {
        self.moved(tenant, queue, from, to);
    }
}

pub(super) fn query(statement: &'static str, values: Vec<Value>) -> Query<'static, Postgres, PgArguments> {
    values.into_iter().fold(sqlx::query(statement), |query, value| match value {
        Value::Text(text) => query.bind(text.map(|text| plain(&text).into_owned())),
        Value::Number(number) => query.bind(number),
        Value::Id(id) => query.bind(id),
        Value::Time(at) => query.bind(at),
        Value::Flag(flag) => query.bind(flag),
        Value::Bytes(bytes) => query.bind(bytes),
    })
}

impl Columns for PgRow {
    fn maybe_text(&self, column: &str) -> Result<Option<String>> {
        get(self, column)
    }

    fn maybe_number(&self, column: &str) -> Result<Option<i64>> {
        self.try_get_unchecked(column).map_err(|error| StoreError::Database(error.to_string()))
    }

    fn maybe_id(&self, column: &str) -> Result<Option<Uuid>> {
        get(self, column)
    }

    fn maybe_instant(&self, column: &str) -> Result<Option<Instant>> {
        get(self, column)
    }

    fn flag(&self, column: &str) -> Result<bool> {
        get(self, column)
    }

    fn bytes(&self, column: &str) -> Result<Vec<u8>> {
        get(self, column)
    }
}

fn get<'r, T: Decode<'r, Postgres> + Type<Postgres>>(row: &'r PgRow, column: &str) -> Result<T> {
    row.try_get(column).map_err(|error| StoreError::Database(error.to_string()))
}
