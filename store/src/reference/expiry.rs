//! What has ended, in plain maps.

use std::collections::BTreeSet;

use gristmill_core::Instant;
use gristmill_core::id::BatchId;
use gristmill_core::job::JobState;
use serde_json::json;
use uuid::Uuid;

use super::schedules::Tick;
use super::state::{Batch, Job, State, WorkerState};
use crate::error::Result;
use crate::retention::newest_id;
use crate::{ExpiredRow, ExpiryLook, ExpiryPage, PruneNoun, StoreError, TickOutcome, WALK_ROWS_MAX};

/// The key of a row of the ledger.
pub(super) fn key_of((tenant, schedule, tick): &(String, String, Instant)) -> String {
    json!([tenant, schedule, tick.timestamp_micros()]).to_string()
}

/// One page of a noun.
pub(super) fn look(state: &State, now: Instant, look: &ExpiryLook) -> Result<ExpiryPage> {
    let limit = usize::try_from(look.limit.clamp(1, WALK_ROWS_MAX)).unwrap_or(usize::MAX);
    page(state, now, look, limit)
}

/// All of a noun.
pub(super) fn whole(state: &State, now: Instant, look: &ExpiryLook) -> Result<ExpiryPage> {
    page(state, now, look, usize::MAX)
}

/// The keys of all rows of a noun, whether they have ended or not.
pub(super) fn all(state: &State, noun: PruneNoun, batch: Option<BatchId>) -> BTreeSet<String> {
    let within = batch.unwrap_or(BatchId(Uuid::nil()));
    walk(state, Instant::MIN_UTC, noun, within).into_iter().map(|walked| walked.row.key).collect()
}

fn page(state: &State, now: Instant, look: &ExpiryLook, limit: usize) -> Result<ExpiryPage> {
    let bound = look.created_before.map_or(Uuid::max(), newest_id);
    let by_id = matches!(look.noun, PruneNoun::Jobs | PruneNoun::DeadLetters | PruneNoun::Batches);
    let all = walk(state, now, look.noun, look.batch.unwrap_or(BatchId(Uuid::nil())));
    let within = |walked: &&Walked| !by_id || walked.row.key.parse::<Uuid>().is_ok_and(|id| id <= bound);
    let all: Vec<&Walked> = all.iter().filter(within).collect();
    let begin = match &look.after {
        None => 0,
        Some(after) => {
            let known = all.iter().position(|walked| walked.cursor == *after);
            known.map(|place| place + 1).or_else(|| behind(&all, after)).ok_or_else(|| {
                StoreError::Invalid(format!("`{after}` is no cursor over {}; an id is needed", look.noun))
            })?
        }
    };
    let walked: Vec<&&Walked> = all[begin..].iter().take(limit).collect();
    let next = walked.last().filter(|_| walked.len() == limit).map(|last| last.cursor.clone());
    Ok(ExpiryPage { now, rows: walked.into_iter().filter(|one| one.ended).map(|one| one.row.clone()).collect(), next })
}

/// Where a walk goes on when the row of its cursor is gone.
fn behind(all: &[&Walked], after: &str) -> Option<usize> {
    if let Ok(id) = after.parse::<Uuid>() {
        return Some(all.iter().filter(|one| one.cursor.parse::<Uuid>().is_ok_and(|own| own < id)).count());
    }
    if let Ok(number) = after.parse::<i64>() {
        return Some(all.iter().filter(|one| one.cursor.parse::<i64>().is_ok_and(|own| own < number)).count());
    }
    let parts: serde_json::Value = serde_json::from_str(after).ok().filter(serde_json::Value::is_array)?;
    let less = |one: &&&Walked| {
        let own: serde_json::Value = serde_json::from_str(&one.cursor).unwrap_or_default();
        let key = |value: &serde_json::Value| {
            let parts = value.as_array().cloned().unwrap_or_default();
            parts.iter().map(|part| (part.as_i64(), part.as_str().map(str::to_owned))).collect::<Vec<_>>()
        };
        key(&own) < key(&parts)
    };
    Some(all.iter().filter(less).count())
}

struct Walked {
    cursor: String,
    row: ExpiredRow,
    ended: bool,
}

fn row(noun: PruneNoun, key: String, at: Option<Instant>) -> ExpiredRow {
    let (tenant, name) = (String::new(), String::new());
    ExpiredRow { noun, key, at, tenant, name, unsolved: false, deleting: false, weight: 1 }
}

fn plain(row: ExpiredRow, ended: bool) -> Walked {
    Walked { cursor: row.key.clone(), row, ended }
}

fn walk(state: &State, now: Instant, noun: PruneNoun, within: BatchId) -> Vec<Walked> {
    match noun {
        PruneNoun::Jobs | PruneNoun::DeadLetters => state.jobs.values().map(|job| walked_job(job, now)).collect(),
        PruneNoun::Chunks => {
            let mut jobs: Vec<_> = state.jobs.values().filter(|job| job.batch == Some(within)).collect();
            jobs.sort_by_key(|job| (job.state.as_str(), job.kind.clone(), job.id));
            let cursor = |job: &Job| json!([job.state, job.kind, job.id]).to_string();
            let chunk = |job: &Job| {
                let row = ExpiredRow { noun: PruneNoun::Chunks, ..walked_job(job, now).row };
                Walked { cursor: cursor(job), row, ended: job.finished_at.is_some() }
            };
            jobs.into_iter().map(|job| chunk(job)).collect()
        }
        PruneNoun::Batches => state.batches.values().map(|batch| walked_batch(state, batch)).collect(),
        PruneNoun::Results => {
            let results = state.results.keys().filter(|(batch, _)| *batch == within);
            results.map(|(_, seq)| plain(row(noun, seq.to_string(), None), true)).collect()
        }
        PruneNoun::Quarantine => {
            let mut items: Vec<_> = state.quarantine.values().filter(|item| item.view.batch == within).collect();
            items.sort_by_key(|item| (item.view.state.clone(), item.view.id));
            let walked = |state: &str, id: i64| {
                let cursor = json!([state, id]).to_string();
                Walked { cursor, row: row(noun, id.to_string(), None), ended: true }
            };
            items.into_iter().map(|item| walked(&item.view.state, item.view.id)).collect()
        }
        PruneNoun::Ticks | PruneNoun::Triggers => {
            state.ticks.iter().map(|(key, tick)| walked_tick(state, key, tick)).collect()
        }
        PruneNoun::Backfills => state.backfills.keys().map(|id| walked_backfill(state, *id)).collect(),
        PruneNoun::Emails => {
            let walked = state.emails.iter().map(|((tenant, key), email)| {
                let row = row(noun, json!([tenant, key]).to_string(), Some(email.moved_at));
                plain(ExpiredRow { tenant: tenant.clone(), ..row }, !state.jobs.contains_key(&email.job))
            });
            walked.collect()
        }
        PruneNoun::Poison => {
            let kept = state.poison.values();
            kept.map(|kept| plain(row(noun, kept.view.id.to_string(), Some(kept.view.last_at)), true)).collect()
        }
        PruneNoun::Discarded | PruneNoun::Keys | PruneNoun::Queues => walk_bookkeeping(state, now, noun),
    }
}

/// What is not archived.
fn walk_bookkeeping(state: &State, now: Instant, noun: PruneNoun) -> Vec<Walked> {
    match noun {
        PruneNoun::Discarded => {
            let mut kept: Vec<_> = state.discarded.clone();
            kept.sort_by_key(|one| one.batch);
            kept.into_iter().map(|one| plain(row(noun, one.batch.to_string(), Some(one.at)), true)).collect()
        }
        PruneNoun::Keys => {
            let walked = state.idempotency.iter().map(|((tenant, scope, key), (_, until))| {
                let row = row(noun, json!([tenant, scope, key]).to_string(), Some(*until));
                plain(ExpiredRow { tenant: tenant.clone(), ..row }, *until <= now)
            });
            let mut walked: Vec<Walked> = walked.collect();
            walked.sort_by_key(|one| serde_json::from_str::<Vec<String>>(&one.cursor).unwrap_or_default());
            walked
        }
        _ => {
            let walked = state.queues.iter().map(|(tenant, name)| {
                let row = row(noun, json!([tenant, name]).to_string(), None);
                let row = ExpiredRow { tenant: tenant.clone(), name: name.clone(), ..row };
                plain(row, !needed(state, tenant, name))
            });
            walked.collect()
        }
    }
}

fn walked_job(job: &Job, now: Instant) -> Walked {
    let dead = job.state == JobState::Dead;
    let noun = if dead { PruneNoun::DeadLetters } else { PruneNoun::Jobs };
    let row = ExpiredRow {
        tenant: job.tenant.clone(),
        name: job.queue.clone(),
        weight: job.attempt + 1,
        ..row(noun, job.id.to_string(), job.finished_at)
    };
    plain(row, job.batch.is_none() && job.finished_at.is_some() && job.holds(now).is_none())
}

fn walked_batch(state: &State, batch: &Batch) -> Walked {
    let mut jobs = state.jobs.values().filter(|job| job.batch == Some(batch.id));
    let unfinished = jobs.clone().any(|job| !job.state.is_final());
    let open = state.quarantine.values().any(|item| item.view.batch == batch.id && item.view.state == "open");
    let row = ExpiredRow {
        tenant: batch.tenant.clone(),
        name: batch.name.clone(),
        unsolved: open || jobs.any(|job| job.state == JobState::Dead),
        deleting: batch.deleting,
        ..row(PruneNoun::Batches, batch.id.to_string(), batch.finished_at)
    };
    plain(row, batch.finished_at.is_some() && !unfinished)
}

fn walked_tick(state: &State, key: &(String, String, Instant), tick: &Tick) -> Walked {
    let view = &tick.view;
    let waits = view.active || matches!(view.outcome, TickOutcome::Buffered | TickOutcome::Waiting);
    let runs = view.batch.is_some_and(|batch| state.batches.contains_key(&batch))
        || view.job.is_some_and(|job| state.jobs.contains_key(&job));
    let scheduled = state.schedules.contains_key(&(key.0.clone(), key.1.clone()));
    let newest = !state.ticks.keys().any(|other| other.0 == key.0 && other.1 == key.1 && other.2 > key.2);
    let noun = if view.event.is_some() { PruneNoun::Triggers } else { PruneNoun::Ticks };
    let row = ExpiredRow {
        tenant: key.0.clone(),
        name: key.1.clone(),
        ..row(noun, key_of(key), Some(view.ended_at.unwrap_or(view.decided_at)))
    };
    plain(row, !(waits || runs || scheduled && newest))
}

fn walked_backfill(state: &State, id: Uuid) -> Walked {
    let Some(backfill) = state.backfills.get(&id) else {
        return plain(row(PruneNoun::Backfills, id.to_string(), None), false);
    };
    let under_way = state.ticks.values().any(|tick| {
        let view = &tick.view;
        let waits = view.active || matches!(view.outcome, TickOutcome::Buffered | TickOutcome::Waiting);
        view.backfill == Some(id) && waits
    });
    let row = ExpiredRow {
        tenant: backfill.tenant.clone(),
        name: backfill.view.schedule.clone(),
        ..row(PruneNoun::Backfills, id.to_string(), Some(backfill.view.created_at))
    };
    plain(row, !under_way)
}

/// Whether a queue stays although it may have no job.
fn needed(state: &State, tenant: &str, name: &str) -> bool {
    let jobs = state.jobs.values().any(|job| job.tenant == tenant && job.queue == name);
    let served = state
        .workers
        .values()
        .any(|worker| worker.state == WorkerState::Alive && worker.entered.queues.iter().any(|queue| queue == name));
    jobs || served || state.queue_paused(tenant, name) || state.queue_specs.contains_key(name)
}
