//! New jobs, many in one statement.

use std::collections::{HashMap, HashSet};

use gristmill_core::id::{BatchId, JobId};
use gristmill_core::job::{JobState, Lane, NewJob, RunAt};
use serde::ser::{Serialize, SerializeTuple, Serializer};

use super::row;
use super::transition::{Transition, later, micros};
use crate::Enqueued;
use crate::check;
use crate::error::{Result, StoreError};

/// One row for the table `job`, as the statement below takes it apart.
#[derive(Debug, Clone)]
pub(super) struct JobRow {
    pub(super) id: JobId,
    pub(super) tenant: String,
    pub(super) queue: String,
    pub(super) lane: Lane,
    pub(super) kind: String,
    pub(super) state: JobState,
    pub(super) max_attempts: u32,
    pub(super) max_snoozes: u32,
    pub(super) timeout_ms: i64,
    pub(super) retry: String,
    pub(super) payload: String,
    pub(super) batch: Option<BatchId>,
    pub(super) seq: Option<i64>,
    pub(super) items: u64,
    /// `None` takes the batch's own.
    pub(super) generation: Option<u32>,
    pub(super) idempotency_key: Option<String>,
    pub(super) unique_key: Option<String>,
    pub(super) trace: Option<String>,
    pub(super) run_at: Option<i64>,
}

impl Serialize for JobRow {
    /// An array rather than an object: a third of the text, and found by position.
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        let mut row = serializer.serialize_tuple(19)?;
        row.serialize_element(&self.id)?;
        row.serialize_element(&self.tenant)?;
        row.serialize_element(&self.queue)?;
        row.serialize_element(&self.lane.rank())?;
        row.serialize_element(&self.kind)?;
        row.serialize_element(self.state.as_str())?;
        row.serialize_element(&self.max_attempts)?;
        row.serialize_element(&self.timeout_ms)?;
        row.serialize_element(&self.retry)?;
        row.serialize_element(&self.payload)?;
        row.serialize_element(&self.batch)?;
        row.serialize_element(&self.seq)?;
        row.serialize_element(&self.items)?;
        row.serialize_element(&self.generation)?;
        row.serialize_element(&self.idempotency_key)?;
        row.serialize_element(&self.unique_key)?;
        row.serialize_element(&self.trace)?;
        row.serialize_element(&self.run_at)?;
        row.serialize_element(&self.max_snoozes)?;
        row.end()
    }
}

impl JobRow {
    /// The row of a job that somebody asks for.
    pub(super) fn of(job: &NewJob, now: i64) -> Result<Self> {
        let run_at = match job.run {
            RunAt::Now => None,
            RunAt::In(wait) => Some(later(now, wait)),
            RunAt::At(at) => Some(micros(at)),
        }
        .filter(|run_at| *run_at > now);
        Ok(Self {
            id: job.id,
            tenant: job.tenant.clone(),
            queue: job.queue.clone(),
            lane: job.lane,
            kind: job.kind.clone(),
            state: if run_at.is_some() { JobState::Scheduled } else { JobState::Queued },
            max_attempts: job.max_attempts,
            max_snoozes: job.max_snoozes,
            timeout_ms: millis(job.timeout),
            retry: check::json(&job.retry)?,
            payload: check::payload(&job.payload)?,
            batch: job.batch,
            seq: None,
            items: 0,
            generation: None,
            idempotency_key: job.idempotency_key.clone(),
            unique_key: job.unique_key.clone(),
            trace: job.trace.as_deref().map(|trace| check::plain(trace, check::REASON_CHARS_MAX)),
            run_at,
        })
    }
}

/// A timeout as it is kept: at least a millisecond, at most what fits.
pub(super) fn millis(timeout: std::time::Duration) -> i64 {
    // A hundred years: more would overflow the deadline, and nobody waits for it.
    const MILLIS_MAX: i64 = 100 * 366 * 86_400_000;
    i64::try_from(timeout.as_millis()).unwrap_or(MILLIS_MAX).clamp(1, MILLIS_MAX)
}

/// Inserts rows that stand in no other's way, notes them, and gives the ids of those that were made.
pub(super) async fn jobs(t: &mut Transition<'_>, rows: &[JobRow]) -> Result<HashSet<JobId>> {
    if rows.is_empty() {
        return Ok(HashSet::new());
    }
    let statement = "
        INSERT INTO job (id, tenant, queue, lane, kind, state, max_attempts, granted, timeout_ms, retry, payload,
                         batch_id, seq, items, generation, idempotency_key, unique_key, trace, run_at, max_snoozes,
                         created_at, queued_at, finished_at)
        SELECT unhex(value ->> 0, '-'), value ->> 1, value ->> 2, value ->> 3, value ->> 4, value ->> 5,
               value ->> 6, value ->> 6, value ->> 7, value ->> 8, value ->> 9,
               unhex(value ->> 10, '-'), value ->> 11, value ->> 12,
               CASE WHEN value ->> 13 IS NOT NULL THEN value ->> 13 WHEN value ->> 10 IS NULL THEN 0
                    ELSE coalesce((SELECT generation FROM batch WHERE id = unhex(value ->> 10, '-')), 0) END,
               value ->> 14, value ->> 15, value ->> 16, value ->> 17, value ->> 18,
               ?2, CASE value ->> 5 WHEN 'queued' THEN ?2 END, CASE value ->> 5 WHEN 'cancelled' THEN ?2 END
        FROM json_each(?1) WHERE true ORDER BY key
        ON CONFLICT DO NOTHING
        RETURNING id";
    let asked = check::json(rows)?;
    let made = t.rows(sqlx::query(statement).bind(asked).bind(t.now)).await?;
    let made: HashSet<JobId> = made.iter().map(|made| row::id(made, "id")).collect::<Result<_>>()?;
    let mut seen = HashSet::with_capacity(made.len());
    for row in rows.iter().filter(|row| made.contains(&row.id)) {
        // The same id twice in one group is one job.
        if seen.insert(row.id) {
            t.arrived(row.id, &row.tenant, &row.queue, row.lane, row.state);
        }
    }
    Ok(made)
}

/// Inserts what was asked for and says what stands in each one's place.
pub(super) async fn new_jobs(t: &mut Transition<'_>, asked: &[NewJob]) -> Result<Vec<Enqueued>> {
    let rows: Vec<JobRow> = asked.iter().map(|job| JobRow::of(job, t.now)).collect::<Result<_>>()?;
    let mut made = jobs(t, &rows).await?;
    let missing: Vec<&JobRow> = rows.iter().filter(|row| !made.contains(&row.id)).collect();
    let standing = if missing.is_empty() { HashMap::new() } else { holders(t, &missing).await? };
    rows.iter()
        .map(|row| {
            if made.remove(&row.id) {
                return Ok(Enqueued { id: row.id, created: true });
            }
            let id = standing.get(&row.id).copied().unwrap_or(row.id);
            Ok(Enqueued { id, created: false })
        })
        .collect()
}

/// The jobs that stand in the place of those that could not be made.
async fn holders(t: &mut Transition<'_>, missing: &[&JobRow]) -> Result<HashMap<JobId, JobId>> {
    // The same id first: the same call has been made before. Then the key that lasts for ever, and
    // the one that lasts until its holder is final.
    let statement = "
        SELECT unhex(value ->> 0, '-') AS asked, coalesce(
            (SELECT id FROM job WHERE id = unhex(value ->> 0, '-')),
            (SELECT id FROM job WHERE tenant = value ->> 1 AND idempotency_key = value ->> 14),
            (SELECT id FROM job WHERE tenant = value ->> 1 AND unique_key = value ->> 15
                AND unique_key IS NOT NULL AND state IN ('scheduled', 'queued', 'running', 'retry'))) AS holder
        FROM json_each(?1)";
    let found = t.rows(sqlx::query(statement).bind(check::json(missing)?)).await?;
    found
        .iter()
        .map(|found| {
            let holder = row::maybe_id(found, "holder")?;
            let holder = holder.ok_or_else(|| StoreError::Database("a job was refused by no other".to_owned()))?;
            Ok((row::id(found, "asked")?, holder))
        })
        .collect()
}
