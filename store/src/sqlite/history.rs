//! History: the steps of [`crate::sql`] in this database's transactions.

use async_trait::async_trait;
use gristmill_core::Instant;
use gristmill_core::history::HistoryStep;

use super::SqliteStore;
use super::sql::{Reading, transact};
use crate::error::Result;
use crate::sql::history;
use crate::{History, HistoryFilter, HistoryPoint};

/// In the order in which they were written.
const TAKE: &str = "
DELETE FROM flow WHERE rowid IN (SELECT rowid FROM flow ORDER BY rowid LIMIT $1)
RETURNING at, tenant, queue, kind, what, wait, run, jobs";

#[async_trait]
impl History for SqliteStore {
    async fn fold_history(&self, limit: u32) -> Result<u64> {
        // Only what changes something takes the turn of a writer.
        if !history::waits(&mut Reading(&self.readers)).await? {
            return Ok(0);
        }
        transact!(self, history::fold, &(TAKE, limit))
    }

    async fn history(&self, filter: &HistoryFilter) -> Result<Vec<HistoryPoint>> {
        history::points(&mut Reading(&self.readers), filter).await
    }

    async fn prune_history(&self, step: HistoryStep, before: Instant, limit: u32) -> Result<u64> {
        transact!(self, history::prune, &(step, before, limit))
    }
}
