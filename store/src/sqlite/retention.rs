//! Retention: the steps of [`crate::sql`] in SQLite's transactions, and the sizes of its tables.
//!
//! What only looks runs on the connections that read, so that it never keeps the writer waiting.

use std::time::Duration;

use async_trait::async_trait;
use gristmill_core::Instant;
use gristmill_core::id::{BatchId, JobId};
use gristmill_core::job::JobState;
use serde_json::Value;
use sqlx::AssertSqlSafe;

use super::control::finish;
use super::error::database;
use super::sql::{Reading, transact};
use super::transition::Transition;
use super::{SqliteStore, row};
use crate::error::Result;
use crate::sql::prune::Counting;
use crate::sql::{archived, deletion, expiry, prune};
use crate::{
    ControlReport, DatabaseSize, ExpiryLook, ExpiryPage, Prune, PruneNoun, PruneReport, PrunedView, Retention,
    TableSize,
};

/// The pages of each table and of its indexes. It reads the whole file. Both sides are gathered first: then they are joined by an
/// index of the moment, and not each with each.
const PAGES: &str = "
WITH d AS MATERIALIZED (SELECT name, pgsize FROM dbstat WHERE aggregate = TRUE),
     s AS MATERIALIZED (SELECT name, tbl_name, type FROM sqlite_schema)
SELECT s.tbl_name AS name, sum(CASE WHEN s.type = 'table' THEN d.pgsize ELSE 0 END) AS bytes,
       sum(CASE WHEN s.type = 'index' THEN d.pgsize ELSE 0 END) AS index_bytes
FROM d JOIN s ON s.name = d.name
WHERE s.tbl_name NOT LIKE 'sqlite\\_%' ESCAPE '\\'
GROUP BY s.tbl_name ORDER BY sum(d.pgsize) DESC, s.tbl_name";

impl Counting for Transition<'_> {
    fn left(&mut self, tenant: &str, queue: &str, state: JobState, jobs: i64) {
        self.count(tenant, queue, state, -jobs);
    }
}

#[async_trait]
impl Retention for SqliteStore {
    async fn expired(&self, look: &ExpiryLook) -> Result<ExpiryPage> {
        expiry::look(&mut Reading(&self.readers), look).await
    }

    async fn documents(&self, noun: PruneNoun, batch: Option<BatchId>, keys: &[String]) -> Result<Vec<Value>> {
        archived::documents(&mut Reading(&self.readers), noun, batch, keys).await
    }

    async fn prune(&self, ask: &Prune) -> Result<PruneReport> {
        transact!(self, prune::prune, ask)
    }

    async fn begin_deletion(
        &self,
        tenant: &str,
        batch: BatchId,
        ended: Option<Instant>,
        dry_run: bool,
    ) -> Result<ControlReport> {
        let mut t = Transition::begin(self).await?;
        let report = deletion::begin(&mut t, &(tenant, batch, ended)).await?;
        finish(t, report, dry_run).await
    }

    async fn discard_dead(
        &self,
        tenant: &str,
        jobs: &[(JobId, Instant)],
        keys: Duration,
        dry_run: bool,
    ) -> Result<ControlReport> {
        let mut t = Transition::begin(self).await?;
        let report = deletion::discard(&mut t, &(tenant, jobs, keys)).await?;
        finish(t, report, dry_run).await
    }

    async fn delete_queue(&self, queue: &str, dry_run: bool) -> Result<ControlReport> {
        let mut t = Transition::begin(self).await?;
        let report = deletion::delete_queue(&mut t, &queue).await?;
        finish(t, report, dry_run).await
    }

    async fn pruned(&self) -> Result<Vec<PrunedView>> {
        deletion::pruned(&mut Reading(&self.readers)).await
    }

    async fn gone_jobs(&self, ids: &[JobId]) -> Result<Vec<JobId>> {
        deletion::gone(&mut Reading(&self.readers), ids).await
    }

    async fn size(&self) -> Result<DatabaseSize> {
        let page = self.pragma("page_size").await?;
        let (pages, free) = (self.pragma("page_count").await?, self.pragma("freelist_count").await?);
        let log = std::fs::metadata(format!("{}-wal", self.path.display())).map_or(0, |log| log.len());
        let mut tables = Vec::new();
        for row in sqlx::query(PAGES).fetch_all(&self.readers).await.map_err(database)? {
            let name: String = row::get(&row, "name")?;
            // A name of the schema itself, and quoted all the same.
            let count = AssertSqlSafe(format!("SELECT count(*) FROM \"{}\"", name.replace('"', "\"\"")));
            let rows: i64 = sqlx::query_scalar(count).fetch_one(&self.readers).await.map_err(database)?;
            tables.push(TableSize {
                name,
                rows: u64::try_from(rows).unwrap_or(0),
                bytes: row::number::<u64>(&row, "bytes")?,
                index_bytes: row::number::<u64>(&row, "index_bytes")?,
            });
        }
        Ok(DatabaseSize { bytes: pages * page, free_bytes: Some(free * page), log_bytes: Some(log), tables })
    }
}

impl SqliteStore {
    async fn pragma(&self, name: &'static str) -> Result<u64> {
        let statement = AssertSqlSafe(format!("PRAGMA {name}"));
        let value: i64 = sqlx::query_scalar(statement).fetch_one(&self.readers).await.map_err(database)?;
        Ok(u64::try_from(value).unwrap_or(0))
    }
}
