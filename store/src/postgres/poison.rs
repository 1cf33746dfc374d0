//! Messages that no process can act upon.

use std::collections::HashSet;

use async_trait::async_trait;
use gristmill_core::id::JobId;
use sqlx::postgres::PgConnection;
use uuid::Uuid;

use super::PostgresStore;
use super::connect::{control, look, single, transact};
use super::fault::Outcome;
use crate::error::Result;
use crate::sql::poison;
use crate::{ControlReport, NewPoison, Page, Poison, PoisonMessage, PoisonView};

/// The given ids that no job has, that no job of a discarded batch had, and that are younger than all jobs that were
/// deleted.
const UNKNOWN: &str = "
SELECT e.id FROM unnest($1::uuid[]) AS e (id)
WHERE NOT EXISTS (SELECT 1 FROM job j WHERE j.id = e.id)
  AND NOT EXISTS (SELECT 1 FROM discarded d WHERE e.id BETWEEN d.first_job AND d.last_job)
  AND NOT EXISTS (SELECT 1 FROM pruned p WHERE p.noun <> 'batches' AND e.id <= p.horizon)";

#[async_trait]
impl Poison for PostgresStore {
    async fn record_poison(&self, poison: &[NewPoison]) -> Result<()> {
        if poison.is_empty() {
            return Ok(());
        }
        transact!(self, poison::record, poison).await
    }

    async fn unknown_jobs(&self, ids: &[JobId]) -> Result<Vec<JobId>> {
        let ids: Vec<Uuid> = ids.iter().map(|id| id.0).collect();
        let unknown: Result<HashSet<JobId>> = single!(self, unknown, &ids);
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
}

/// Claims use it, too: for each message that names a job that does not exist.
pub(super) async fn unknown(conn: &mut PgConnection, ids: &[Uuid]) -> Outcome<HashSet<JobId>> {
    let unknown: Vec<Uuid> = sqlx::query_scalar(UNKNOWN).bind(ids).fetch_all(conn).await?;
    Ok(unknown.into_iter().map(JobId).collect())
}
