//! History: the steps of [`crate::sql`] in this database's transactions.

use async_trait::async_trait;
use gristmill_core::Instant;
use gristmill_core::history::HistoryStep;

use super::PostgresStore;
use super::connect::{look, transact};
use crate::error::Result;
use crate::sql::history;
use crate::{History, HistoryFilter, HistoryPoint};

/// By where they lie. Rows that another process moves are passed over.
const TAKE: &str = "
DELETE FROM flow WHERE ctid = ANY(ARRAY(SELECT ctid FROM flow LIMIT $1 FOR UPDATE SKIP LOCKED))
RETURNING at, tenant, queue, kind, what, wait, run, jobs";

#[async_trait]
impl History for PostgresStore {
    async fn fold_history(&self, limit: u32) -> Result<u64> {
        transact!(self, history::fold, (TAKE, limit)).await
    }

    async fn history(&self, filter: &HistoryFilter) -> Result<Vec<HistoryPoint>> {
        look!(self, history::points, filter)
    }

    async fn prune_history(&self, step: HistoryStep, before: Instant, limit: u32) -> Result<u64> {
        transact!(self, history::prune, &(step, before, limit)).await
    }
}
