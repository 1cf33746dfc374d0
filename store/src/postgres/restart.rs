//! A batch that halted or was cancelled continues: what it had not done becomes claimable in the next generation.
//!
//! Locks as in [`control`](super::control): the chunks first, by id, then the batch.

use gristmill_core::batch::{BatchState, Counts, FailureBudget};
use gristmill_core::job::JobState;
use uuid::Uuid;

use super::control::control_report;
use super::create::no_batch;
use super::fan_in::{self, Deltas};
use super::fault::{Fault, Outcome};
use super::values::{count, plain, small, state_of};
use super::work::Work;
use crate::error::StoreError;
use crate::restart::{Halted, may_restart, refuse_over_budget, refuse_without_input};
use crate::row;
use crate::sql::batch_ends;
use crate::stop::stopping;
use crate::{ControlReport, Restart};

const BATCH: &str = concat!(
    "SELECT state, sealed_at IS NOT NULL AS planned, deleting_at IS NOT NULL AS deleting, ",
    stopping!(),
    " AS stopping, spool, tolerate, generation, input, ok, skipped, quarantined, cancelled
FROM batch WHERE id = $1 AND tenant = $2"
);

const LOCK: &str = "
SELECT id FROM batch WHERE id = $1 AND state = $2 AND generation = $3
  AND deleting_at IS NULL FOR NO KEY UPDATE";

/// A chunk without items is one that was split: its halves have them.
const UNFINISHED: &str = "
SELECT id, tenant, queue, lane, state AS was, items FROM job
WHERE batch_id = $1 AND seq IS NOT NULL AND items > 0 AND state = ANY($2) ORDER BY id FOR UPDATE";

const REOPEN: &str = "
UPDATE batch SET state = 'sealed', generation = generation + 1, halting = FALSE, paused = FALSE, result = NULL,
       finished_at = NULL, reason = NULL, aggregate_error = NULL, tolerate = $2
WHERE id = $1 RETURNING generation";

const NOTHING_LEFT: &str =
    "UPDATE batch SET state = 'aggregating' WHERE id = $1 AND state = 'sealed' AND remaining = 0";

const REVIVE: &str = "
UPDATE job SET state = 'queued', max_attempts = GREATEST(max_attempts, attempt + granted), queued_at = now(),
       run_at = NULL, finished_at = NULL, error = NULL, generation = $2
WHERE id = ANY($1)";

row! {
    struct BatchRow {
        state: String,
        planned: bool,
        deleting: bool,
        stopping: bool,
        spool: Option<String>,
        tolerate: String,
        generation: i32,
        input: i64,
        ok: i64,
        skipped: i64,
        quarantined: i64,
        cancelled: i64,
    }
}

row! {
    struct ChunkRow {
        id: Uuid,
        tenant: String,
        queue: String,
        lane: i16,
        was: String,
        items: i64,
    }
}

impl BatchRow {
    fn halted(&self) -> Result<Halted, StoreError> {
        let state: BatchState =
            self.state.parse().map_err(|error| StoreError::Database(format!("a batch: {error}")))?;
        Ok(Halted { state, planned: self.planned, deleting: self.deleting, stopping: self.stopping })
    }

    fn spools_removed(&self) -> bool {
        self.spool.as_deref().is_some_and(|spool| spool != "kept")
    }

    fn tolerate(&self) -> Result<FailureBudget, StoreError> {
        self.tolerate.parse().map_err(|error| StoreError::Database(format!("a batch's budget: {error}")))
    }

    fn counts(&self) -> Counts {
        Counts {
            input: count(self.input),
            ok: count(self.ok),
            skipped: count(self.skipped),
            quarantined: count(self.quarantined),
            cancelled: count(self.cancelled),
        }
    }
}

/// Restarts a batch that has ended with unfinished work.
pub(super) async fn restart(work: &mut Work<'_>, (tenant, restart): &(&str, &Restart)) -> Outcome<ControlReport> {
    let batch = restart.batch;
    let row: Option<BatchRow> =
        sqlx::query_as(BATCH).bind(batch.0).bind(plain(tenant)).fetch_optional(&mut *work.conn).await?;
    let row = row.ok_or_else(|| no_batch(batch))?;
    may_restart(batch, &row.halted()?)?;
    let states = if restart.dead { vec!["cancelled", "dead"] } else { vec!["cancelled"] };
    let chunks: Vec<ChunkRow> =
        sqlx::query_as(UNFINISHED).bind(batch.0).bind(states).fetch_all(&mut *work.conn).await?;
    refuse_without_input(batch, row.spools_removed(), chunks.len())?;
    let locked: Option<Uuid> = sqlx::query_scalar(LOCK)
        .bind(batch.0)
        .bind(&row.state)
        .bind(row.generation)
        .fetch_optional(&mut *work.conn)
        .await?;
    if locked.is_none() {
        return Err(Fault::Changed);
    }
    let mut counts = row.counts();
    let deltas = taken_up(work, batch.0, &chunks, &mut counts)?;
    let tolerate = restart.failure_budget.map_or_else(|| row.tolerate(), Ok)?;
    refuse_over_budget(batch, tolerate, &counts)?;
    batch_ends::supersede(work, batch).await?;
    let generation: i32 =
        sqlx::query_scalar(REOPEN).bind(batch.0).bind(tolerate.to_string()).fetch_one(&mut *work.conn).await?;
    if chunks.is_empty() {
        sqlx::query(NOTHING_LEFT).bind(batch.0).execute(&mut *work.conn).await?;
        fan_in::fire(work, &[batch.0]).await?;
    } else {
        fan_in::count_down(work, &deltas).await?;
    }
    let ids: Vec<Uuid> = chunks.iter().map(|chunk| chunk.id).collect();
    sqlx::query(REVIVE).bind(&ids).bind(generation).execute(&mut *work.conn).await?;
    let generation = Some(small(generation));
    Ok(ControlReport { dispatched: work.close().await?, generation, ..control_report(ids.len(), ids) })
}

/// Enters the chunks into the ledger, and subtracts them from the batch's counts.
fn taken_up(work: &mut Work<'_>, batch: Uuid, chunks: &[ChunkRow], counts: &mut Counts) -> Result<Deltas, StoreError> {
    let mut deltas = Deltas::new();
    let delta = deltas.entry(batch).or_default();
    for chunk in chunks {
        let was = state_of(&chunk.was)?;
        work.moved(&chunk.tenant, &chunk.queue, was, JobState::Queued);
        work.claimable(&chunk.queue, chunk.lane, chunk.id);
        delta.finished -= 1;
        if was == JobState::Dead {
            delta.dead -= 1;
            delta.quarantined -= chunk.items;
            counts.quarantined = counts.quarantined.saturating_sub(count(chunk.items));
        } else {
            delta.cancelled -= chunk.items;
        }
    }
    Ok(deltas)
}
