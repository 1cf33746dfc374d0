//! Complete, for attempts of which nothing follows: jobs that are simply done. Their values are parameters, which cost
//! half of what JSON does.

use std::collections::HashSet;
use std::fmt::Write;
use std::sync::LazyLock;

use gristmill_core::history::Passed;
use gristmill_core::id::JobId;
use gristmill_core::job::JobState;

use super::transition::{Query, Transition};
use super::{SqliteStore, row};
use crate::check;
use crate::error::Result;
use crate::{CompleteReport, Completion};

/// How many rows the statements have room for. What is not bound is NULL, and no job has that id: so few statements do,
/// each of which is prepared once.
const SIZES: [usize; 4] = [1, 8, 64, MAX];

/// How many jobs one statement completes at most.
const MAX: usize = 512;

/// How many parameters a row has.
const PARAMETERS: usize = 5;

static DONE: LazyLock<[String; SIZES.len()]> = LazyLock::new(|| SIZES.map(statement));

/// The fence is in the WHERE. `?1` is now.
fn statement(size: usize) -> String {
    let mut text = String::from("WITH c (id, attempt, worker, output, error) AS MATERIALIZED (VALUES ");
    for row in 0..size {
        let comma = if row == 0 { "" } else { ", " };
        let values: Vec<String> = (0..PARAMETERS).map(|value| format!("?{}", 2 + row * PARAMETERS + value)).collect();
        let _ = write!(text, "{comma}({})", values.join(", "));
    }
    text.push_str(
        ")
        UPDATE job SET state = 'done', worker_id = NULL, deadline = NULL, output = c.output, error = c.error,
                       run_at = NULL, finished_at = ?1
        FROM c
        WHERE job.id = c.id AND job.state = 'running' AND job.attempt = c.attempt AND job.worker_id = c.worker
        RETURNING id, tenant, queue, seq, kind, queued_at, started_at",
    );
    text
}

fn bound(group: &[&Completion], now: i64) -> Result<Query> {
    let size = SIZES.iter().position(|size| *size >= group.len()).unwrap_or(SIZES.len() - 1);
    let mut query = sqlx::query(sqlx::AssertSqlSafe(DONE[size].as_str())).bind(now);
    for one in group {
        query = query
            .bind(one.fence.job.0)
            .bind(one.fence.attempt)
            .bind(one.fence.worker.0)
            .bind(one.output.as_ref().map(check::json).transpose()?)
            .bind(one.error.as_deref().map(|text| check::plain(text, check::ERROR_CHARS_MAX)));
    }
    Ok(query)
}

/// Completes them; `None` when a chunk is among them, and then nothing has happened: its result must be there and count
/// its items.
pub(super) async fn done(store: &SqliteStore, completions: &[Completion]) -> Result<Option<CompleteReport>> {
    // The same fence twice counts once.
    let mut seen = HashSet::with_capacity(completions.len());
    let (first, twice): (Vec<&Completion>, Vec<&Completion>) =
        completions.iter().partition(|one| seen.insert(one.fence.job));
    let mut moved: HashSet<JobId> = HashSet::with_capacity(first.len());
    let mut t = Transition::begin_short(store).await?;
    for group in first.chunks(MAX) {
        for row in &t.rows(bound(group, t.now)?).await? {
            if row::get::<Option<i64>>(row, "seq")?.is_some() {
                return Ok(None);
            }
            let (tenant, queue): (&str, &str) = (row::get(row, "tenant")?, row::get(row, "queue")?);
            t.count(tenant, queue, JobState::Running, -1);
            t.count(tenant, queue, JobState::Done, 1);
            let (wait, run) = row::buckets(row, t.now)?;
            t.flow.count((tenant, queue, row::get(row, "kind")?), Passed::Done, wait, run);
            moved.insert(row::id(row, "id")?);
        }
    }
    t.moved = moved.len() as u64;
    let lost = first.iter().filter(|one| !moved.contains(&one.fence.job));
    let fenced = twice.iter().chain(lost).map(|one| one.fence).collect();
    let dispatched = t.commit().await?.dispatched;
    Ok(Some(CompleteReport { settled: moved.len() as u64, fenced, dispatched, progress: Vec::new() }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_group_has_a_statement_with_room_for_it_and_few_parameters_enough() {
        const { assert!(1 + MAX * PARAMETERS < 32_766) };
        for (size, statement) in SIZES.into_iter().zip(DONE.iter()) {
            assert!(statement.contains(&format!("?{})", 1 + size * PARAMETERS)), "{statement}");
            assert!(!statement.contains(&format!("?{}", 2 + size * PARAMETERS)), "{statement}");
        }
    }
}
