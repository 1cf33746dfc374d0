//! Retention: the steps of [`crate::sql`] in PostgreSQL's transactions, and the sizes of its tables.

use std::time::Duration;

use async_trait::async_trait;
use gristmill_core::Instant;
use gristmill_core::id::{BatchId, JobId};
use gristmill_core::job::JobState;
use serde_json::Value;
use sqlx::postgres::PgConnection;

use super::PostgresStore;
use super::connect::{control, look, single, transact};
use super::fault::Outcome;
use super::work::Work;
use crate::error::Result;
use crate::row;
use crate::sql::prune::Counting;
use crate::sql::{archived, deletion, expiry, prune};
use crate::{
    ControlReport, DatabaseSize, ExpiryLook, ExpiryPage, Prune, PruneNoun, PruneReport, PrunedView, Retention,
    TableSize,
};

const TABLES: &str = "
SELECT c.relname::text AS name, GREATEST(c.reltuples, 0)::bigint AS rows, pg_table_size(c.oid) AS bytes,
       pg_indexes_size(c.oid) AS index_bytes
FROM pg_class c WHERE c.relkind IN ('r', 'p') AND c.relnamespace = (
    SELECT j.relnamespace FROM pg_class j WHERE j.oid = to_regclass('job'))
  AND c.relname IN ('batch', 'job', 'attempt', 'attempt_log', 'error_acknowledged', 'result', 'quarantine', 'outbox', 'queue_count', 'queue',
    'worker', 'email', 'email_attempt', 'email_content', 'email_recipient', 'suppression', 'mailing', 'mailing_count',
    'mail_relay', 'mail_domain', 'mail_wait',
    'leader', 'poison', 'discarded', 'schedule', 'schedule_tick', 'schedule_backfill', 'job_limit', 'queue_spec', 'managed',
    'limit_bucket', 'queue_turn', 'operation', 'operation_job', 'operation_item',
    'operation_batch', 'flow', 'history', 'idempotency', 'pruned', 'event', 'event_head', 'event_schema',
    'event_subscription', 'event_replay', 'event_delivery', 'audit_entry', 'audit_head', 'audit_signed_head')
ORDER BY pg_total_relation_size(c.oid) DESC, c.relname";

row! {
    struct TableRow {
        name: String,
        rows: i64,
        bytes: i64,
        index_bytes: i64,
    }
}

impl Counting for Work<'_> {
    fn left(&mut self, tenant: &str, queue: &str, state: JobState, jobs: i64) {
        self.entered(tenant, queue, state, -jobs);
    }
}

#[async_trait]
impl Retention for PostgresStore {
    async fn expired(&self, ask: &ExpiryLook) -> Result<ExpiryPage> {
        look!(self, expiry::look, ask)
    }

    async fn documents(&self, noun: PruneNoun, batch: Option<BatchId>, keys: &[String]) -> Result<Vec<Value>> {
        look!(self, archived::documents, noun, batch, keys)
    }

    async fn prune(&self, ask: &Prune) -> Result<PruneReport> {
        transact!(self, prune_step, ask).await
    }

    async fn begin_deletion(
        &self,
        tenant: &str,
        batch: BatchId,
        ended: Option<Instant>,
        dry_run: bool,
    ) -> Result<ControlReport> {
        control!(self, dry_run, deletion::begin, (tenant, batch, ended))
    }

    async fn discard_dead(
        &self,
        tenant: &str,
        jobs: &[(JobId, Instant)],
        keys: Duration,
        dry_run: bool,
    ) -> Result<ControlReport> {
        control!(self, dry_run, discard_step, (tenant, jobs, keys))
    }

    async fn delete_queue(&self, queue: &str, dry_run: bool) -> Result<ControlReport> {
        control!(self, dry_run, deletion::delete_queue, queue)
    }

    async fn pruned(&self) -> Result<Vec<PrunedView>> {
        look!(self, deletion::pruned)
    }

    async fn gone_jobs(&self, ids: &[JobId]) -> Result<Vec<JobId>> {
        look!(self, deletion::gone, ids)
    }

    async fn size(&self) -> Result<DatabaseSize> {
        single!(self, size)
    }
}

async fn prune_step(work: &mut Work<'_>, ask: &Prune) -> Outcome<PruneReport> {
    let report = prune::prune(work, ask).await?;
    work.close().await?;
    Ok(report)
}

async fn discard_step(
    work: &mut Work<'_>,
    arguments: &(&str, &[(JobId, Instant)], Duration),
) -> Outcome<ControlReport> {
    let report = deletion::discard(work, arguments).await?;
    work.close().await?;
    Ok(report)
}

async fn size(conn: &mut PgConnection) -> Outcome<DatabaseSize> {
    let bytes: i64 = sqlx::query_scalar("SELECT pg_database_size(current_database())").fetch_one(&mut *conn).await?;
    let tables: Vec<TableRow> = sqlx::query_as(TABLES).fetch_all(conn).await?;
    let positive = |number: i64| u64::try_from(number).unwrap_or(0);
    let table = |row: TableRow| TableSize {
        name: row.name,
        rows: positive(row.rows),
        bytes: positive(row.bytes),
        index_bytes: positive(row.index_bytes),
    };
    Ok(DatabaseSize {
        bytes: positive(bytes),
        free_bytes: None,
        log_bytes: None,
        tables: tables.into_iter().map(table).collect(),
    })
}
