//! One transition: it works on a copy of everything, notes what it moves, and replaces the old state with the copy when
//! it commits. If it is dropped before, nothing has happened.

use std::collections::BTreeMap;
use std::sync::{Arc, MutexGuard, PoisonError};

use gristmill_core::Instant;
use gristmill_core::history::{HistoryStep, Passed};
use gristmill_core::id::{BatchId, JobId};
use gristmill_core::job::{JobState, Priority};

use super::state::{Job, OutboxRow, State, Tally};
use super::{Clause, ReferenceStore, batch_ends, fan_in};
use crate::error::Result;
use crate::{BatchProgress, Dispatch, Dispatched, Purpose};

/// How many ids one outbox row holds at most.
const OUTBOX_IDS_MAX: usize = 1_000;

/// A transition under way. Nothing else reads or changes the store meanwhile.
pub(super) struct Transition<'s> {
    pub(super) store: &'s ReferenceStore,
    truth: MutexGuard<'s, State>,
    /// The state after the commit.
    pub(super) state: State,
    /// One instant for the whole transition.
    pub(super) now: Instant,
    ready: Vec<Ready>,
    deltas: BTreeMap<BatchId, Tally>,
    /// Jobs that have died: a batch whose aggregate is among them ends with it.
    dead: Vec<JobId>,
    /// A batch that was cancelled, to be reported with its last counts.
    pub(super) cancelled: Option<BatchId>,
    /// How many jobs changed their state.
    pub(super) moved: u64,
    claimable: bool,
    /// An attempt that a worker may still be running was closed by another process.
    pub(super) taken_away: bool,
}

/// What a transition left behind.
pub(super) struct Committed {
    pub(super) dispatched: Dispatched,
    pub(super) progress: Vec<BatchProgress>,
}

/// Ids for one outbox row.
struct Ready {
    purpose: Purpose,
    queue: String,
    priority: Priority,
    jobs: Vec<JobId>,
}

impl<'s> Transition<'s> {
    pub(super) fn begin(store: &'s ReferenceStore) -> Self {
        let truth = store.truth.lock().unwrap_or_else(PoisonError::into_inner);
        let state = truth.clone();
        let now = store.clock.now();
        let (ready, deltas, dead) = (Vec::new(), BTreeMap::new(), Vec::new());
        Self {
            store,
            truth,
            state,
            now,
            ready,
            deltas,
            dead,
            cancelled: None,
            moved: 0,
            claimable: false,
            taken_away: false,
        }
    }

    /// Notes that a job is in its state now.
    pub(super) fn arrived(&mut self, job: &Job) {
        self.moved += 1;
        match job.state {
            JobState::Queued => self.ready(Purpose::Dispatch, job),
            JobState::Dead => {
                self.dead.push(job.id);
                self.ready(Purpose::DeadLetter, job);
            }
            JobState::Scheduled | JobState::Running | JobState::Retry | JobState::Done | JobState::Cancelled => {}
        }
    }

    /// Notes for the history that something happened to a job, with the buckets of the times that it waited and ran.
    pub(super) fn passed(&mut self, job: &Job, what: Passed, wait: Option<i16>, run: Option<i16>) {
        let minute = HistoryStep::Minute.begin(self.now);
        let key = (job.tenant.clone(), minute, job.queue.clone(), job.kind.clone());
        self.state.flow.entry(key).or_default().count(what, 1, wait, run);
    }

    /// Notes a job to be dispatched.
    pub(super) fn ready(&mut self, purpose: Purpose, job: &Job) {
        self.claimable |= purpose == Purpose::Dispatch;
        if !self.store.with_outbox {
            return;
        }
        let known = self.ready.iter_mut().find(|ready| {
            ready.purpose == purpose
                && ready.priority == job.priority
                && ready.queue == job.queue
                && ready.jobs.len() < OUTBOX_IDS_MAX
        });
        match known {
            Some(ready) => ready.jobs.push(job.id),
            None => {
                let queue = job.queue.clone();
                self.ready.push(Ready { purpose, queue, priority: job.priority, jobs: vec![job.id] });
            }
        }
    }

    /// The change of a batch so far, to be added to.
    pub(super) fn delta(&mut self, batch: BatchId) -> &mut Tally {
        self.deltas.entry(batch).or_default()
    }

    /// Removes the changes of batches, for a separate transition.
    pub(super) fn take_deltas(&mut self) -> BTreeMap<BatchId, Tally> {
        std::mem::take(&mut self.deltas)
    }

    /// Adds changes of batches.
    pub(super) fn add_deltas(&mut self, deltas: &BTreeMap<BatchId, Tally>) {
        for (batch, by) in deltas {
            self.delta(*batch).add(by);
        }
    }

    /// Changes a job and notes its new state.
    pub(super) fn move_job(&mut self, id: JobId, change: impl FnOnce(&mut Job)) {
        let Some(job) = self.state.jobs.get_mut(&id) else { return };
        change(Arc::make_mut(job));
        let job = Arc::clone(job);
        self.arrived(&job);
    }

    /// Writes what follows from everything that was noted, and commits.
    pub(super) fn commit(mut self) -> Result<Committed> {
        let progress = fan_in::apply(&mut self)?;
        let dead = std::mem::take(&mut self.dead);
        batch_ends::aggregates_died(&mut self, &dead)?;
        if let Some(batch) = self.cancelled {
            batch_ends::cancelled(&mut self, batch)?;
        }
        let dispatches = self.write_outbox();
        *self.truth = self.state;
        if self.claimable {
            self.store.hint();
        }
        if self.taken_away {
            self.store.gone.send_modify(|count| *count += 1);
        }
        Ok(Committed { dispatched: Dispatched { dispatches, moved: self.moved }, progress })
    }

    fn write_outbox(&mut self) -> Vec<Dispatch> {
        let kept = self.store.keeps(Clause::OutboxWithTransition);
        let mut dispatches = Vec::new();
        for Ready { purpose, queue, priority, jobs } in std::mem::take(&mut self.ready) {
            let outbox = self.state.ids.row();
            if kept {
                let row = OutboxRow {
                    purpose,
                    queue: queue.clone(),
                    priority,
                    jobs: jobs.clone(),
                    created_at: self.now,
                    held_until: None,
                };
                self.state.outbox.insert(outbox, Arc::new(row));
            }
            dispatches.push(Dispatch { outbox, queue, priority, purpose, jobs });
        }
        dispatches
    }
}
