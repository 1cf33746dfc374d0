//! Promote: jobs whose time has come become `queued`.

use gristmill_core::job::JobState;
use sqlx::postgres::PgConnection;
use uuid::Uuid;

use super::fault::Outcome;
use super::values::state_of;
use super::work::Work;
use crate::Dispatched;
use crate::error::{Result, StoreError};
use crate::row;

const PROMOTE: &str = "
WITH due AS (
    SELECT id, state FROM job WHERE state IN ('scheduled', 'retry') AND run_at <= now()
    ORDER BY run_at LIMIT $1 FOR UPDATE SKIP LOCKED)
UPDATE job j SET state = 'queued', queued_at = now(), run_at = NULL FROM due WHERE j.id = due.id
RETURNING j.id, j.tenant, j.queue, j.lane, due.state AS was";

const ANY_DUE: &str = "SELECT EXISTS (SELECT 1 FROM job WHERE state IN ('scheduled', 'retry') AND run_at <= now())";

row! {
    pub(super) struct ReadyRow {
        pub(super) id: Uuid,
        pub(super) tenant: String,
        pub(super) queue: String,
        pub(super) lane: i16,
        pub(super) was: String,
    }
}

/// Whether the time of any job has come: mostly none has, and a look costs a third of a transition.
pub(super) async fn any_due(conn: &mut PgConnection) -> Outcome<bool> {
    Ok(sqlx::query_scalar(ANY_DUE).fetch_one(conn).await?)
}

/// Promotes jobs.
pub(super) async fn promote(work: &mut Work<'_>, limit: &u32) -> Outcome<Dispatched> {
    let rows: Vec<ReadyRow> = sqlx::query_as(PROMOTE).bind(i64::from(*limit)).fetch_all(&mut *work.conn).await?;
    enter_queued(work, &rows)?;
    work.close().await
}

/// Enters jobs into the ledger that are `queued` now.
pub(super) fn enter_queued(work: &mut Work<'_>, rows: &[ReadyRow]) -> Result<(), StoreError> {
    let mut order: Vec<&ReadyRow> = rows.iter().collect();
    order.sort_by_key(|row| row.id);
    for row in order {
        work.moved(&row.tenant, &row.queue, state_of(&row.was)?, JobState::Queued);
        work.claimable(&row.queue, row.lane, row.id);
    }
    Ok(())
}
