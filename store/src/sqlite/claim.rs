//! Claim: workers take queued jobs; those under limits and turns in [`super::limited`].

use std::collections::HashMap;

use gristmill_core::id::JobId;
use gristmill_core::job::{ClaimedJob, Fence, JobState};
use gristmill_core::settle::{Ending, Verdict};
use sqlx::sqlite::SqliteRow;

use super::settle::{Settlement, settle};
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
/// within it the worker beats, and says what it still has to write down. An incarnation that is over claims nothing: it
/// may not know yet, and no process would rescue what it took a second time.
macro_rules! claim {
    ($choice:expr) => {
        concat!(
            "UPDATE job SET state = 'running', attempt = attempt + 1, worker_id = ?2, started_at = ?1,
                            deadline = ?1 + timeout_ms * 1000
                                + COALESCE((SELECT max(w.lease_until - w.seen_at, 0) FROM worker w WHERE w.id = ?2), 0),
                            run_at = NULL, astray = 0, limited = 0
             WHERE id IN (",
            $choice,
            ") AND NOT EXISTS (SELECT 1 FROM worker w WHERE w.id = ?2 AND w.state <> 'alive')
             RETURNING id, tenant, queue, lane, key, kind, version, payload, batch_id, seq, generation, attempt, max_attempts,
                         snoozes, max_snoozes, timeout_ms, retry, trace, created_at, queued_at, started_at"
        )
    };
}

/// The age of row `$row` among those that wait: a job of a batch is as old as its batch, so that all jobs of a batch lie
/// together in the index, and those of a paused one are passed over in one step.
macro_rules! age {
    ($row:literal) => {
        concat!("coalesce(", $row, ".batch_id, ", $row, ".id)")
    };
}

/// The first waiting job `i` that fulfils `$condition`, in the order of the streams.
macro_rules! first_waiting {
    ($condition:literal) => {
        concat!(
            "(SELECT i.id FROM job i INDEXED BY job_waiting WHERE i.state = 'queued' AND NOT i.limited AND ",
            $condition,
            " ORDER BY i.queue, i.lane, i.kind, i.version LIMIT 1)"
        )
    };
}

/// A recursive table of which streams wait in the queues of table `q (name)`: of each queue the priorities, kinds and
/// versions. As many steps in the index as there are streams, whatever waits in them. Each column has a search of its
/// own: compared all at once they would be sought from the last stream on, and that would be read to its end.
macro_rules! streams {
    () => {
        concat!(
            "stream (queue, lane, kind, version) AS (
            SELECT n.queue, n.lane, n.kind, n.version FROM q CROSS JOIN job n ON n.id = ",
            first_waiting!("i.queue = q.name"),
            "
            UNION ALL
            SELECT n.queue, n.lane, n.kind, n.version FROM stream s CROSS JOIN job n ON n.id = coalesce(",
            first_waiting!("i.queue = s.queue AND i.lane = s.lane AND i.kind = s.kind AND i.version > s.version"),
            ", ",
            first_waiting!("i.queue = s.queue AND i.lane = s.lane AND i.kind > s.kind"),
            ", ",
            first_waiting!("i.queue = s.queue AND i.lane > s.lane"),
            "))"
        )
    };
}

/// The first limited job `i` that fulfils `$condition`, in the order of the streams.
macro_rules! first_limited {
    ($condition:literal) => {
        concat!(
            "(SELECT i.id FROM job i INDEXED BY job_limited WHERE i.state = 'queued' AND i.limited AND ",
            $condition,
            " ORDER BY i.queue, i.lane, i.kind LIMIT 1)"
        )
    };
}

/// A recursive table of the streams of limited jobs in all queues.
macro_rules! limited_streams {
    () => {
        concat!(
            "stream (queue, lane, kind) AS (
            SELECT n.queue, n.lane, n.kind FROM job n WHERE n.id = ",
            first_limited!("true"),
            "
            UNION ALL
            SELECT n.queue, n.lane, n.kind FROM stream s CROSS JOIN job n ON n.id = coalesce(",
            first_limited!("i.queue = s.queue AND i.lane = s.lane AND i.kind > s.kind"),
            ", ",
            first_limited!("i.queue = s.queue AND i.lane > s.lane"),
            ", ",
            first_limited!("i.queue > s.queue"),
            "))"
        )
    };
}

/// A table of the ages between those of paused batches: without any, from the first to the last.
macro_rules! gaps {
    () => {
        "gap (above, below) AS MATERIALIZED (
            SELECT e.id, lead(e.id, 1, x'ffffffffffffffffffffffffffffffffff') OVER (ORDER BY e.id)
            FROM (SELECT x'' AS id UNION ALL SELECT id FROM batch WHERE paused) e ORDER BY 1)"
    };
}

/// The ids of the oldest rows `i` of stream `j` in the gap `g` that fulfil `$condition`, at most `$limit`.
macro_rules! oldest {
    ($condition:expr, $limit:literal) => {
        concat!(
            "(SELECT i.id FROM job i INDEXED BY job_waiting
              WHERE i.queue = j.queue AND i.lane = j.lane AND i.kind = j.kind AND i.version = j.version
                AND i.state = 'queued' AND NOT i.limited AND ",
            age!("i"),
            " > g.above AND ",
            age!("i"),
            " < g.below
                AND NOT EXISTS (SELECT 1 FROM queue p WHERE p.tenant = i.tenant AND p.name = i.queue AND p.paused)",
            $condition,
            " ORDER BY ",
            age!("i"),
            ", i.id LIMIT ",
            $limit,
            ")"
        )
    };
}

pub(super) use {
    age, claim as claiming, claimable, first_limited, first_waiting, gaps, let_go, limited_streams, may_run, oldest,
    served, streams, unmanaged,
};

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

/// Runs a claim and notes what it moved, by priority and age. A row that cannot be read becomes a dead letter, and costs
/// no other.
pub(super) async fn take(t: &mut Transition<'_>, claim: &Claim, query: Query) -> Result<Vec<ClaimedJob>> {
    let rows = t.rows(query).await?;
    let mut retries = HashMap::new();
    let (mut claimed, mut unreadable) = (Vec::with_capacity(rows.len()), Vec::new());
    for row in &rows {
        let fence = Fence { job: row::id(row, "id")?, attempt: row::number(row, "attempt")?, worker: claim.worker };
        let (tenant, queue): (String, String) = (row::get(row, "tenant")?, row::get(row, "queue")?);
        t.count(&tenant, &queue, JobState::Queued, -1);
        t.arrived(fence.job, &tenant, &queue, row::priority(row)?, JobState::Running);
        match claimed_job(row, claim, &mut retries) {
            Ok(job) => claimed.push(job),
            Err(error) => unreadable.push((fence, check::unreadable(&error))),
        }
    }
    if !unreadable.is_empty() {
        let closed: Vec<Settlement<'_>> = unreadable
            .iter()
            .map(|(fence, why)| Settlement::taken(*fence, Ending::Permanent, Verdict::Dead, why))
            .collect();
        settle(t, &closed).await?;
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
        payload: row::any_json(row, "payload")?,
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
