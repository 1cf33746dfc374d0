//! One transition: it works on a copy of everything, notes what it moves, and replaces the old state with the copy when
//! it commits. If it is dropped before, nothing has happened.

use std::collections::BTreeMap;
use std::sync::{Arc, MutexGuard, PoisonError};

use gristmill_core::Instant;
use gristmill_core::event::own::OwnType;
use gristmill_core::event::{Cause, Event};
use gristmill_core::history::{HistoryStep, Passed};
use gristmill_core::id::{BatchId, JobId};
use gristmill_core::job::{JobState, Priority};
use serde_json::{Value, json};
use uuid::Uuid;

use super::state::{Job, KeptEvent, OutboxRow, State, Tally};
use super::{Clause, ReferenceStore, batch_ends, fan_in};
use crate::check;
use crate::error::Result;
use crate::sql::events::own;
use crate::sql::events::published::{Row, check_same};
use crate::{BatchProgress, Dispatch, Dispatched, Publication, Purpose};

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
    /// Events are published with it.
    pub(super) published: bool,
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
            published: false,
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
        jobs_died(&mut self, &dead);
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
            self.store.gone.hint();
        }
        if self.published {
            self.store.published.hint();
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

/// An event with what the store adds to it: its version, and what caused it.
pub(super) fn given(state: &State, event: &Publication) -> Row {
    let newest = state.event_schemas.keys().filter(|key| key.0 == event.tenant && key.1 == event.draft.kind);
    let newest = newest.map(|key| key.2).max().unwrap_or(1);
    Row {
        tenant: event.tenant.clone(),
        draft: event.draft.clone(),
        version: event.draft.version.unwrap_or(newest),
        user: event.user.clone(),
        cause: event.job.and_then(|job| cause_of_job(state, job)),
    }
}

/// Publishes what a job has emitted, with its completion, which does not fail for an id that was used before.
pub(super) fn emitted(t: &mut Transition<'_>, events: &[Publication]) {
    for event in events {
        let row = given(&t.state, event);
        let _ = write_event(t, row);
    }
}

/// Writes an event, unless its source has used its id. Returns whether it is new.
pub(super) fn write_event(t: &mut Transition<'_>, row: Row) -> Result<bool> {
    let Row { tenant, draft, version, user, cause } = row;
    let same = |kept: &&Arc<KeptEvent>| {
        kept.event.tenant == tenant && kept.event.source == draft.source && kept.event.id == draft.id
    };
    if let Some(known) = t.state.events.values().find(same) {
        check_same(&draft, Some(&known.sha256))?;
        return Ok(false);
    }
    let event = Event {
        position: None,
        seq: None,
        tenant,
        version,
        stream: draft.stream().to_owned(),
        time: draft.time.unwrap_or(t.now),
        user: user.map(|user| check::plain(&user, check::REASON_CHARS_MAX)),
        correlation: cause.as_ref().map_or_else(|| draft.id.clone(), |cause| cause.correlation.clone()),
        causation: cause.as_ref().map(|cause| cause.id.clone()),
        depth: cause.as_ref().map_or(0, |cause| cause.depth.saturating_add(1)),
        accepted_at: t.now,
        id: draft.id.clone(),
        source: draft.source.clone(),
        kind: draft.kind.clone(),
        subject: draft.subject.clone(),
        data: draft.data.clone(),
        trace: draft.trace.clone(),
        extensions: draft.extensions.clone(),
    };
    t.state.event_number += 1;
    let kept = KeptEvent { event, sha256: draft.content_hash() };
    t.state.events.insert(t.state.event_number, Arc::new(kept));
    t.published = true;
    Ok(true)
}

fn at_position(state: &State, position: u64) -> Option<Cause> {
    let events = state.events.values().map(|kept| &kept.event);
    events.into_iter().find(|event| event.position == Some(position)).map(Event::as_cause)
}

/// The event that requested the run of a batch.
fn cause_of_batch(state: &State, batch: BatchId) -> Option<Cause> {
    let ticks = state.ticks.values().map(|tick| &tick.view).filter(|view| view.batch == Some(batch));
    let mut runs = ticks.filter_map(|view| Some((&view.tenant, view.event.as_ref()?)));
    runs.find_map(|(tenant, run)| {
        let own = state.deliveries.iter().find(|(key, view)| key.0 == *tenant && view.run.as_ref() == Some(run));
        at_position(state, own?.1.position)
    })
}

fn cause_of_job(state: &State, id: JobId) -> Option<Cause> {
    let job = state.jobs.get(&id)?;
    let own = state.deliveries.values().find(|view| view.job == Some(id));
    let own = own.and_then(|view| at_position(state, view.position));
    own.or_else(|| cause_of_batch(state, job.batch?))
}

/// Reports what has happened, by this program itself.
pub(super) fn report(t: &mut Transition<'_>, tenant: &str, kind: OwnType, subject: String, data: Value) {
    emit(t, own::row(tenant, kind, subject, data));
}

/// Reports that a recipient of an email has entered a state, where that is reported.
pub(super) fn report_recipient(t: &mut Transition<'_>, row: Option<Row>) {
    if let Some(row) = row {
        emit(t, row);
    }
}

fn emit(t: &mut Transition<'_>, mut row: Row) {
    let number = u128::try_from(t.state.event_number + 1).unwrap_or_default();
    row.draft.id = Uuid::from_u128(number).to_string();
    // An id of our own is there once.
    let _ = write_event(t, row);
}

/// Reports what has happened to a batch.
pub(super) fn report_batch(t: &mut Transition<'_>, id: BatchId, kind: OwnType) {
    let Some(batch) = t.state.batches.get(&id).cloned() else { return };
    let counts = batch.tally.counts();
    let data = json!({
        "batch": id,
        "name": batch.name,
        "state": batch.state,
        "generation": batch.generation,
        "counts": {
            "input": counts.input,
            "ok": counts.ok,
            "skipped": counts.skipped,
            "quarantined": counts.quarantined,
            "cancelled": counts.cancelled,
        },
        "reason": batch.reason,
    });
    let mut row = own::row(&batch.tenant, kind, format!("batch/{id}"), data);
    row.draft.trace.clone_from(&batch.trace);
    row.cause = cause_of_batch(&t.state, id);
    emit(t, row);
}

/// Reports jobs that have just died.
pub(super) fn jobs_died(t: &mut Transition<'_>, dead: &[JobId]) {
    let sorted: BTreeMap<JobId, ()> = dead.iter().map(|id| (*id, ())).collect();
    for id in sorted.into_keys() {
        let Some(job) = t.state.jobs.get(&id).filter(|job| job.state == JobState::Dead).cloned() else { continue };
        let data = json!({
            "job": id,
            "queue": job.queue,
            "kind": job.kind,
            "attempt": job.attempt,
            "error": job.error,
            "batch": job.batch,
        });
        let mut row = own::row(&job.tenant, OwnType::JobDead, format!("job/{id}"), data);
        row.draft.trace.clone_from(&job.trace);
        row.cause = cause_of_job(&t.state, id);
        emit(t, row);
    }
}
