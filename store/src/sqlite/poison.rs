//! Messages that no process can act upon.

use std::collections::HashSet;

use async_trait::async_trait;
use gristmill_core::id::JobId;

use super::control::finish;
use super::error::database;
use super::sql::{Reading, transact};
use super::transition::Transition;
use super::{SqliteStore, row};
use crate::check;
use crate::error::Result;
use crate::sql::poison;
use crate::{ControlReport, NewPoison, Page, Poison, PoisonMessage, PoisonView};

/// The given ids that no job has, that no job of a discarded batch had, and that are younger than all jobs that were
/// deleted.
const UNKNOWN: &str = "
    SELECT unhex(e.value, '-') AS id FROM json_each(?1) e
    WHERE NOT EXISTS (SELECT 1 FROM job j WHERE j.id = unhex(e.value, '-'))
      AND NOT EXISTS (SELECT 1 FROM discarded d WHERE unhex(e.value, '-') BETWEEN d.first_job AND d.last_job)
      AND NOT EXISTS (SELECT 1 FROM pruned p WHERE p.noun <> 'batches' AND unhex(e.value, '-') <= p.horizon)";

#[async_trait]
impl Poison for SqliteStore {
    async fn record_poison(&self, poison: &[NewPoison]) -> Result<()> {
        if poison.is_empty() {
            return Ok(());
        }
        transact!(self, poison::record, poison)
    }

    async fn unknown_jobs(&self, ids: &[JobId]) -> Result<Vec<JobId>> {
        let rows = sqlx::query(UNKNOWN).bind(check::json(ids)?).fetch_all(&self.readers).await.map_err(database)?;
        rows.iter().map(|row| row::id(row, "id")).collect()
    }

    async fn poison(&self, page: &Page) -> Result<Vec<PoisonView>> {
        poison::list(&mut Reading(&self.readers), page).await
    }

    async fn poison_message(&self, id: i64) -> Result<Option<PoisonMessage>> {
        poison::message(&mut Reading(&self.readers), id).await
    }

    async fn drop_poison(&self, ids: &[i64], dry_run: bool) -> Result<ControlReport> {
        let mut t = Transition::begin(self).await?;
        let report = poison::drop(&mut t, ids).await?;
        finish(t, report, dry_run).await
    }
}

/// Claims use it, too: for each message that names a job that does not exist.
pub(super) async fn unknown_in(t: &mut Transition<'_>, ids: &[JobId]) -> Result<HashSet<JobId>> {
    let rows = t.rows(sqlx::query(UNKNOWN).bind(check::json(ids)?)).await?;
    rows.iter().map(|row| row::id(row, "id")).collect()
}
