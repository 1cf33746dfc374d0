//! New jobs, many in one statement.

use std::collections::{HashMap, HashSet};

use gristmill_core::id::JobId;
use gristmill_core::job::NewJob;

use super::job_row::JobRow;
use super::transition::Transition;
use super::{insert_rows, row, unique};
use crate::check;
use crate::error::Result;
use crate::{EnqueueOutcome, Enqueued};

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
        t.flow.enqueued((&row.tenant, &row.queue, &row.kind));
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
