//! Redrives: dead letters get another chance, in the batch's next generation if it has ended.

use std::collections::BTreeMap;

use gristmill_core::batch::BatchState;
use gristmill_core::id::{BatchId, JobId};
use gristmill_core::job::JobState;
use uuid::Uuid;

use super::control::control_report;
use super::create::no_batch;
use super::fan_in::{self, Deltas};
use super::fault::{Fault, Outcome};
use super::values::{plain, small};
use super::work::Work;
use crate::ControlReport;
use crate::error::StoreError;
use crate::redrives::may_aggregate_again;
use crate::retention::being_deleted;
use crate::row;
use crate::sql::batch_ends;

const DEAD: &str = "
SELECT j.id, j.tenant, j.queue, j.lane, j.batch_id, j.seq, j.items,
       CASE WHEN j.kind = 'aggregate' THEN j.generation END AS aggregates
FROM job j
WHERE j.id = ANY($1) AND j.tenant = $2 AND j.state = 'dead' ORDER BY j.id FOR UPDATE OF j";

/// Only with a rule by states does a job that is queued again hold its key again.
const HOLDER: &str = "
SELECT j.id, h.id FROM job j
JOIN job h ON h.tenant = j.tenant AND h.unique_held = j.unique_key AND h.id <> j.id
WHERE j.id = ANY($1) AND COALESCE(j.unique_rule, '') NOT IN ('waiting', 'period') LIMIT 1";

const LOCK: &str = "
SELECT id, state, tenant, generation, deleting_at IS NOT NULL AS deleting FROM batch WHERE id = $1 FOR NO KEY UPDATE";

/// What a halt has cancelled does not come back, so its reason stays: such a batch can never be complete.
const NEXT_GENERATION: &str = "
UPDATE batch SET state = 'sealed', generation = generation + 1, halting = FALSE, result = NULL, finished_at = NULL,
       aggregate_error = NULL, reason = CASE WHEN cancelled > 0 THEN reason END
WHERE id = $1 RETURNING generation";

const REVIVE: &str = "
UPDATE job j SET state = 'queued', max_attempts = j.max_attempts + j.granted, finished_at = NULL, run_at = NULL,
       queued_at = now(), generation = CASE WHEN j.seq IS NULL THEN j.generation ELSE b.generation END
FROM job o LEFT JOIN batch b ON b.id = o.batch_id
WHERE o.id = ANY($1) AND j.id = o.id";

row! {
    struct DeadRow {
        id: Uuid,
        tenant: String,
        queue: String,
        lane: i16,
        batch_id: Option<Uuid>,
        seq: Option<i64>,
        items: i64,
        /// The generation that it aggregates, if it is a batch's aggregate.
        aggregates: Option<i32>,
    }
}

row! {
    struct LockedBatch {
        id: Uuid,
        state: String,
        tenant: String,
        generation: i32,
        deleting: bool,
    }
}

impl DeadRow {
    fn is_aggregate(&self) -> bool {
        self.aggregates.is_some() && self.batch_id.is_some()
    }
}

impl LockedBatch {
    fn state(&self) -> Result<BatchState, StoreError> {
        self.state.parse().map_err(|error| StoreError::Database(format!("batch {}: {error}", self.id)))
    }
}

/// Dead letters become `queued` with as many further attempts as they had at first.
pub(super) async fn redrive_dead(work: &mut Work<'_>, (tenant, jobs): &(&str, &[JobId])) -> Outcome<ControlReport> {
    let ids: Vec<Uuid> = jobs.iter().map(|job| job.0).collect();
    let rows: Vec<DeadRow> = sqlx::query_as(DEAD).bind(&ids).bind(plain(tenant)).fetch_all(&mut *work.conn).await?;
    let mut deltas = Deltas::new();
    let (aggregates, rows): (Vec<DeadRow>, Vec<DeadRow>) = rows.into_iter().partition(DeadRow::is_aggregate);
    for row in &rows {
        if let (Some(batch), Some(_)) = (row.batch_id, row.seq) {
            let delta = deltas.entry(batch).or_default();
            delta.finished -= 1;
            delta.dead -= 1;
            delta.quarantined -= row.items;
        }
    }
    refuse_held_key(work, &rows).await?;
    let again = aggregated_again(work, &aggregates, &mut deltas).await?;
    let generations = reopen_all(work, &deltas).await?;
    fan_in::count_down(work, &deltas).await?;
    let nothing_else: Vec<Uuid> = deltas.iter().filter(|(_, delta)| delta.finished == 0).map(|(id, _)| *id).collect();
    fan_in::fire(work, &nothing_else).await?;
    let ids: Vec<Uuid> = rows.iter().map(|row| row.id).collect();
    sqlx::query(REVIVE).bind(&ids).execute(&mut *work.conn).await.map_err(held_key)?;
    for row in &rows {
        work.moved(&row.tenant, &row.queue, JobState::Dead, JobState::Queued);
        work.claimable(&row.queue, row.lane, row.id);
    }
    let generation = generations.into_values().flatten().max();
    let mut ids: Vec<Uuid> = ids.into_iter().chain(again).collect();
    ids.sort_unstable();
    Ok(ControlReport { dispatched: work.close().await?, generation, ..control_report(ids.len(), ids) })
}

/// Dead aggregates do not run again themselves: their batch is aggregated by a new one in its next generation.
async fn aggregated_again(work: &mut Work<'_>, rows: &[DeadRow], deltas: &mut Deltas) -> Outcome<Vec<Uuid>> {
    for row in rows {
        let Some(batch) = row.batch_id else { continue };
        let locked: LockedBatch = sqlx::query_as(LOCK).bind(batch).fetch_one(&mut *work.conn).await?;
        let state = locked.state()?;
        may_aggregate_again(JobId(row.id), BatchId(batch), state, Some(locked.generation) == row.aggregates)?;
        deltas.entry(batch).or_default();
    }
    Ok(rows.iter().map(|row| row.id).collect())
}

async fn refuse_held_key(work: &mut Work<'_>, rows: &[DeadRow]) -> Outcome<()> {
    let ids: Vec<Uuid> = rows.iter().map(|row| row.id).collect();
    let held: Option<(Uuid, Uuid)> = sqlx::query_as(HOLDER).bind(ids).fetch_optional(&mut *work.conn).await?;
    match held {
        Some((job, holder)) => Err(StoreError::Conflict(format!(
            "job {job} cannot be redriven while job {holder} holds its unique key; wait for that one"
        ))
        .into()),
        None => Ok(()),
    }
}

async fn reopen_all(work: &mut Work<'_>, deltas: &Deltas) -> Outcome<BTreeMap<Uuid, Option<u32>>> {
    let mut generations = BTreeMap::new();
    for batch in deltas.keys() {
        generations.insert(*batch, reopen(work, BatchId(*batch), None).await?);
    }
    Ok(generations)
}

/// Locks a batch into which jobs go back. If it has ended, opens its next generation and returns its number.
pub(super) async fn reopen(work: &mut Work<'_>, batch: BatchId, tenant: Option<&str>) -> Outcome<Option<u32>> {
    let row: Option<LockedBatch> = sqlx::query_as(LOCK).bind(batch.0).fetch_optional(&mut *work.conn).await?;
    let row = row.filter(|row| tenant.is_none_or(|tenant| tenant == row.tenant)).ok_or_else(|| no_batch(batch))?;
    let refused = |why: &str| Err(Fault::Store(StoreError::Conflict(format!("batch {batch} {why}"))));
    if row.deleting {
        return Err(being_deleted(batch).into());
    }
    match row.state()? {
        BatchState::Complete | BatchState::Halted => {
            batch_ends::supersede(work, batch).await?;
            let generation: i32 = sqlx::query_scalar(NEXT_GENERATION).bind(batch.0).fetch_one(&mut *work.conn).await?;
            Ok(Some(small(generation)))
        }
        BatchState::Aggregating => refused("is just aggregating; wait until it has ended"),
        BatchState::Cancelled => refused("is cancelled; nothing of it can be redriven"),
        BatchState::Open | BatchState::Sealed => Ok(None),
    }
}

/// Two of them may have the same unique key, or another job has just taken it.
pub(super) fn held_key(error: sqlx::Error) -> Fault {
    match error.as_database_error() {
        Some(refusal) if refusal.is_unique_violation() => Fault::Store(StoreError::Conflict(
            "another job that is not final holds the unique key of one of them; cancel it or wait for it".to_owned(),
        )),
        _ => Fault::Sql(error),
    }
}
