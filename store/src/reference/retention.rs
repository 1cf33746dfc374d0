//! Retention, in plain maps.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use gristmill_core::Instant;
use gristmill_core::id::{BatchId, JobId};
use gristmill_core::job::JobState;
use serde_json::{Value, json};
use uuid::Uuid;

use super::ReferenceStore;
use super::control::finish;
use super::expiry::{self, key_of};
use super::poison::is_gone;
use super::state::{Job, State, later};
use super::transition::Transition;
use crate::error::{Result, StoreError};
use crate::retention::{
    being_deleted, check_prune, dies_with_batch, goes_with_batch, newest_id, no_queue, not_ended, refuse_jobs,
    refuse_limit, unfinished_jobs,
};
use crate::{
    ControlReport, DatabaseSize, ExpiryLook, ExpiryPage, PRUNE_ROWS_MAX, Prune, PruneNoun, PruneReport, PrunedView,
    Retention, TableSize,
};

#[async_trait]
impl Retention for ReferenceStore {
    async fn expired(&self, look: &ExpiryLook) -> Result<ExpiryPage> {
        let t = Transition::begin(self);
        expiry::look(&t.state, t.now, look)
    }

    async fn documents(&self, noun: PruneNoun, batch: Option<BatchId>, keys: &[String]) -> Result<Vec<Value>> {
        let t = Transition::begin(self);
        let bookkeeping = matches!(noun, PruneNoun::Discarded | PruneNoun::Keys | PruneNoun::Queues);
        let there = expiry::all(&t.state, noun, batch);
        let known = keys.iter().filter(|key| !bookkeeping && there.contains(*key));
        Ok(known.map(|key| document(&t.state, noun, key)).collect())
    }

    async fn prune(&self, prune: &Prune) -> Result<PruneReport> {
        check_prune(prune)?;
        let mut t = Transition::begin(self);
        let report = delete(&mut t, prune)?;
        t.commit()?;
        Ok(report)
    }

    async fn begin_deletion(
        &self,
        tenant: &str,
        id: BatchId,
        ended: Option<Instant>,
        dry_run: bool,
    ) -> Result<ControlReport> {
        let mut t = Transition::begin(self);
        let report = begin(&mut t, tenant, id, ended)?;
        finish(t, report, dry_run)
    }

    async fn discard_dead(
        &self,
        tenant: &str,
        jobs: &[(JobId, Instant)],
        keys: Duration,
        dry_run: bool,
    ) -> Result<ControlReport> {
        if jobs.len() > PRUNE_ROWS_MAX {
            let what = format!("{} jobs are too many for one call; {PRUNE_ROWS_MAX} is the most", jobs.len());
            return Err(StoreError::Invalid(what));
        }
        let mut t = Transition::begin(self);
        let mut sorted: Vec<_> = jobs.to_vec();
        sorted.sort_unstable();
        let mut dead: Vec<Arc<Job>> = Vec::new();
        for (id, at) in sorted {
            let Some(job) = t.state.jobs.get(&id) else { continue };
            if job.tenant != tenant || job.state != JobState::Dead || job.finished_at != Some(at) {
                continue;
            }
            if let Some(batch) = job.batch.filter(|_| job.seq.is_some() || job.kind == "aggregate") {
                return Err(goes_with_batch(id, batch));
            }
            dead.push(Arc::clone(job));
        }
        let mut report = PruneReport::default();
        for job in &dead {
            remove(&mut t, job, PruneNoun::DeadLetters, keys, &mut report);
        }
        let samples = dead.iter().take(5).map(|job| job.id.to_string()).collect();
        finish(t, ControlReport { affected: dead.len() as u64, samples, ..ControlReport::default() }, dry_run)
    }

    async fn delete_queue(&self, queue: &str, dry_run: bool) -> Result<ControlReport> {
        crate::check::name("queue", queue)?;
        let mut t = Transition::begin(self);
        let mut jobs: BTreeMap<JobState, u64> = BTreeMap::new();
        for job in t.state.jobs.values().filter(|job| job.queue == queue) {
            *jobs.entry(job.state).or_default() += 1;
        }
        refuse_jobs(queue, &jobs)?;
        for (name, limit) in &t.state.limits {
            refuse_limit(queue, name, &limit.spec)?;
        }
        let state = &mut t.state;
        let before = (state.queues.len(), state.pauses.len(), state.queue_specs.len(), state.turns.len());
        state.queues.retain(|(_, name)| name != queue);
        state.pauses.retain(|(_, name), _| name != queue);
        state.queue_specs.remove(queue);
        state.turns.retain(|(name, _), _| name != queue);
        if before == (state.queues.len(), state.pauses.len(), state.queue_specs.len(), state.turns.len()) {
            return Err(no_queue(queue));
        }
        count(&mut t, PruneNoun::Queues, None, &mut PruneReport::default());
        finish(t, ControlReport { affected: 1, samples: vec![queue.to_owned()], ..ControlReport::default() }, dry_run)
    }

    async fn pruned(&self) -> Result<Vec<PrunedView>> {
        let mut views: Vec<PrunedView> = Transition::begin(self).state.pruned.values().cloned().collect();
        views.sort_by_key(|view| view.noun.as_str());
        Ok(views)
    }

    async fn gone_jobs(&self, ids: &[JobId]) -> Result<Vec<JobId>> {
        let t = Transition::begin(self);
        let gone = |id: &&JobId| !t.state.jobs.contains_key(*id) && is_gone(&t.state, **id);
        Ok(ids.iter().filter(gone).copied().collect())
    }

    async fn size(&self) -> Result<DatabaseSize> {
        let t = Transition::begin(self);
        let table =
            |name: &str, rows: usize| TableSize { name: name.to_owned(), rows: rows as u64, bytes: 0, index_bytes: 0 };
        let tables = vec![table("job", t.state.jobs.len()), table("batch", t.state.batches.len())];
        Ok(DatabaseSize { bytes: 0, free_bytes: None, log_bytes: None, tables })
    }
}

/// Deletes those of the rows that have ended, and that are as they were seen.
fn delete(t: &mut Transition<'_>, prune: &Prune) -> Result<PruneReport> {
    let mut report = PruneReport::default();
    if let Some(id) = prune.batch
        && !t.state.batches.get(&id).is_some_and(|batch| batch.deleting && batch.finished_at.is_some())
    {
        return Ok(report);
    }
    // A plan for all of them, as a database judges them before it deletes the first.
    let all = ExpiryLook { batch: prune.batch, limit: u32::MAX, ..ExpiryLook::first(prune.noun) };
    let ended = expiry::whole(&t.state, t.now, &all)?;
    let ended: BTreeMap<&str, _> = ended.rows.iter().map(|row| (row.key.as_str(), row)).collect();
    for (key, at) in &prune.rows {
        let Some(row) = ended.get(key.as_str()) else { continue };
        // What has no time of its own, and what is only bookkeeping, is deleted as it is.
        if row.at != *at && !matches!(row.noun, PruneNoun::Discarded | PruneNoun::Keys | PruneNoun::Queues) {
            continue;
        }
        remove_row(t, prune, row.noun, key, &mut report)?;
    }
    Ok(report)
}

fn remove_row(
    t: &mut Transition<'_>,
    prune: &Prune,
    noun: PruneNoun,
    key: &str,
    report: &mut PruneReport,
) -> Result<()> {
    let id = |key: &str| key.parse::<Uuid>().unwrap_or_default();
    let number = |key: &str| key.parse::<i64>().unwrap_or_default();
    let within = prune.batch.unwrap_or(BatchId(Uuid::nil()));
    match noun {
        PruneNoun::Jobs | PruneNoun::DeadLetters | PruneNoun::Chunks => {
            if let Some(job) = t.state.jobs.get(&JobId(id(key))).cloned() {
                remove(t, &job, noun, prune.keys, report);
            }
            return Ok(());
        }
        PruneNoun::Batches => return remove_batch(t, BatchId(id(key)), prune.keys, report),
        PruneNoun::Results => drop(t.state.results.remove(&(within, number(key)))),
        PruneNoun::Quarantine => drop(t.state.quarantine.remove(&number(key))),
        PruneNoun::Poison => drop(t.state.poison.remove(&number(key))),
        PruneNoun::Backfills => drop(t.state.backfills.remove(&id(key))),
        PruneNoun::Ticks | PruneNoun::Triggers => t.state.ticks.retain(|tick, _| key_of(tick) != key),
        PruneNoun::Emails => {
            super::mailing::remove_emails(&mut t.state, |(tenant, email)| named(&[tenant, email]) == key)
        }
        PruneNoun::Keys => t.state.idempotency.retain(|(tenant, scope, own), _| named(&[tenant, scope, own]) != key),
        PruneNoun::Queues => t.state.queues.retain(|(tenant, name)| named(&[tenant, name]) != key),
        PruneNoun::Discarded => {
            let Some(place) = t.state.discarded.iter().position(|one| one.batch.0 == id(key)) else { return Ok(()) };
            let last = t.state.discarded.remove(place).last;
            count(t, noun, Some(last.0), report);
            return Ok(());
        }
    }
    count(t, noun, None, report);
    Ok(())
}

/// Marks a batch as being deleted.
pub(super) fn begin(
    t: &mut Transition<'_>,
    tenant: &str,
    id: BatchId,
    ended: Option<Instant>,
) -> Result<ControlReport> {
    let unfinished = t.state.jobs.values().filter(|job| job.batch == Some(id) && !job.state.is_final()).count() as u64;
    let batch = t.state.batch_mut(id).filter(|batch| batch.tenant == tenant);
    let batch = batch.ok_or_else(|| StoreError::NotFound(format!("there is no batch {id}")))?;
    if !batch.state.is_final() {
        return Err(not_ended(id, batch.state));
    }
    if batch.deleting || ended.is_some() && batch.finished_at != ended {
        return Ok(ControlReport::default());
    }
    if unfinished > 0 {
        return Err(unfinished_jobs(id, unfinished));
    }
    batch.deleting = true;
    let affected = u64::try_from(batch.tally.chunks).unwrap_or(0);
    Ok(ControlReport { affected, samples: vec![id.to_string()], ..ControlReport::default() })
}

/// Removes a job, and keeps its idempotency key for as long as it is promised.
pub(super) fn remove(t: &mut Transition<'_>, job: &Job, noun: PruneNoun, keys: Duration, report: &mut PruneReport) {
    t.state.remove_job(job.id);
    if let Some(key) = job.idempotency_key.as_ref().filter(|key| job.batch.is_none() || !dies_with_batch(key)) {
        keep_key(t, (&job.tenant, "job", key), job.id.0, later(job.created_at, keys), report);
    }
    count(t, noun, Some(job.id.0), report);
}

fn remove_batch(t: &mut Transition<'_>, id: BatchId, keys: Duration, report: &mut PruneReport) -> Result<()> {
    let left = t.state.jobs.values().any(|job| job.batch == Some(id))
        || t.state.results.keys().any(|(batch, _)| *batch == id)
        || t.state.quarantine.values().any(|item| item.view.batch == id);
    let batch = Arc::clone(t.state.batches.get(&id).ok_or_else(|| being_deleted(id))?);
    let spools = !matches!(batch.spools, None | Some(super::state::Spools::Removed));
    if left || spools || !batch.deleting {
        return Ok(());
    }
    t.state.batches.remove(&id);
    if let Some(key) = &batch.idempotency_key {
        keep_key(t, (&batch.tenant, "batch", key), id.0, later(batch.created_at, keys), report);
    }
    count(t, PruneNoun::Batches, Some(id.0), report);
    Ok(())
}

fn keep_key(
    t: &mut Transition<'_>,
    (tenant, scope, key): (&str, &'static str, &str),
    id: Uuid,
    until: Instant,
    report: &mut PruneReport,
) {
    if until > t.now {
        t.state.idempotency.insert((tenant.to_owned(), scope, key.to_owned()), (id, until));
        report.keys_kept += 1;
    }
}

fn count(t: &mut Transition<'_>, noun: PruneNoun, id: Option<Uuid>, report: &mut PruneReport) {
    let now = t.now;
    let first = PrunedView { noun, deleted: 0, since: now, last_at: now, horizon: None };
    let view = t.state.pruned.entry(noun).or_insert(first);
    view.deleted += 1;
    view.last_at = now;
    view.horizon = view.horizon.max(id.map(|id| id.min(newest_id(now))));
    match report.deleted.iter_mut().find(|(known, _)| *known == noun) {
        Some((_, rows)) => *rows += 1,
        None => {
            report.deleted.push((noun, 1));
            report.deleted.sort_unstable();
        }
    }
}

/// What an archive would have of a row: here no more than what identifies it.
fn document(state: &State, noun: PruneNoun, key: &str) -> Value {
    let job = key.parse().ok().and_then(|id| state.jobs.get(&JobId(id)));
    match (noun, job) {
        (PruneNoun::Jobs | PruneNoun::DeadLetters | PruneNoun::Chunks, Some(job)) => json!({
            "noun": noun, "id": job.id, "tenant": job.tenant, "queue": job.queue, "kind": job.kind, "state": job.state,
            "payload": job.payload, "attempts": job.attempts.iter().map(|one| json!({ "attempt": one.attempt })).collect::<Vec<_>>(),
        }),
        _ => json!({ "noun": noun, "id": key }),
    }
}

/// The key of a row that has several parts.
fn named(parts: &[&str]) -> String {
    json!(parts).to_string()
}
