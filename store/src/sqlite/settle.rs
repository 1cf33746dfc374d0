//! What becomes of attempts that have ended: the only way out of `running`, for completions by workers and for
//! everything that the store takes back from them.

use std::collections::{HashMap, HashSet};

use gristmill_core::chunk::ChunkResult;
use gristmill_core::history::Passed;
use gristmill_core::id::JobId;
use gristmill_core::job::{Fence, JobState};
use gristmill_core::settle::{Ending, Verdict};
use sqlx::sqlite::SqliteRow;

use super::row::{self, Moved, moved_columns};
use super::transition::{Delta, Transition, later};
use crate::Completion;
use crate::check;
use crate::error::Result;

/// One attempt that has ended.
#[derive(Debug, Clone, Copy)]
pub(super) struct Settlement<'a> {
    pub(super) fence: Fence,
    pub(super) ending: Ending,
    pub(super) verdict: Verdict,
    pub(super) error: Option<&'a str>,
    pub(super) output: Option<&'a serde_json::Value>,
    pub(super) chunk: Option<&'a ChunkResult>,
    /// Whether a worker reported it; the store itself may close the last attempt of a chunk whose halves continue.
    by_worker: bool,
}

impl<'a> Settlement<'a> {
    /// What a worker reports about its attempt.
    pub(super) fn of(completion: &'a Completion) -> Self {
        Self {
            fence: completion.fence,
            ending: completion.ending,
            verdict: completion.verdict,
            error: completion.error.as_deref(),
            output: completion.output.as_ref(),
            chunk: completion.chunk.as_ref(),
            by_worker: true,
        }
    }

    /// What the store itself decides about an attempt.
    pub(super) fn taken(fence: Fence, ending: Ending, verdict: Verdict, error: &'a str) -> Self {
        Self { fence, ending, verdict, error: Some(error), output: None, chunk: None, by_worker: false }
    }

    fn state(&self) -> JobState {
        self.verdict.state()
    }
}

/// Closes the attempts whose fence holds, with all consequences, and returns the jobs that moved, by id. No two
/// settlements may have the same job.
pub(super) async fn settle(t: &mut Transition<'_>, all: &[Settlement<'_>]) -> Result<HashMap<JobId, Moved>> {
    let moved = fence(t, all).await?;
    let held: Vec<(&Settlement<'_>, &Moved)> =
        all.iter().filter_map(|s| moved.get(&s.fence.job).map(|job| (s, job))).collect();
    for (settlement, job) in &held {
        t.moved(job, JobState::Running, settlement.state());
        if let Some(batch) = job.chunk_of() {
            add(t.delta(batch), settlement, job)?;
        }
    }
    write_attempts(t, &held).await?;
    write_results(t, &held).await?;
    write_quarantine(t, &held).await?;
    Ok(moved)
}

/// Moves the jobs that still run under exactly this attempt of exactly this worker.
async fn fence(t: &mut Transition<'_>, all: &[Settlement<'_>]) -> Result<HashMap<JobId, Moved>> {
    let rows: Vec<_> = all
        .iter()
        .map(|s| {
            let run_at = match s.verdict {
                Verdict::Retry { after } | Verdict::Snooze { after } => Some(later(t.now, after)),
                Verdict::Done | Verdict::Requeue | Verdict::Release | Verdict::Dead | Verdict::Revoked => None,
            };
            let snoozed = i64::from(matches!(s.verdict, Verdict::Snooze { .. }));
            let given_back = i64::from(s.verdict == Verdict::Release);
            let output = s.output.map(check::json).transpose()?;
            let error = s.error.map(|text| check::plain(text, check::ERROR_CHARS_MAX));
            let fence = (s.fence.job, s.fence.attempt, s.fence.worker);
            Ok((fence.0, fence.1, fence.2, s.state().as_str(), given_back, run_at, error, output, snoozed))
        })
        .collect::<Result<_>>()?;
    let statement = concat!(
        "WITH c AS MATERIALIZED (
            SELECT unhex(value ->> 0, '-') AS id, value ->> 1 AS attempt, unhex(value ->> 2, '-') AS worker,
                   value ->> 3 AS state, value ->> 4 AS given_back, value ->> 5 AS run_at, value ->> 6 AS error,
                   value ->> 7 AS output, value ->> 8 AS snoozed
            FROM json_each(?1))
         UPDATE job SET
            state = c.state, attempt = job.attempt - c.given_back, max_attempts = job.max_attempts + c.snoozed,
            snoozes = job.snoozes + c.snoozed, worker_id = NULL, deadline = NULL,
            run_at = c.run_at, queued_at = CASE c.state WHEN 'queued' THEN ?2 ELSE job.queued_at END,
            finished_at = CASE WHEN c.state IN ('done', 'dead') THEN ?2 END,
            error = CASE c.state WHEN 'done' THEN c.error ELSE coalesce(c.error, job.error) END, output = c.output
         FROM c
         WHERE job.id = c.id AND job.state = 'running' AND job.attempt = c.attempt AND job.worker_id = c.worker
         RETURNING job.attempt >= job.max_attempts AS spent, kind, queued_at, started_at, ",
        moved_columns!()
    );
    let moved = t.rows(sqlx::query(statement).bind(check::json::<Vec<_>>(&rows)?).bind(t.now)).await?;
    let spent: HashSet<JobId> = ids_where(&moved, "spent")?;
    for s in all {
        check::not_spent(s.fence.job, s.verdict, s.by_worker && spent.contains(&s.fence.job))?;
    }
    note_passed(t, all, &moved)?;
    moved.iter().map(|moved| row::moved(moved).map(|job| (job.id, job))).collect()
}

/// Notes for the history how the attempts have ended.
fn note_passed(t: &mut Transition<'_>, all: &[Settlement<'_>], moved: &[SqliteRow]) -> Result<()> {
    let verdicts: HashMap<JobId, Verdict> = all.iter().map(|one| (one.fence.job, one.verdict)).collect();
    for row in moved {
        let Some(what) = verdicts.get(&row::id(row, "id")?).copied().and_then(Passed::of) else { continue };
        let (wait, run) = row::buckets(row, t.now)?;
        let whose = (row::get(row, "tenant")?, row::get(row, "queue")?, row::get(row, "kind")?);
        t.flow.count(whose, what, wait, run);
    }
    Ok(())
}

fn ids_where(rows: &[SqliteRow], flag: &str) -> Result<HashSet<JobId>> {
    let mut ids = HashSet::new();
    for row in rows {
        if row::flag(row, flag)? {
            ids.insert(row::id(row, "id")?);
        }
    }
    Ok(ids)
}

/// What a chunk's ending means for its batch.
fn add(delta: &mut Delta, settlement: &Settlement<'_>, job: &Moved) -> Result<()> {
    match settlement.verdict {
        Verdict::Done => {
            let result = check::counted(job.id, job.items, settlement.chunk)?;
            delta.remaining -= 1;
            delta.ok += signed(result.ok);
            delta.skipped += signed(result.skipped);
            delta.quarantined += signed(result.quarantined);
        }
        Verdict::Dead => {
            delta.remaining -= 1;
            delta.dead += 1;
            delta.quarantined += job.items;
        }
        Verdict::Retry { .. } => delta.retries += 1,
        Verdict::Requeue | Verdict::Release | Verdict::Snooze { .. } | Verdict::Revoked => {}
    }
    Ok(())
}

fn signed(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

async fn write_attempts(t: &mut Transition<'_>, held: &[(&Settlement<'_>, &Moved)]) -> Result<()> {
    let rows: Vec<_> = held
        .iter()
        .filter(|(settlement, _)| settlement.ending != Ending::Done)
        .map(|(s, _)| {
            let error = s.error.map(|text| check::plain(text, check::ERROR_CHARS_MAX));
            (s.fence.job, s.fence.attempt, s.fence.worker, s.ending.as_str(), error)
        })
        .collect();
    if rows.is_empty() {
        return Ok(());
    }
    let statement = "
        INSERT INTO attempt (job_id, attempt, worker_id, ending, error, started_at, ended_at)
        SELECT unhex(value ->> 0, '-'), value ->> 1, unhex(value ->> 2, '-'), value ->> 3, value ->> 4,
               (SELECT started_at FROM job WHERE id = unhex(value ->> 0, '-')), ?2
        FROM json_each(?1) ORDER BY key";
    t.run(sqlx::query(statement).bind(check::json(&rows)?).bind(t.now)).await?;
    Ok(())
}

async fn write_results(t: &mut Transition<'_>, held: &[(&Settlement<'_>, &Moved)]) -> Result<()> {
    let mut rows = Vec::new();
    for (settlement, job) in held.iter().filter(|(settlement, _)| settlement.verdict == Verdict::Done) {
        if let (Some(batch), Some(result)) = (job.chunk_of(), settlement.chunk) {
            rows.push((batch, job.seq, job.generation, job.id, check::json(result)?));
        }
    }
    if rows.is_empty() {
        return Ok(());
    }
    let statement = "
        INSERT INTO result (batch_id, seq, generation, job_id, result)
        SELECT unhex(value ->> 0, '-'), value ->> 1, value ->> 2, unhex(value ->> 3, '-'), value ->> 4
        FROM json_each(?1)";
    t.run(sqlx::query(statement).bind(check::json(&rows)?)).await?;
    Ok(())
}

async fn write_quarantine(t: &mut Transition<'_>, held: &[(&Settlement<'_>, &Moved)]) -> Result<()> {
    let mut rows = Vec::new();
    for (settlement, job) in held.iter().filter(|(settlement, _)| settlement.verdict == Verdict::Done) {
        let (Some(batch), Some(result)) = (job.chunk_of(), settlement.chunk) else { continue };
        for item in &result.set_aside {
            let stage = check::plain(&item.stage, check::REASON_CHARS_MAX);
            let reason = check::plain(&item.reason, check::REASON_CHARS_MAX);
            let (seq, generation) = (job.seq, job.generation);
            let item_text = check::json(&item.item)?;
            rows.push((&job.tenant, batch, seq, generation, item.position, item.line, stage, reason, item_text));
        }
    }
    if rows.is_empty() {
        return Ok(());
    }
    let statement = "
        INSERT INTO quarantine (tenant, batch_id, seq, generation, position, line, stage, reason, item, created_at)
        SELECT value ->> 0, unhex(value ->> 1, '-'), value ->> 2, value ->> 3, value ->> 4, value ->> 5, value ->> 6,
               value ->> 7, value ->> 8, ?2
        FROM json_each(?1) ORDER BY key";
    t.run(sqlx::query(statement).bind(check::json(&rows)?).bind(t.now)).await?;
    Ok(())
}
