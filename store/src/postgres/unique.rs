//! Existing jobs in the place of new ones: the same call, the same idempotency key, the same unique key.
//!
//! Whether a row holds its unique key is a column derived from the row itself, and the index on it lets one transaction
//! win. A transaction that loses looks for the holder; if the holder has released the key meanwhile, it tries again.

use std::collections::HashMap;

use gristmill_core::Instant;
use gristmill_core::id::JobId;
use gristmill_core::job::{JobState, NewJob};
use gristmill_core::unique::OnConflict;
use uuid::Uuid;

use super::fault::Outcome;
use super::rows::{JobRows, due};
use super::values::{big, millis, plain, state_of};
use super::work::Work;
use crate::check;
use crate::error::StoreError;
use crate::row;
use crate::{EnqueueOutcome, Enqueued};

/// A unique key may be released between the insert that met it and the search for its holder.
const ROUNDS_MAX: usize = 16;

/// Keys whose period is over are released by the next job that wants them. Each key is looked up by itself: joined, all
/// held keys would be read where the planner takes them for few.
const LAPSE: &str = "
UPDATE job SET unique_until = NULL WHERE id IN (
    SELECT id FROM job WHERE id = ANY(ARRAY(
        SELECT h.id FROM unnest($1::text[], $2::text[]) AS i (tenant, unique_key)
        CROSS JOIN LATERAL (SELECT j.id FROM job j WHERE j.tenant = i.tenant AND j.unique_held = i.unique_key LIMIT 1) AS h))
      AND unique_rule = 'period' AND unique_until <= now() ORDER BY id FOR UPDATE)";

const HOLDERS: &str = "
SELECT i.number, own.id AS own, COALESCE(first.id, kept.id) AS first, holder.id AS holder
FROM unnest($1::bigint[], $2::uuid[], $3::text[], $4::text[], $5::text[])
     AS i (number, id, tenant, idempotency_key, unique_key)
LEFT JOIN job own ON own.id = i.id
LEFT JOIN job first ON first.tenant = i.tenant AND first.idempotency_key = i.idempotency_key
LEFT JOIN idempotency kept ON kept.tenant = i.tenant AND kept.scope = 'job' AND kept.key = i.idempotency_key
      AND kept.until > now()
LEFT JOIN job holder ON holder.tenant = i.tenant AND holder.unique_held = i.unique_key
WHERE COALESCE(own.id, first.id, kept.id, holder.id) IS NOT NULL";

const LOCK: &str = "
SELECT id, tenant, queue, kind, lane, state, started_at IS NULL AS fresh, unique_held FROM job
WHERE id = ANY($1) ORDER BY id FOR UPDATE";

const TAKE_OVER: &str = "
UPDATE job SET payload = $2, version = $11, trace = $3, lane = COALESCE($4, lane),
    max_attempts = COALESCE($5, max_attempts), granted = COALESCE($5, granted),
    timeout_ms = COALESCE($6, timeout_ms), retry = COALESCE($7, retry),
    state = CASE WHEN d.due > now() THEN 'scheduled' ELSE 'queued' END, limited = limited AND NOT COALESCE(d.due > now(), FALSE),
    run_at = CASE WHEN d.due > now() THEN d.due END,
    queued_at = CASE WHEN d.due > now() THEN NULL WHEN state = 'queued' THEN queued_at ELSE now() END
FROM (SELECT LEAST(COALESCE($8, now() + COALESCE($9, 0) * interval '1 millisecond'),
                   h.created_at + $10 * interval '1 millisecond') AS due FROM job h WHERE h.id = $1) AS d
WHERE id = $1
RETURNING state, lane";

row! {
    struct HolderRow {
        number: i64,
        own: Option<Uuid>,
        first: Option<Uuid>,
        holder: Option<Uuid>,
    }
}

row! {
    struct LockedRow {
        id: Uuid,
        tenant: String,
        queue: String,
        kind: String,
        lane: i16,
        state: String,
        /// No attempt has ever begun.
        fresh: bool,
        unique_held: Option<String>,
    }
}

/// Inserts at most a group of jobs, or finds the existing ones in their place.
pub(super) async fn insert_group(work: &mut Work<'_>, jobs: &[NewJob]) -> Outcome<Vec<Enqueued>> {
    if jobs.iter().any(|job| job.unique.is_some()) {
        lapse(work, jobs).await?;
    }
    let mut places: Vec<Option<Enqueued>> = vec![None; jobs.len()];
    for _ in 0..ROUNDS_MAX {
        let left: Vec<usize> = (0..jobs.len()).filter(|index| places[*index].is_none()).collect();
        let asked: Vec<NewJob>;
        // Mostly all of them are new, and are inserted without being cloned.
        let group = if left.len() == jobs.len() {
            jobs
        } else {
            asked = left.iter().map(|index| jobs[*index].clone()).collect();
            &asked
        };
        let mut inserted = JobRows::of(group)?.insert(work).await?;
        for index in left {
            // An id that occurs twice was inserted once.
            places[index] = inserted.remove(&jobs[index].id.0).map(|_| Enqueued::created(jobs[index].id));
        }
        if places.iter().all(Option::is_some) {
            break;
        }
        find_holders(work, jobs, &mut places).await?;
        if places.iter().all(Option::is_some) {
            break;
        }
        // The holder has released the key meanwhile: it is free now.
    }
    let places: Option<Vec<Enqueued>> = places.into_iter().collect();
    let changing = || StoreError::Unavailable("the holder of a unique key keeps changing; try again".to_owned());
    Ok(places.ok_or_else(changing)?)
}

async fn lapse(work: &mut Work<'_>, jobs: &[NewJob]) -> Outcome<()> {
    let keys = jobs.iter().filter_map(|job| Some((plain(&job.tenant), plain(&job.unique.as_ref()?.key))));
    let (tenants, keys): (Vec<_>, Vec<_>) = keys.unzip();
    sqlx::query(LAPSE).bind(tenants).bind(keys).execute(&mut *work.conn).await?;
    Ok(())
}

async fn find_holders(work: &mut Work<'_>, jobs: &[NewJob], places: &mut [Option<Enqueued>]) -> Outcome<()> {
    let left: Vec<usize> = (0..jobs.len()).filter(|index| places[*index].is_none()).collect();
    let found: Vec<HolderRow> = sqlx::query_as(HOLDERS)
        .bind(left.iter().map(|index| big(*index as u64)).collect::<Vec<_>>())
        .bind(left.iter().map(|index| jobs[*index].id.0).collect::<Vec<_>>())
        .bind(left.iter().map(|index| plain(&jobs[*index].tenant)).collect::<Vec<_>>())
        .bind(left.iter().map(|index| jobs[*index].idempotency_key.as_deref().map(plain)).collect::<Vec<_>>())
        .bind(left.iter().map(|index| jobs[*index].unique.as_ref().map(|u| plain(&u.key))).collect::<Vec<_>>())
        .fetch_all(&mut *work.conn)
        .await?;
    let made: HashMap<Uuid, usize> = (0..jobs.len())
        .filter(|at| places[*at].is_some_and(|place| place.created))
        .map(|at| (jobs[at].id.0, at))
        .collect();
    let mut contested = Vec::new();
    for row in found {
        let Some(index) = usize::try_from(row.number).ok().filter(|index| *index < jobs.len()) else { continue };
        let takes_over = jobs[index].unique.as_ref().is_some_and(|unique| unique.conflict.takes_over());
        // A job that took the idempotency key later in the same call did not block one that a holder refused.
        let later = |first: &Uuid| row.holder.is_some() && made.get(first).is_some_and(|at| *at > index);
        match (row.own.or(row.first.filter(|first| !later(first))), row.holder) {
            (Some(id), _) => places[index] = Some(Enqueued::by(JobId(id), EnqueueOutcome::Existing)),
            (None, Some(holder)) if takes_over => contested.push((index, holder)),
            (None, Some(holder)) => places[index] = Some(Enqueued::by(JobId(holder), EnqueueOutcome::Existing)),
            (None, None) => {}
        }
    }
    contested.sort_unstable();
    take_over_all(work, jobs, &contested, places).await
}

async fn take_over_all(
    work: &mut Work<'_>,
    jobs: &[NewJob],
    contested: &[(usize, Uuid)],
    places: &mut [Option<Enqueued>],
) -> Outcome<()> {
    if contested.is_empty() {
        return Ok(());
    }
    let ids: Vec<Uuid> = contested.iter().map(|(_, holder)| *holder).collect();
    let locked: Vec<LockedRow> = sqlx::query_as(LOCK).bind(ids).fetch_all(&mut *work.conn).await?;
    let mut locked: HashMap<Uuid, LockedRow> = locked.into_iter().map(|row| (row.id, row)).collect();
    for (index, holder) in contested {
        // A holder that released the key before it was locked holds nothing: the place stays free for the next round.
        let Some(row) = locked.get_mut(holder).filter(|row| row.unique_held.is_some()) else { continue };
        places[*index] = Some(take_over(work, &jobs[*index], row).await?);
    }
    Ok(())
}

/// Gives another job's request to a holder that has not begun.
async fn take_over(work: &mut Work<'_>, job: &NewJob, holder: &mut LockedRow) -> Outcome<Enqueued> {
    let was = state_of(&holder.state)?;
    let id = JobId(holder.id);
    let waits = holder.fresh && matches!(was, JobState::Scheduled | JobState::Queued);
    let conflict = job.unique.as_ref().map_or(OnConflict::Keep, |unique| unique.conflict);
    if !waits || !conflict.takes_over() {
        return Ok(Enqueued::by(id, EnqueueOutcome::Existing));
    }
    check::same_work(job, id, &holder.kind, &holder.queue)?;
    let (at, wait, cap) = times(job, conflict);
    let all = matches!(conflict, OnConflict::Replace);
    let (now, lane): (String, i16) = sqlx::query_as(TAKE_OVER)
        .bind(holder.id)
        .bind(check::payload(&job.payload)?)
        .bind(job.trace.as_deref().map(plain))
        .bind(all.then(|| job.priority.rank()))
        .bind(all.then(|| super::values::int(job.max_attempts)))
        .bind(all.then(|| millis(job.timeout).max(1)))
        .bind(all.then(|| check::json(&job.retry)).transpose()?)
        .bind(at)
        .bind(wait)
        .bind(cap)
        .bind(super::values::int(job.version.max(1)))
        .fetch_one(&mut *work.conn)
        .await?;
    let is = state_of(&now)?;
    if was != is {
        work.moved(&holder.tenant, &holder.queue, was, is);
    }
    if is == JobState::Queued && (was != is || lane != holder.lane) {
        work.claimable(&holder.queue, lane, holder.id);
    }
    holder.state = now;
    holder.lane = lane;
    let outcome = if all { EnqueueOutcome::Replaced } else { EnqueueOutcome::Debounced };
    Ok(Enqueued::by(id, outcome))
}

/// When the holder starts: at an instant or this many milliseconds from now, and at the latest this many after it was
/// created.
fn times(job: &NewJob, conflict: OnConflict) -> (Option<Instant>, Option<i64>, Option<i64>) {
    match conflict {
        OnConflict::Debounce { wait, cap } => (None, Some(millis(wait)), Some(millis(cap))),
        OnConflict::Keep | OnConflict::Replace | OnConflict::Refuse => {
            let (at, wait) = due(job);
            (at, wait, None)
        }
    }
}
