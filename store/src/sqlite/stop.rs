//! Cancels and halts batches, in steps: see [`crate::stop`]. Between two of them the one writer is free for others.

use gristmill_core::batch::BatchState;
use gristmill_core::id::BatchId;
use sqlx::sqlite::SqliteRow;
use uuid::Uuid;

use super::control::cancel as cancel_jobs;
use super::create::no_batch;
use super::error::database;
use super::row::{self, moved_columns};
use super::transition::Transition;
use super::{SqliteStore, create};
use crate::check;
use crate::error::{Result, StoreError};
use crate::stop::{STEP_CHUNKS_MAX, STOPS_MAX, add, stopping};
use crate::{ControlReport, Dispatched, Purpose};

/// The first unfinished chunks of one state, from the index of the batch.
macro_rules! chunks_in {
    ($state:literal) => {
        concat!(
            "SELECT id FROM (SELECT id FROM job INDEXED BY job_in_batch WHERE batch_id = ?1 AND state = '",
            $state,
            "' AND kind = 'chunk' AND (seq IS NOT NULL OR NOT ?2) ORDER BY id LIMIT ?3)"
        )
    };
}

/// The first messages of one state, of which a mailing may have as many as it has recipients.
macro_rules! messages_in {
    ($state:literal) => {
        concat!(
            " UNION ALL SELECT id FROM (SELECT id FROM job INDEXED BY job_in_batch WHERE batch_id = ?1 AND state = '",
            $state,
            "' AND kind = 'email' AND NOT ?2 ORDER BY id LIMIT ?3)"
        )
    };
}

/// Those of all states.
macro_rules! chunks {
    () => {
        concat!(
            chunks_in!("queued"),
            " UNION ALL ",
            chunks_in!("retry"),
            " UNION ALL ",
            chunks_in!("scheduled"),
            messages_in!("queued"),
            messages_in!("retry"),
            messages_in!("scheduled")
        )
    };
}

const CHUNKS: &str = concat!(
    "SELECT state, ",
    moved_columns!(),
    ", attempt, worker_id FROM job WHERE id IN (",
    chunks!(),
    ") ORDER BY id LIMIT ?3"
);

const ANY_CHUNK: &str = concat!("SELECT EXISTS (", chunks!(), ") AS any_left");

/// Whatever runs, however many chunks come before it; and the few jobs of a batch that are neither chunks nor messages:
/// its aggregate, its callbacks. What there may be many of is left out as ranges, so that it is not read.
const FIRST: &str = concat!(
    "SELECT state, ",
    moved_columns!(),
    ", attempt, worker_id FROM job WHERE id IN (
        SELECT id FROM job INDEXED BY job_in_batch
        WHERE batch_id = ?1 AND state = 'running' AND kind = 'chunk' AND (seq IS NOT NULL OR NOT ?2)
        UNION ALL
        SELECT id FROM job INDEXED BY job_in_batch
        WHERE batch_id = ?1 AND state IN ('scheduled', 'queued', 'running', 'retry') AND kind < 'chunk' AND NOT ?2
        UNION ALL
        SELECT id FROM job INDEXED BY job_in_batch
        WHERE batch_id = ?1 AND state = 'running' AND kind = 'email' AND NOT ?2
        UNION ALL
        SELECT id FROM job INDEXED BY job_in_batch
        WHERE batch_id = ?1 AND state IN ('scheduled', 'queued', 'running', 'retry') AND kind > 'chunk' AND kind < 'email'
          AND NOT ?2
        UNION ALL
        SELECT id FROM job INDEXED BY job_in_batch
        WHERE batch_id = ?1 AND state IN ('scheduled', 'queued', 'running', 'retry') AND kind > 'email' AND NOT ?2)
      ORDER BY id"
);

/// For a dry run, which cancels no more than one step does.
const COUNT_LEFT: &str = "
    SELECT count(*) AS jobs FROM job WHERE batch_id = ?1 AND state IN ('scheduled', 'queued', 'running', 'retry')";

const BATCH: &str = concat!(
    "SELECT state, ",
    stopping!(),
    " AS stopping, coalesce(reason, '') AS reason FROM batch WHERE id = ?1 AND tenant = coalesce(?2, tenant)"
);

const CANCEL_BATCH: &str =
    "UPDATE batch SET state = 'cancelled', finished_at = ?3, reason = ?2, paused = 0 WHERE id = ?1";

const HALT_BATCH: &str = "
    UPDATE batch SET halting = 1, reason = ?2, paused = 0
    WHERE id = ?1 AND NOT halting AND state IN ('open', 'sealed') AND generation = ?3";

const MARK: &str =
    "UPDATE batch SET paused = 1, paused_at = NULL, paused_by = NULL, paused_reason = NULL WHERE id = ?1";

const UNMARK: &str = "UPDATE batch SET paused = 0 WHERE id = ?1";

/// An aggregate that was fired while the batch was paused: its message has been dropped.
const HELD_AGGREGATE: &str =
    concat!("SELECT ", moved_columns!(), " FROM job WHERE batch_id = ?1 AND state = 'queued' AND kind = 'aggregate'");

const UNFINISHED: &str = concat!("SELECT id FROM batch WHERE ", stopping!(), " ORDER BY id LIMIT ?1");

/// Cancels a batch for good, step by step. A dry run does the first step and counts the rest.
pub(super) async fn cancel(
    store: &SqliteStore,
    (tenant, batch, reason): (&str, BatchId, &str),
    dry_run: bool,
) -> Result<ControlReport> {
    let mut t = Transition::begin(store).await?;
    let found = find(&mut t, batch, Some(tenant)).await?.ok_or_else(|| no_batch(batch))?;
    let mut report = ControlReport::default();
    match row::word(&found, "state")? {
        BatchState::Open | BatchState::Sealed | BatchState::Aggregating => {
            let (step, left) = decide(&mut t, batch, reason).await?;
            report = step;
            t.tell(&report);
            if dry_run {
                report.affected += count_left(&mut t, batch, left).await?;
                return Ok(report);
            }
            mark(&mut t, batch, left).await?;
            report.dispatched = t.commit().await?.dispatched;
        }
        // It may be cancelled in part. The next step needs the one writer.
        BatchState::Cancelled => drop(t),
        state @ (BatchState::Complete | BatchState::Halted) => return Err(ended(batch, state)),
    }
    while let Some(step) = go_on(store, batch).await? {
        add(&mut report, step);
    }
    Ok(report)
}

/// Cancels a batch as far as one transaction does. The scheduler does the rest.
pub(super) async fn cancel_first(
    t: &mut Transition<'_>,
    tenant: &str,
    batch: BatchId,
    reason: &str,
) -> Result<ControlReport> {
    let found = find(t, batch, Some(tenant)).await?.ok_or_else(|| no_batch(batch))?;
    match row::word(&found, "state")? {
        BatchState::Open | BatchState::Sealed | BatchState::Aggregating => {
            let (report, left) = decide(t, batch, reason).await?;
            mark(t, batch, left).await?;
            Ok(report)
        }
        BatchState::Cancelled => Ok(ControlReport::default()),
        state @ (BatchState::Complete | BatchState::Halted) => Err(ended(batch, state)),
    }
}

/// Says that the batch is cancelled, and cancels the first of its jobs. Returns whether any are left.
async fn decide(t: &mut Transition<'_>, batch: BatchId, reason: &str) -> Result<(ControlReport, bool)> {
    let (reason, now) = (check::plain(reason, check::REASON_CHARS_MAX), t.now);
    t.run(sqlx::query(CANCEL_BATCH).bind(batch.0).bind(reason.clone()).bind(now)).await?;
    step(t, batch, &reason, false).await
}

fn ended(batch: BatchId, state: BatchState) -> StoreError {
    StoreError::Conflict(format!("batch {batch} is {state} already; it cannot be cancelled any more"))
}

/// Halts a batch: the first step. The scheduler does the rest, because a worker that counts has no time for it.
pub(super) async fn halt(store: &SqliteStore, batch: BatchId, generation: u32, reason: &str) -> Result<ControlReport> {
    let mut t = Transition::begin(store).await?;
    let reason = check::plain(reason, check::REASON_CHARS_MAX);
    if t.run(sqlx::query(HALT_BATCH).bind(batch.0).bind(reason.clone()).bind(generation)).await? == 0 {
        let known = create::state(&mut t, batch).await?;
        return known.map(|_| ControlReport::default()).ok_or_else(|| no_batch(batch));
    }
    let (mut report, left) = step(&mut t, batch, &reason, true).await?;
    mark(&mut t, batch, left).await?;
    report.dispatched = t.commit().await?.dispatched;
    Ok(report)
}

/// Does one step for each batch of which there is something left to be cancelled.
pub(super) async fn continue_all(store: &SqliteStore) -> Result<Dispatched> {
    let batches: Vec<Uuid> =
        sqlx::query_scalar(UNFINISHED).bind(STOPS_MAX).fetch_all(&store.readers).await.map_err(database)?;
    let mut all = ControlReport::default();
    for batch in batches {
        if let Some(step) = go_on(store, BatchId(batch)).await? {
            add(&mut all, step);
        }
    }
    Ok(all.dispatched)
}

/// One further step of a stop; `None` when there is nothing left to do.
async fn go_on(store: &SqliteStore, batch: BatchId) -> Result<Option<ControlReport>> {
    let mut t = Transition::begin(store).await?;
    let Some(found) = find(&mut t, batch, None).await? else { return Ok(None) };
    if !row::flag(&found, "stopping")? {
        return Ok(None);
    }
    let chunks_only = row::word::<BatchState>(&found, "state")? != BatchState::Cancelled;
    let reason: String = row::get(&found, "reason")?;
    let (mut report, left) = step(&mut t, batch, &reason, chunks_only).await?;
    if !left {
        for row in &t.rows(sqlx::query(HELD_AGGREGATE).bind(batch.0)).await? {
            let job = row::moved(row)?;
            t.ready(Purpose::Dispatch, &job.queue, job.priority, job.id);
        }
        t.run(sqlx::query(UNMARK).bind(batch.0)).await?;
    }
    report.dispatched = t.commit().await?.dispatched;
    Ok(Some(report))
}

async fn find(t: &mut Transition<'_>, batch: BatchId, tenant: Option<&str>) -> Result<Option<SqliteRow>> {
    t.row(sqlx::query(BATCH).bind(batch.0).bind(tenant.map(str::to_owned))).await
}

/// Cancels the next chunks. Returns whether any are left; after the last ones a batch that is cancelled reports so.
async fn step(
    t: &mut Transition<'_>,
    batch: BatchId,
    reason: &str,
    chunks_only: bool,
) -> Result<(ControlReport, bool)> {
    let mut rows = t.rows(sqlx::query(FIRST).bind(batch.0).bind(chunks_only)).await?;
    rows.extend(t.rows(sqlx::query(CHUNKS).bind(batch.0).bind(chunks_only).bind(STEP_CHUNKS_MAX)).await?);
    let ids = rows.iter().map(|row| row::id(row, "id")).collect::<Result<Vec<Uuid>>>()?;
    let mut in_order: Vec<(Uuid, SqliteRow)> = ids.into_iter().zip(rows).collect();
    in_order.sort_by_key(|(id, _)| *id);
    let rows: Vec<SqliteRow> = in_order.into_iter().map(|(_, row)| row).collect();
    let report = cancel_jobs(t, &rows, reason).await?;
    let left = t.row(sqlx::query(ANY_CHUNK).bind(batch.0).bind(chunks_only).bind(1)).await?;
    let left = left.map(|row| row::flag(&row, "any_left")).transpose()?.unwrap_or(false);
    if !left && !chunks_only {
        t.cancelled = Some(batch);
    }
    Ok((report, left))
}

/// Marks the batch for as long as something is left.
async fn mark(t: &mut Transition<'_>, batch: BatchId, left: bool) -> Result<()> {
    if left {
        t.run(sqlx::query(MARK).bind(batch.0)).await?;
    }
    Ok(())
}

async fn count_left(t: &mut Transition<'_>, batch: BatchId, left: bool) -> Result<u64> {
    if !left {
        return Ok(0);
    }
    let row = t.row(sqlx::query(COUNT_LEFT).bind(batch.0)).await?;
    Ok(row.map(|row| row::number(&row, "jobs")).transpose()?.unwrap_or(0))
}
