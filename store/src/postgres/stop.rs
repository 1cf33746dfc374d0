//! Cancels and halts batches, in steps: see [`crate::stop`].
//!
//! Each step locks jobs first, by id, then the batch, and the last one looks once more for jobs that came in between:
//! no process can add any while the batch is locked.

use gristmill_core::batch::BatchState;
use gristmill_core::id::BatchId;
use uuid::Uuid;

use super::PostgresStore;
use super::connect::{alone, transact};
use super::control::{CancelledRow, control_report, ended, enter_cancelled};
use super::create::no_batch;
use super::fault::{Fault, Outcome};
use super::values::{count, int, plain};
use super::work::Work;
use crate::check;
use crate::error::{Result, StoreError};
use crate::row;
use crate::sql::batch_ends;
use crate::stop::{STEP_CHUNKS_MAX, STOPS_MAX, add, stopping};
use crate::{ControlReport, Dispatched};

const BATCH: &str = concat!(
    "SELECT state, halting, ",
    stopping!(),
    " AS stopping, generation, COALESCE(reason, '') AS reason FROM batch WHERE id = $1 AND tenant = COALESCE($2, tenant)"
);

/// The states, most urgent first: what runs is running in vain.
macro_rules! unfinished_states {
    () => {
        "(VALUES ('running'), ('queued'), ('retry'), ('scheduled')) AS s (state)"
    };
}

/// Cancels the unfinished jobs of a batch that `next` has picked, in the order of their ids.
macro_rules! cancel {
    ($next:expr) => {
        concat!(
            "WITH next AS (",
            $next,
            "), unfinished AS (
    SELECT j.id, j.state AS was, j.attempt, j.worker_id FROM next n JOIN job j ON j.id = n.id
    WHERE j.state IN ('scheduled', 'queued', 'running', 'retry') ORDER BY j.id FOR UPDATE OF j)
UPDATE job j SET state = 'cancelled', worker_id = NULL, deadline = NULL, run_at = NULL, finished_at = now(),
       limited = FALSE, error = $2
FROM unfinished u WHERE j.id = u.id
RETURNING j.id, j.tenant, j.queue, j.kind, u.was, j.batch_id, j.seq, j.items, u.attempt, u.worker_id"
        )
    };
}

/// The next chunks after an id, from the index of the batch: a range of kinds whose only member is `chunk`, because an
/// equality would leave only the id to be ordered by, and the key of the table has that order, too.
const CANCEL_CHUNKS: &str = cancel!(concat!(
    "SELECT c.id FROM ",
    unfinished_states!(),
    " CROSS JOIN LATERAL (
        SELECT j.kind, j.id FROM job j
        WHERE j.batch_id = $1 AND j.state = s.state AND (j.kind, j.id) > ('chunk', $3) AND j.kind <= 'chunk'
          AND (j.seq IS NOT NULL OR NOT $4)
        ORDER BY j.kind, j.id LIMIT $5) AS c
    ORDER BY c.id LIMIT $5"
));

/// Whatever runs, however many chunks come before it; and the few jobs of a batch that are neither chunks nor messages:
/// its aggregate, its callbacks. What there may be many of is left out as ranges, so that it is not read.
const CANCEL_FIRST: &str = cancel!(concat!(
    "SELECT j.id FROM job j
    WHERE j.batch_id = $1 AND j.state = 'running' AND j.kind = 'chunk' AND (j.seq IS NOT NULL OR NOT $3)
    UNION ALL
    SELECT j.id FROM job j WHERE j.batch_id = $1 AND j.state = 'running' AND j.kind = 'email' AND NOT $3
    UNION ALL
    SELECT o.id FROM ",
    unfinished_states!(),
    " CROSS JOIN LATERAL (
        SELECT j.id FROM job j WHERE j.batch_id = $1 AND j.state = s.state AND j.kind < 'chunk'
        UNION ALL
        SELECT j.id FROM job j
        WHERE j.batch_id = $1 AND j.state = s.state AND j.kind > 'chunk' AND j.kind < 'email'
        UNION ALL
        SELECT j.id FROM job j WHERE j.batch_id = $1 AND j.state = s.state AND j.kind > 'email') AS o
    WHERE NOT $3"
));

/// The next messages, of which a mailing may have as many as it has recipients.
const CANCEL_MESSAGES: &str = cancel!(concat!(
    "SELECT c.id FROM ",
    unfinished_states!(),
    " CROSS JOIN LATERAL (
        SELECT j.kind, j.id FROM job j WHERE j.batch_id = $1 AND j.state = s.state AND j.kind = 'email'
        ORDER BY j.kind, j.id LIMIT $3) AS c
    ORDER BY c.id LIMIT $3"
));

const ANY_MESSAGE: &str = "
SELECT EXISTS (SELECT 1 FROM job WHERE batch_id = $1 AND kind = 'email' AND state IN ('running', 'queued', 'retry', 'scheduled'))";

const ANY_CHUNK: &str = concat!(
    "SELECT EXISTS (SELECT 1 FROM ",
    unfinished_states!(),
    " CROSS JOIN LATERAL (
        SELECT j.kind, j.id FROM job j
        WHERE j.batch_id = $1 AND j.state = s.state AND (j.kind, j.id) > ('chunk', $2) AND j.kind <= 'chunk'
          AND (j.seq IS NOT NULL OR NOT $3)
        ORDER BY j.kind, j.id LIMIT 1) AS c)"
);

/// For a dry run, which cancels no more than one step does.
const COUNT_LEFT: &str = "
SELECT count(*) FROM job WHERE batch_id = $1 AND state IN ('scheduled', 'queued', 'running', 'retry')";

const CANCEL_BATCH: &str = "
UPDATE batch SET state = 'cancelled', reason = $2, finished_at = now(), paused = FALSE
WHERE id = $1 AND state IN ('open', 'sealed', 'aggregating') AND generation = $3";

const HALT_BATCH: &str = "
UPDATE batch SET halting = TRUE, reason = $2, paused = FALSE
WHERE id = $1 AND state IN ('open', 'sealed') AND NOT halting AND generation = $3";

const STILL: &str =
    concat!("SELECT id FROM batch WHERE id = $1 AND generation = $2 AND ", stopping!(), " FOR NO KEY UPDATE");

const MARK: &str =
    "UPDATE batch SET paused = TRUE, paused_at = NULL, paused_by = NULL, paused_reason = NULL WHERE id = $1";

const UNMARK: &str = "UPDATE batch SET paused = FALSE WHERE id = $1";

/// An aggregate that was fired while the batch was paused: its message has been dropped.
const HELD_AGGREGATE: &str = "
SELECT id, queue, lane FROM job WHERE batch_id = $1 AND state = 'queued' AND kind = 'aggregate'";

const UNFINISHED: &str = concat!("SELECT id FROM batch WHERE ", stopping!(), " ORDER BY id LIMIT $1");

row! {
    struct BatchRow {
        state: String,
        halting: bool,
        stopping: bool,
        generation: i32,
        reason: String,
    }
}

impl BatchRow {
    fn state(&self) -> Result<BatchState, StoreError> {
        self.state.parse().map_err(|error| StoreError::Database(format!("a batch's state: {error}")))
    }
}

/// A stop under way.
struct Stop<'a> {
    batch: BatchId,
    generation: i32,
    reason: &'a str,
    /// A halt leaves the batch's other jobs alone.
    chunks_only: bool,
    /// The statement that decides it; `None` in a further step.
    decides: Option<&'static str>,
    /// The chunks up to this id are done with.
    after: Uuid,
}

/// What one step did.
pub(super) struct Step {
    report: ControlReport,
    /// After which id the next step begins; `None` after the last one.
    next: Option<Uuid>,
}

impl Step {
    fn nothing() -> Self {
        Self { report: ControlReport::default(), next: None }
    }
}

/// Cancels a batch for good, step by step. A dry run does the first step and counts the rest.
pub(super) async fn cancel(
    store: &PostgresStore,
    (tenant, batch, reason): (&str, BatchId, &str),
    dry_run: bool,
) -> Result<ControlReport> {
    let first = (tenant, batch, reason, dry_run);
    let step =
        store.attempt("cancel_batch", &first, dry_run, |work, first| Box::pin(cancel_batch(work, first))).await?;
    let Step { mut report, mut next } = step;
    if dry_run {
        report.dispatched = Dispatched::default();
        return Ok(report);
    }
    while let Some(after) = next {
        let step = further(store, batch, after).await?;
        add(&mut report, step.report);
        next = step.next;
    }
    Ok(report)
}

/// Halts a batch: the first step. The scheduler does the rest, because a worker that counts has no time for it.
pub(super) async fn halt(
    store: &PostgresStore,
    batch: BatchId,
    generation: u32,
    reason: &str,
) -> Result<ControlReport> {
    Ok(transact!(store, halt_batch, (batch, generation, reason)).await?.report)
}

/// Does one step for each batch of which there is something left to be cancelled.
pub(super) async fn continue_all(store: &PostgresStore) -> Result<Dispatched> {
    let mut all = ControlReport::default();
    let batches: Vec<Uuid> = alone!(store, unfinished, ()).await?;
    for batch in batches {
        add(&mut all, further(store, BatchId(batch), Uuid::nil()).await?.report);
    }
    Ok(all.dispatched)
}

async fn further(store: &PostgresStore, batch: BatchId, after: Uuid) -> Result<Step> {
    transact!(store, go_on, (batch, after)).await
}

async fn unfinished(work: &mut Work<'_>, (): &()) -> Outcome<Vec<Uuid>> {
    Ok(sqlx::query_scalar(UNFINISHED).bind(STOPS_MAX).fetch_all(&mut *work.conn).await?)
}

/// Cancels a batch as far as one transaction does. The scheduler does the rest.
pub(super) async fn cancel_first(
    work: &mut Work<'_>,
    tenant: &str,
    batch: BatchId,
    reason: &str,
) -> Outcome<ControlReport> {
    Ok(cancel_batch(work, &(tenant, batch, reason, false)).await?.report)
}

async fn cancel_batch(
    work: &mut Work<'_>,
    (tenant, batch, reason, count_rest): &(&str, BatchId, &str, bool),
) -> Outcome<Step> {
    let row = find(work, *batch, Some(*tenant)).await?.ok_or_else(|| no_batch(*batch))?;
    match row.state()? {
        BatchState::Cancelled if row.stopping => return Ok(Step { next: Some(Uuid::nil()), ..Step::nothing() }),
        BatchState::Cancelled => return Ok(Step::nothing()),
        BatchState::Complete | BatchState::Halted => return Err(ended(*batch, &row.state).into()),
        BatchState::Open | BatchState::Sealed | BatchState::Aggregating => {}
    }
    let reason = check::plain(reason, check::REASON_CHARS_MAX);
    let stop = Stop {
        batch: *batch,
        generation: row.generation,
        reason: &reason,
        chunks_only: false,
        decides: Some(CANCEL_BATCH),
        after: Uuid::nil(),
    };
    let mut step = stop.step(work).await?;
    if *count_rest && step.next.is_some() {
        let left: i64 = sqlx::query_scalar(COUNT_LEFT).bind(batch.0).fetch_one(&mut *work.conn).await?;
        step.report.affected += count(left);
    }
    Ok(step)
}

async fn halt_batch(work: &mut Work<'_>, (batch, generation, reason): &(BatchId, u32, &str)) -> Outcome<Step> {
    let row = find(work, *batch, None).await?.ok_or_else(|| no_batch(*batch))?;
    let judged = row.generation == int(*generation);
    if row.halting || !judged || !matches!(row.state()?, BatchState::Open | BatchState::Sealed) {
        return Ok(Step::nothing());
    }
    let reason = check::plain(reason, check::REASON_CHARS_MAX);
    let stop = Stop {
        batch: *batch,
        generation: row.generation,
        reason: &reason,
        chunks_only: true,
        decides: Some(HALT_BATCH),
        after: Uuid::nil(),
    };
    stop.step(work).await
}

/// One further step of a stop, if there is anything left to do.
async fn go_on(work: &mut Work<'_>, (batch, after): &(BatchId, Uuid)) -> Outcome<Step> {
    let Some(row) = find(work, *batch, None).await?.filter(|row| row.stopping) else { return Ok(Step::nothing()) };
    let stop = Stop {
        batch: *batch,
        generation: row.generation,
        reason: &row.reason,
        chunks_only: row.state()? != BatchState::Cancelled,
        decides: None,
        after: *after,
    };
    stop.step(work).await
}

async fn find(work: &mut Work<'_>, batch: BatchId, tenant: Option<&str>) -> Outcome<Option<BatchRow>> {
    Ok(sqlx::query_as(BATCH).bind(batch.0).bind(tenant.map(plain)).fetch_optional(&mut *work.conn).await?)
}

impl Stop<'_> {
    /// Cancels the next chunks. If the batch has changed since it was read, it is read again.
    async fn step(&self, work: &mut Work<'_>) -> Outcome<Step> {
        let (mut rows, reached) = self.cancel(work, self.after).await?;
        self.hold_batch(work).await?;
        let mut left = self.any(work, reached).await?;
        if !left {
            rows.extend(self.cancel(work, Uuid::nil()).await?.0);
            left = self.any(work, Uuid::nil()).await?;
        }
        self.mark(work, left).await?;
        rows.sort_by_key(|row| row.id);
        enter_cancelled(work, &rows).await?;
        if !left && !self.chunks_only {
            batch_ends::cancelled(work, self.batch).await?;
        }
        let report = control_report(rows.len(), rows.iter().map(|row| row.id));
        work.tell(&report);
        let report = ControlReport { dispatched: work.close().await?, ..report };
        Ok(Step { report, next: left.then_some(reached) })
    }

    /// Returns what it has cancelled, and the last of the chunks that it took in their order.
    async fn cancel(&self, work: &mut Work<'_>, after: Uuid) -> Outcome<(Vec<CancelledRow>, Uuid)> {
        let first = sqlx::query_as(CANCEL_FIRST).bind(self.batch.0).bind(self.reason).bind(self.chunks_only);
        let mut rows: Vec<CancelledRow> = first.fetch_all(&mut *work.conn).await?;
        let chunks = sqlx::query_as(CANCEL_CHUNKS).bind(self.batch.0).bind(self.reason);
        let chunks = chunks.bind(after).bind(self.chunks_only).bind(STEP_CHUNKS_MAX);
        let chunks: Vec<CancelledRow> = chunks.fetch_all(&mut *work.conn).await?;
        let reached = chunks.iter().map(|row| row.id).max().unwrap_or(after);
        rows.extend(chunks);
        if !self.chunks_only {
            let messages = sqlx::query_as(CANCEL_MESSAGES).bind(self.batch.0).bind(self.reason).bind(STEP_CHUNKS_MAX);
            let messages: Vec<CancelledRow> = messages.fetch_all(&mut *work.conn).await?;
            rows.extend(messages);
        }
        Ok((rows, reached))
    }

    async fn any(&self, work: &mut Work<'_>, after: Uuid) -> Outcome<bool> {
        let query = sqlx::query_scalar(ANY_CHUNK).bind(self.batch.0).bind(after).bind(self.chunks_only);
        let any: bool = query.fetch_one(&mut *work.conn).await?;
        if any || self.chunks_only {
            return Ok(any);
        }
        Ok(sqlx::query_scalar(ANY_MESSAGE).bind(self.batch.0).fetch_one(&mut *work.conn).await?)
    }

    /// Locks the batch, in the first step with the decision.
    async fn hold_batch(&self, work: &mut Work<'_>) -> Outcome<()> {
        let query = match self.decides {
            Some(decides) => sqlx::query(decides).bind(self.batch.0).bind(self.reason).bind(self.generation),
            None => sqlx::query(STILL).bind(self.batch.0).bind(self.generation),
        };
        match query.execute(&mut *work.conn).await?.rows_affected() {
            0 => Err(Fault::Changed),
            _ => {
                work.changed();
                Ok(())
            }
        }
    }

    /// Marks the batch for as long as something is left. With the last step a pause ends.
    async fn mark(&self, work: &mut Work<'_>, left: bool) -> Outcome<()> {
        match (left, self.decides) {
            (true, Some(_)) => {
                sqlx::query(MARK).bind(self.batch.0).execute(&mut *work.conn).await?;
            }
            (false, None) => {
                sqlx::query(UNMARK).bind(self.batch.0).execute(&mut *work.conn).await?;
                let held: Vec<(Uuid, String, i16)> =
                    sqlx::query_as(HELD_AGGREGATE).bind(self.batch.0).fetch_all(&mut *work.conn).await?;
                for (id, queue, lane) in held {
                    work.claimable(&queue, lane, id);
                }
            }
            (true, None) | (false, Some(_)) => {}
        }
        Ok(())
    }
}
