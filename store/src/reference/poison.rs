//! Messages that no process can act upon.

use std::collections::BTreeSet;
use std::sync::Arc;

use async_trait::async_trait;
use gristmill_core::Instant;
use gristmill_core::id::{BatchId, JobId};

use super::ReferenceStore;
use super::state::{Discarded, State};
use super::transition::Transition;
use crate::check;
use crate::error::{Result, StoreError};
use crate::{ControlReport, NewPoison, POISON_BYTES_MAX, Page, Poison, PoisonMessage, PoisonView, PruneNoun};

#[async_trait]
impl Poison for ReferenceStore {
    async fn record_poison(&self, poison: &[NewPoison]) -> Result<()> {
        let mut t = Transition::begin(self);
        let now = t.now;
        for one in poison {
            let queue = check::plain(&one.queue, check::REASON_CHARS_MAX);
            let known =
                t.state.poison.values_mut().find(|kept| kept.view.queue == queue && kept.view.sha256 == one.sha256);
            let (reason, source) = (check::plain(&one.reason, check::REASON_CHARS_MAX), one.source.as_str().to_owned());
            if let Some(known) = known {
                let known = Arc::make_mut(known);
                known.view.seen += 1;
                (known.view.first_at, known.view.last_at) = (known.view.first_at.min(now), known.view.last_at.max(now));
                (known.view.reason, known.view.source) = (reason, source);
                known.headers = one.headers.clone();
                continue;
            }
            let id = t.state.ids.row();
            let (sha256, size) = (one.sha256.clone(), one.size);
            let view = PoisonView { id, queue, sha256, size, reason, source, seen: 1, first_at: now, last_at: now };
            let bytes = one.bytes[..one.bytes.len().min(POISON_BYTES_MAX)].to_vec();
            t.state.poison.insert(id, Arc::new(PoisonMessage { view, headers: one.headers.clone(), bytes }));
        }
        t.commit()?;
        Ok(())
    }

    async fn unknown_jobs(&self, ids: &[JobId]) -> Result<Vec<JobId>> {
        let t = Transition::begin(self);
        Ok(ids.iter().copied().filter(|id| is_unknown(&t.state, *id)).collect())
    }

    async fn poison(&self, page: &Page) -> Result<Vec<PoisonView>> {
        let after: Option<i64> = match &page.after {
            None => None,
            Some(after) => Some(after.parse().map_err(|_| {
                StoreError::Invalid(format!("`{after}` is no key of this list; give a number from the last row before"))
            })?),
        };
        let t = Transition::begin(self);
        let older = t.state.poison.values().rev().filter(|kept| after.is_none_or(|after| kept.view.id < after));
        Ok(older.take(page.limit.clamp(1, 1_000) as usize).map(|kept| kept.view.clone()).collect())
    }

    async fn poison_message(&self, id: i64) -> Result<Option<PoisonMessage>> {
        Ok(Transition::begin(self).state.poison.get(&id).map(|kept| (**kept).clone()))
    }

    async fn drop_poison(&self, ids: &[i64], dry_run: bool) -> Result<ControlReport> {
        let mut t = Transition::begin(self);
        let wanted: BTreeSet<i64> = ids.iter().copied().collect();
        let gone: Vec<i64> = wanted.into_iter().filter(|id| t.state.poison.remove(id).is_some()).collect();
        if !dry_run {
            t.commit()?;
        }
        let samples = gone.iter().take(5).map(i64::to_string).collect();
        Ok(ControlReport { affected: gone.len() as u64, samples, ..ControlReport::default() })
    }
}

/// Whether no job has this id, and no job of a discarded batch had it.
pub(super) fn is_unknown(state: &State, id: JobId) -> bool {
    let discarded = state.discarded.iter().any(|batch| (batch.first..=batch.last).contains(&id));
    !state.jobs.contains_key(&id) && !discarded && !is_gone(state, id)
}

/// Whether jobs as old as this one have been deleted.
pub(super) fn is_gone(state: &State, id: JobId) -> bool {
    let jobs = state.pruned.iter().filter(|(noun, _)| **noun != PruneNoun::Batches);
    jobs.filter_map(|(_, view)| view.horizon).any(|horizon| id.0 <= horizon)
}

/// Remembers that a batch's jobs are about to be deleted: messages that name them are not poison.
pub(super) fn remember_discarded(state: &mut State, batch: BatchId, jobs: &[JobId], at: Instant) {
    if let (Some(first), Some(last)) = (jobs.iter().min(), jobs.iter().max()) {
        state.discarded.push(Discarded { batch, first: *first, last: *last, at });
    }
}
