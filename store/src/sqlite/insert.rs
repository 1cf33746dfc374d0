//! New jobs, many in one statement.

use std::collections::{HashMap, HashSet};

use gristmill_core::id::{BatchId, JobId};
use gristmill_core::job::{JobState, NewJob, Priority, RunAt};
use gristmill_core::unique::OnConflict;

use super::transition::{Transition, later, micros};
use super::{insert_rows, row, unique};
use crate::check;
use crate::error::Result;
use crate::{EnqueueOutcome, Enqueued};

/// One row for the table `job`, as the statement below takes it apart.
#[derive(Debug, Clone)]
pub(super) struct JobRow {
    pub(super) id: JobId,
    pub(super) tenant: String,
    pub(super) queue: String,
    pub(super) priority: Priority,
    pub(super) key: Option<String>,
    pub(super) kind: String,
    pub(super) state: JobState,
    pub(super) max_attempts: u32,
    pub(super) max_snoozes: u32,
    pub(super) version: u32,
    pub(super) timeout_ms: i64,
    pub(super) retry: String,
    pub(super) payload: String,
    pub(super) batch: Option<BatchId>,
    pub(super) seq: Option<i64>,
    pub(super) items: u64,
    /// `None` takes the batch's own.
    pub(super) generation: Option<u32>,
    pub(super) idempotency_key: Option<String>,
    pub(super) unique: Option<UniqueColumns>,
    pub(super) trace: Option<String>,
    pub(super) run_at: Option<i64>,
}

/// The columns of a unique key.
#[derive(Debug, Clone)]
pub(super) struct UniqueColumns {
    pub(super) key: String,
    pub(super) rule: Option<String>,
    pub(super) until: Option<i64>,
}

impl JobRow {
    /// Whether nothing but its id can be there already.
    fn is_plain(&self) -> bool {
        self.idempotency_key.is_none() && self.unique.is_none() && self.seq.is_none()
    }

    /// The row of a requested job.
    pub(super) fn of(job: &NewJob, now: i64) -> Result<Self> {
        let run_at = due(job, now).filter(|run_at| *run_at > now);
        Ok(Self {
            id: job.id,
            tenant: job.tenant.clone(),
            queue: job.queue.clone(),
            priority: job.priority,
            key: job.key.clone(),
            kind: job.kind.clone(),
            state: if run_at.is_some() { JobState::Scheduled } else { JobState::Queued },
            max_attempts: job.max_attempts,
            max_snoozes: job.max_snoozes,
            version: job.version.max(1),
            timeout_ms: millis(job.timeout),
            retry: check::json(&job.retry)?,
            payload: check::payload(&job.payload)?,
            batch: job.batch,
            seq: None,
            items: 0,
            generation: None,
            idempotency_key: job.idempotency_key.clone(),
            unique: job.unique.as_ref().map(|unique| UniqueColumns {
                key: unique.key.clone(),
                rule: unique.hold.rule(),
                until: unique.hold.period().map(|period| later(now, period)),
            }),
            trace: job.trace.as_deref().map(|trace| check::plain(trace, check::REASON_CHARS_MAX)),
            run_at,
        })
    }
}

/// When a job is due. A job to be debounced waits for others from the start.
pub(super) fn due(job: &NewJob, now: i64) -> Option<i64> {
    match (job.run, job.unique.as_ref().map(|unique| unique.conflict)) {
        (RunAt::Now, Some(OnConflict::Debounce { wait, .. })) => Some(later(now, wait)),
        (RunAt::Now, _) => None,
        (RunAt::In(wait), _) => Some(later(now, wait)),
        (RunAt::At(at), _) => Some(micros(at)),
    }
}

/// A timeout as it is stored: at least a millisecond, at most what fits.
pub(super) fn millis(timeout: std::time::Duration) -> i64 {
    i64::try_from(timeout.as_millis()).unwrap_or(check::MILLIS_MAX).clamp(1, check::MILLIS_MAX)
}

/// Inserts rows whose keys are all free, notes them, and returns the ids of those that were created. No two rows may
/// have the same id.
pub(super) async fn jobs(t: &mut Transition<'_>, rows: &[JobRow]) -> Result<HashSet<JobId>> {
    let mut made = HashSet::with_capacity(rows.len());
    for group in rows.chunks(insert_rows::MAX) {
        if group.iter().all(JobRow::is_plain) && t.run_unless_taken(insert_rows::plain(group, t.now)).await? {
            made.extend(group.iter().map(|row| row.id));
            continue;
        }
        for created in &t.rows(insert_rows::unless_there(group, t.now)).await? {
            made.insert(row::id(created, "id")?);
        }
    }
    for row in rows.iter().filter(|row| made.contains(&row.id)) {
        t.arrived(row.id, &row.tenant, &row.queue, row.priority, row.state);
    }
    Ok(made)
}

/// The idempotency keys of jobs that were deleted, and that are promised for longer: tenant and key.
async fn kept_keys(t: &mut Transition<'_>, asked: &[NewJob]) -> Result<HashSet<(String, String)>> {
    let keys: Vec<(&str, &str)> =
        asked.iter().filter_map(|job| Some((job.tenant.as_str(), job.idempotency_key.as_deref()?))).collect();
    if keys.is_empty() {
        return Ok(HashSet::new());
    }
    let statement = "
        SELECT i.tenant, i.key FROM json_each(?1) AS e CROSS JOIN idempotency i
        WHERE i.tenant = e.value ->> 0 AND i.scope = 'job' AND i.key = e.value ->> 1 AND i.until > ?2";
    let rows = t.rows(sqlx::query(statement).bind(check::json(&keys)?).bind(t.now)).await?;
    rows.iter().map(|row| Ok((row::get(row, "tenant")?, row::get(row, "key")?))).collect()
}

/// Inserts the requested jobs and returns what is in each one's place.
pub(super) async fn new_jobs(t: &mut Transition<'_>, asked: &[NewJob]) -> Result<Vec<Enqueued>> {
    if asked.iter().any(|job| job.unique.is_some()) {
        unique::lapse(t, asked).await?;
    }
    let kept = kept_keys(t, asked).await?;
    let free = |job: &&NewJob| {
        let key = job.idempotency_key.as_ref();
        key.is_none_or(|key| kept.is_empty() || !kept.contains(&(job.tenant.clone(), key.clone())))
    };
    let new = check::first_of_each_id(asked).filter(free);
    let rows: Vec<JobRow> = new.map(|job| JobRow::of(job, t.now)).collect::<Result<_>>()?;
    let made = jobs(t, &rows).await?;
    // Those that were created, but not yet when the one at hand was refused.
    let mut ahead = made.clone();
    let mut places: HashMap<JobId, Enqueued> = HashMap::with_capacity(rows.len());
    let mut enqueued = Vec::with_capacity(asked.len());
    for job in asked {
        ahead.remove(&job.id);
        let place = match places.get(&job.id) {
            Some(first) => Enqueued::by(first.id, EnqueueOutcome::Existing),
            None if made.contains(&job.id) => Enqueued::created(job.id),
            None => unique::stand_in(t, job, &ahead).await?,
        };
        places.entry(job.id).or_insert(place);
        enqueued.push(place);
    }
    Ok(enqueued)
}
