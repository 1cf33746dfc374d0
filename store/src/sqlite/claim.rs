//! Claim: workers take queued jobs; those under limits and turns in [`super::limited`].

use std::collections::HashMap;

use gristmill_core::id::JobId;
use gristmill_core::job::{ClaimedJob, Fence, JobState};
use sqlx::sqlite::SqliteRow;

use super::transition::{Query, Transition};
use super::{SqliteStore, row};
use crate::Claim;
use crate::check;
use crate::error::Result;

/// What a worker must serve to run job `j`, spelt as `core::job::served` does.
macro_rules! served {
    () => {
        "(CASE j.version WHEN 1 THEN j.kind ELSE j.kind || '@' || j.version END)"
    };
}

/// Whether job `j` is not paused.
macro_rules! let_go {
    () => {
        "NOT EXISTS (SELECT 1 FROM queue q WHERE q.tenant = j.tenant AND q.name = j.queue AND q.paused)
         AND (j.batch_id IS NULL OR NOT EXISTS (SELECT 1 FROM batch b WHERE b.id = j.batch_id AND b.paused))"
    };
}

/// Whether job `j` is not claimed by limits and turns.
macro_rules! unmanaged {
    () => {
        "j.queue NOT IN (SELECT name FROM managed WHERE scope = 'queue')
         AND j.kind NOT IN (SELECT name FROM managed WHERE scope = 'kind')"
    };
}

/// Whether a worker with handlers for the kinds in `?4` may claim job `j`.
macro_rules! may_run {
    () => {
        concat!("j.state = 'queued' AND ", served!(), " IN (SELECT value FROM json_each(?4)) AND ", let_go!())
    };
}

/// The same for jobs that limits and turns do not manage.
macro_rules! claimable {
    () => {
        concat!(may_run!(), " AND ", unmanaged!())
    };
}

/// Makes the jobs `running` that the sub-query chooses. The deadline leaves a whole lease beyond the job's own limit:
/// within it the worker beats, and says what it still has to write down. An incarnation that is over claims nothing: it may not know
/// yet, and no process would rescue what it took a second time.
macro_rules! claim {
    ($choice:expr) => {
        concat!(
            "UPDATE job SET state = 'running', attempt = attempt + 1, worker_id = ?2, started_at = ?1,
                            deadline = ?1 + timeout_ms * 1000
                                + COALESCE((SELECT max(w.lease_until - w.seen_at, 0) FROM worker w WHERE w.id = ?2), 0),
                            run_at = NULL, astray = 0
             WHERE id IN (",
            $choice,
            ") AND NOT EXISTS (SELECT 1 FROM worker w WHERE w.id = ?2 AND w.state <> 'alive')
             RETURNING id, tenant, queue, lane, key, kind, version, payload, batch_id, seq, generation, attempt, max_attempts,
                         snoozes, max_snoozes, timeout_ms, retry, trace, created_at, queued_at, started_at"
        )
    };
}

pub(super) use {claim as claiming, claimable, let_go, may_run, served, unmanaged};

/// A job that is still queued: whether the worker has its kind, and whether it is managed.
pub(super) fn still(row: &SqliteRow) -> Result<(JobId, (bool, bool))> {
    Ok((row::id(row, "id")?, (row::flag(row, "ours")?, row::flag(row, "managed")?)))
}

/// Notes jobs whose message has come to a worker that cannot run them.
pub(super) async fn mark_misrouted(t: &mut Transition<'_>, foreign: &[JobId]) -> Result<()> {
    if !foreign.is_empty() {
        let statement = "
            UPDATE job SET astray = 1
            WHERE id IN (SELECT unhex(value, '-') FROM json_each(?1)) AND state = 'queued' AND NOT astray";
        t.run(sqlx::query(statement).bind(check::json(&foreign)?)).await?;
    }
    Ok(())
}

/// Whether anything is queued at all: a reader looks, so that an idle worker does not keep the one writer busy.
pub(super) async fn waiting(store: &SqliteStore) -> Result<bool> {
    let statement = "SELECT EXISTS (SELECT 1 FROM queue_count WHERE state = 'queued' AND jobs > 0)";
    sqlx::query_scalar(statement).fetch_one(&store.readers).await.map_err(super::error::database)
}

/// Binds what both statements share: `?1` now, `?2` worker, `?3` limit, `?4` kinds.
pub(super) fn with(query: Query, t: &Transition<'_>, claim: &Claim) -> Result<Query> {
    Ok(query.bind(t.now).bind(claim.worker.0).bind(claim.limit).bind(check::json(&claim.kinds)?))
}

/// Runs a claim and notes what it moved, by priority and age.
pub(super) async fn take(t: &mut Transition<'_>, claim: &Claim, query: Query) -> Result<Vec<ClaimedJob>> {
    let rows = t.rows(query).await?;
    let mut retries = HashMap::new();
    let mut claimed: Vec<ClaimedJob> =
        rows.iter().map(|row| claimed_job(row, claim, &mut retries)).collect::<Result<_>>()?;
    for job in &claimed {
        t.count(&job.tenant, &job.queue, JobState::Queued, -1);
        t.arrived(job.fence.job, &job.tenant, &job.queue, job.priority, JobState::Running);
    }
    claimed.sort_by_key(|job| (job.priority, job.fence.job));
    Ok(claimed)
}

fn claimed_job(
    row: &SqliteRow,
    claim: &Claim,
    retries: &mut HashMap<String, gristmill_core::retry::RetryPolicy>,
) -> Result<ClaimedJob> {
    let text: &str = row::get(row, "retry")?;
    // A group shares a policy or two: each text is parsed once.
    let retry = match retries.get(text) {
        Some(known) => known.clone(),
        None => {
            let policy: gristmill_core::retry::RetryPolicy = row::json(row, "retry")?;
            retries.insert(text.to_owned(), policy.clone());
            policy
        }
    };
    Ok(ClaimedJob {
        fence: Fence { job: row::id(row, "id")?, attempt: row::number(row, "attempt")?, worker: claim.worker },
        tenant: row::get(row, "tenant")?,
        queue: row::get(row, "queue")?,
        priority: row::priority(row)?,
        key: row::get(row, "key")?,
        kind: row::get(row, "kind")?,
        version: row::number(row, "version")?,
        payload: row::json(row, "payload")?,
        batch: row::maybe_id(row, "batch_id")?,
        seq: row::get(row, "seq")?,
        generation: row::number(row, "generation")?,
        max_attempts: row::number(row, "max_attempts")?,
        snoozes: row::number(row, "snoozes")?,
        max_snoozes: row::number(row, "max_snoozes")?,
        timeout: row::millis(row, "timeout_ms")?,
        retry,
        trace: row::get(row, "trace")?,
        created_at: row::instant(row, "created_at")?,
        queued_at: row::instant(row, "queued_at")?,
        started_at: row::instant(row, "started_at")?,
    })
}
