//! Complete: workers' attempts end.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use gristmill_core::batch::BatchState;
use gristmill_core::id::{BatchId, JobId};
use gristmill_core::settle::Verdict;
use serde_json::{Map, Value};

use super::settle::{Settlement, settle};
use super::state::{Tally, kept_json};
use super::transition::Transition;
use super::{Clause, ReferenceStore, insert, messages};
use crate::check;
use crate::error::{Result, StoreError};
use crate::group;
use crate::{CompleteReport, Completion, SqlRows};

/// What is left for a second transition when the fan-in is not in the first: see [`Clause::FanInWithCompletion`].
pub(super) type Late = BTreeMap<BatchId, Tally>;

pub(super) fn complete(store: &ReferenceStore, completions: &[Completion]) -> Result<(CompleteReport, Late)> {
    check::completions(completions)?;
    let mut t = Transition::begin(store);
    let contested = group::contested(completions);
    let holder = |id: &JobId| {
        let job = t.state.jobs.get(id)?;
        Some((*id, (job.attempt, job.worker?)))
    };
    let holders: HashMap<_, _> = contested.iter().filter_map(holder).collect();
    let (asked, mut fenced) = group::one_each(completions, &contested, &holders);
    let settlements: Vec<Settlement<'_>> = asked.iter().map(|one| Settlement::of(one)).collect();
    let moved = settle(&mut t, &settlements)?;
    let (held, lost): (Vec<&Completion>, Vec<_>) = asked.into_iter().partition(|one| moved.contains(&one.fence.job));
    fenced.extend(lost.into_iter().map(|one| one.fence));
    for one in &held {
        if let Some(rows) = &one.sql {
            write_rows(&mut t, rows)?;
        }
    }
    let (mut follow, mut ended_before) = (Vec::new(), Vec::new());
    for one in &held {
        if end_batch(&mut t, one)? {
            follow.extend(one.follow.iter().cloned());
        } else {
            ended_before.push(one.fence.job);
        }
    }
    insert::new_jobs(&mut t, &follow)?;
    for messages in held.iter().filter(|one| one.verdict == Verdict::Done).filter_map(|one| one.messages.as_ref()) {
        messages::enqueue(&mut t, messages)?;
    }
    for one in &held {
        if !ended_before.contains(&one.fence.job) {
            super::transition::emitted(&mut t, &one.events);
        }
    }
    let late = if store.keeps(Clause::FanInWithCompletion) { Late::new() } else { t.take_deltas() };
    let committed = t.commit()?;
    let report = CompleteReport {
        settled: held.len() as u64,
        fenced,
        dispatched: committed.dispatched,
        progress: committed.progress,
    };
    Ok((report, late))
}

/// The fan-in in a separate transition.
pub(super) fn fan_in_late(store: &ReferenceStore, late: &Late, report: &mut CompleteReport) -> Result<()> {
    let mut t = Transition::begin(store);
    t.add_deltas(late);
    let committed = t.commit()?;
    report.dispatched.moved += committed.dispatched.moved;
    report.dispatched.dispatches.extend(committed.dispatched.dispatches);
    report.progress = committed.progress;
    Ok(())
}

/// Records how a batch ends, guarded by its state and generation; returns whether the completion's further jobs are
/// wanted. What an aggregate enqueues reports that ending, and is left out with it when the guard does not hold.
fn end_batch(t: &mut Transition<'_>, completion: &Completion) -> Result<bool> {
    let Some(end) = &completion.batch_end else { return Ok(true) };
    let now = t.now;
    let Some(batch) = t.state.batch_mut(end.batch) else { return Ok(false) };
    if batch.state != BatchState::Aggregating || batch.generation != end.generation {
        return Ok(false);
    }
    let reason = end.reason.as_deref().map(|reason| check::plain(reason, check::REASON_CHARS_MAX));
    let before = batch.reason.take().filter(|_| end.state == BatchState::Halted);
    batch.state = end.state;
    batch.reason = reason.or(before);
    batch.result = Some(kept_json(&end.result)?);
    batch.finished_at = Some(now);
    // An empty change, so that the report contains where the batch stands now.
    t.delta(end.batch);
    super::triggers::batch_ended(t, end.batch, end.state)?;
    Ok(true)
}

/// Writes rows into the user's own table: only the columns that are named.
fn write_rows(t: &mut Transition<'_>, sql: &SqlRows) -> Result<()> {
    if sql.rows.is_empty() {
        return Ok(());
    }
    if sql.columns.is_empty() {
        return Err(StoreError::Invalid("the rows for a table have no columns; name at least one".to_owned()));
    }
    let table = t.state.tables.entry(sql.table.clone()).or_default();
    for row in &sql.rows {
        let value = |column: &String| row.get(column).cloned().unwrap_or(Value::Null);
        let row: Map<String, Value> = sql.columns.iter().map(|column| (column.clone(), value(column))).collect();
        table.push(Arc::new(Value::Object(row)));
    }
    Ok(())
}
