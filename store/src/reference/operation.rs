//! An operation and what it has changed, as the model keeps them.

use std::time::Duration;

use gristmill_core::Instant;
use gristmill_core::id::{BatchId, JobId};
use gristmill_core::job::JobState;
use gristmill_core::operation::OperationState;

use crate::check;
use crate::{NewOperation, OperationView, Ordered, PauseView, Selection};

/// Where a walk is: behind this.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Place {
    /// A job, with its queue and kind before it.
    Job(String, String, JobId),
    /// An item, with its batch before it.
    Item(BatchId, i64),
    /// A batch.
    Batch(BatchId),
}

/// An operation.
#[derive(Debug, Clone)]
pub(super) struct Operation {
    pub(super) view: OperationView,
    pub(super) ordered: Ordered,
    pub(super) place: Option<Place>,
    pub(super) undo: Duration,
    pub(super) kept: bool,
    pub(super) due_at: Instant,
}

/// A job as it was before an operation changed it.
#[derive(Debug, Clone)]
pub(super) struct KeptJob {
    pub(super) was: JobState,
    pub(super) run_at: Option<Instant>,
    pub(super) finished_at: Option<Instant>,
    pub(super) error: Option<String>,
    pub(super) at: Instant,
}

/// A batch as it was before an operation cancelled it.
#[derive(Debug, Clone)]
pub(super) struct KeptBatch {
    pub(super) pause: Option<PauseView>,
    pub(super) at: Instant,
}

impl Operation {
    /// As it is shown at this time.
    pub(super) fn shown(&self, now: Instant) -> OperationView {
        let state = self.view.state;
        let in_time = state == OperationState::Running || self.view.undo_until.is_some_and(|until| now < until);
        let can_be_undone = self.kept && in_time && state != OperationState::Undoing;
        OperationView { can_be_undone, ..self.view.clone() }
    }

    pub(super) fn is_due(&self, now: Instant) -> bool {
        (self.view.state.is_under_way() || self.kept) && self.due_at <= now
    }

    /// It ends now.
    pub(super) fn end(&mut self, state: OperationState, now: Instant) {
        self.view.state = state;
        self.view.ended_at = Some(now);
        self.view.undo_until = self.kept.then(|| now + self.undo);
        self.due_at = self.view.undo_until.unwrap_or(self.due_at);
    }
}

/// An operation as it begins.
pub(super) fn begun(new: &NewOperation, now: Instant) -> Operation {
    let Selection { tenant, verb, query, snapshot } = &new.selection;
    let view = OperationView {
        id: new.id,
        tenant: tenant.clone(),
        verb: *verb,
        query: query.to_string(),
        snapshot: snapshot.unwrap_or(now).min(now),
        state: OperationState::Running,
        actor: new.ordered.actor.clone(),
        reason: check::plain(&new.reason, check::REASON_CHARS_MAX),
        rate: new.rate,
        preview: new.preview,
        preview_more: new.preview_more,
        done: 0,
        failed: 0,
        skipped: 0,
        undone: 0,
        undo_failed: 0,
        error: None,
        undo_until: None,
        can_be_undone: false,
        created_at: now,
        ended_at: None,
    };
    let ordered = new.ordered.clone();
    Operation { view, ordered, place: None, undo: new.undo, kept: new.kept(), due_at: now }
}
