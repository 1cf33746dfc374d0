//! The fan-in: a batch's counters, and the aggregate that fires when the last chunk is in.
//!
//! Everything is derived from rows that actually moved. The lock on the batch's row makes exactly one transaction see
//! that nothing is left; the aggregate's idempotency key is the second guard.

use std::collections::BTreeMap;

use gristmill_core::batch::{BatchState, Counts};
use gristmill_core::id::{BatchId, JobId};
use gristmill_core::job::{NewJob, Priority};
use uuid::Uuid;

use super::create::PlanRow;
use super::fault::Outcome;
use super::notify;
use super::rows::{JobRows, Place, payload_of_aggregate};
use super::values::{count, small};
use super::work::Work;
use crate::BatchProgress;
use crate::check;
use crate::check::AGGREGATE_KEY;
use crate::error::StoreError;
use crate::row;

const LOCK: &str = "SELECT id FROM batch WHERE id = ANY($1) ORDER BY id FOR NO KEY UPDATE";

const COUNT: &str = "
UPDATE batch b SET
    remaining = b.remaining - d.finished, chunks_dead = b.chunks_dead + d.dead, retries = b.retries + d.retries,
    ok = b.ok + d.ok, skipped = b.skipped + d.skipped, quarantined = b.quarantined + d.quarantined,
    cancelled = b.cancelled + d.cancelled,
    state = CASE WHEN b.state = 'sealed' AND b.remaining = d.finished THEN 'aggregating' ELSE b.state END
FROM unnest($1::uuid[], $2::bigint[], $3::bigint[], $4::bigint[], $5::bigint[], $6::bigint[], $7::bigint[],
            $8::bigint[]) AS d (id, finished, dead, retries, ok, skipped, quarantined, cancelled)
WHERE b.id = d.id
RETURNING b.id, b.state, b.generation, b.input, b.ok, b.skipped, b.quarantined, b.cancelled, b.remaining, b.halting,
          b.tolerate";

/// What a transaction changes in one batch's counters.
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct Delta {
    /// Chunks that became final.
    pub(super) finished: i64,
    /// How many of them are dead.
    pub(super) dead: i64,
    /// Chunks that will be tried again.
    pub(super) retries: i64,
    /// Items, by outcome.
    pub(super) ok: i64,
    pub(super) skipped: i64,
    pub(super) quarantined: i64,
    pub(super) cancelled: i64,
}

/// The changes by batch, in the order in which the rows are locked.
pub(super) type Deltas = BTreeMap<Uuid, Delta>;

row! {
    pub(super) struct ProgressRow {
        id: Uuid,
        state: String,
        generation: i32,
        input: i64,
        ok: i64,
        skipped: i64,
        quarantined: i64,
        cancelled: i64,
        remaining: i64,
        halting: bool,
        tolerate: String,
    }
}

impl ProgressRow {
    pub(super) fn progress(&self) -> Result<BatchProgress, StoreError> {
        Ok(BatchProgress {
            batch: BatchId(self.id),
            state: self.state.parse().map_err(|e| StoreError::Database(format!("batch {}: {e}", self.id)))?,
            generation: small(self.generation),
            counts: Counts {
                input: count(self.input),
                ok: count(self.ok),
                skipped: count(self.skipped),
                quarantined: count(self.quarantined),
                cancelled: count(self.cancelled),
            },
            remaining: count(self.remaining),
            halting: self.halting,
            failure_budget: self
                .tolerate
                .parse()
                .map_err(|e| StoreError::Database(format!("batch {}: {e}", self.id)))?,
        })
    }
}

/// Records the changes, and fires the aggregates of batches whose last chunk they were.
pub(super) async fn count_down(work: &mut Work<'_>, deltas: &Deltas) -> Outcome<Vec<BatchProgress>> {
    if deltas.is_empty() {
        return Ok(Vec::new());
    }
    let ids: Vec<Uuid> = deltas.keys().copied().collect();
    if ids.len() > 1 {
        // An UPDATE that joins takes its locks in any order.
        sqlx::query(LOCK).bind(&ids).execute(&mut *work.conn).await?;
    }
    let column = |pick: fn(&Delta) -> i64| deltas.values().map(pick).collect::<Vec<i64>>();
    let mut rows: Vec<ProgressRow> = sqlx::query_as(COUNT)
        .bind(&ids)
        .bind(column(|delta| delta.finished))
        .bind(column(|delta| delta.dead))
        .bind(column(|delta| delta.retries))
        .bind(column(|delta| delta.ok))
        .bind(column(|delta| delta.skipped))
        .bind(column(|delta| delta.quarantined))
        .bind(column(|delta| delta.cancelled))
        .fetch_all(&mut *work.conn)
        .await?;
    rows.sort_by_key(|row| row.id);
    let aggregating = BatchState::Aggregating.as_str();
    let finished: Vec<Uuid> = rows
        .iter()
        .filter(|row| row.state == aggregating && deltas.get(&row.id).is_some_and(|delta| delta.finished > 0))
        .map(|row| row.id)
        .collect();
    fire(work, &finished).await?;
    let failed: Vec<Uuid> = deltas.iter().filter(|(_, delta)| delta.quarantined > 0).map(|(id, _)| *id).collect();
    notify::first_failures(work, &failed).await?;
    Ok(rows.iter().map(ProgressRow::progress).collect::<Result<_, _>>()?)
}

/// Inserts the aggregates of batches that are `aggregating` now. One that exists is left as it is.
pub(super) async fn fire(work: &mut Work<'_>, batches: &[Uuid]) -> Outcome<u64> {
    let mut fired = 0;
    for batch in batches {
        let plan = PlanRow::read(work, BatchId(*batch)).await?;
        let job = aggregate(*batch, &plan)?;
        let mut rows = JobRows::default();
        let place = Place { seq: None, items: 0, generation: Some(plan.generation), cancelled: false };
        rows.push(&job, check::json(&job.payload)?, place)?;
        fired += rows.insert(work).await?.len() as u64;
    }
    Ok(fired)
}

fn aggregate(batch: Uuid, plan: &PlanRow) -> Result<NewJob, StoreError> {
    let key = format!("{AGGREGATE_KEY}{batch}:{}", plan.generation);
    let definition = plan.definition()?;
    let mut job = NewJob {
        tenant: plan.tenant.clone(),
        queue: definition.queue,
        priority: Priority::High,
        idempotency_key: Some(key),
        trace: plan.trace.clone(),
        batch: Some(BatchId(batch)),
        ..NewJob::new(JobId(Uuid::now_v7()), "aggregate", payload_of_aggregate(batch, plan.generation))
    };
    definition.aggregate_job.unwrap_or_default().apply(&mut job);
    Ok(job)
}
