//! Operations: a verb over everything that a query selects, carried out in steps.
//!
//! An operation is a row that says what is selected, as of which instant, and where its walk over jobs, quarantined items
//! or batches is. Each step
//! is one transaction: it moves the walk on together with what it changes, so that a process that dies in between neither
//! repeats nor skips any. The walk over jobs goes from queue to queue, in each from kind to kind, and in each by id; that
//! over items from batch to batch, and in each by number; that over batches by id: no change of state moves anything in
//! this order. What was created after the snapshot is passed over; what has left
//! the verb's states before the walk reached it does not match any more, and what leaves them within a step is counted
//! as skipped.
//!
//! What can be undone is remembered one by one until the time for it is over. A discard of dead letters only cancels them
//! until then, and deletes them afterwards; one of items keeps them aside until then.

use std::fmt::Debug;
use std::time::Duration;

use async_trait::async_trait;
use gristmill_core::Instant;
use gristmill_core::access::Role;
use gristmill_core::audit::{Action, ActorKind};
use gristmill_core::id::{BatchId, JobId, OperationId};
use gristmill_core::operation::{OperationState, OperationVerb, RATE_MAX, UNDO_MAX};
use gristmill_core::query::Query;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::check;
use crate::error::{Result, StoreError};
use crate::{Attribution, Dispatched, Page};

/// How many samples a preview has.
pub const PREVIEW_SAMPLES: usize = 5;

/// Operations: a verb over everything that a query selects, carried out in steps.
#[async_trait]
pub trait Operations: Debug + Send + Sync + 'static {
    /// Counts what an operation would select now, by the walk that its steps make. Looks at no more than
    /// [`PREVIEW_READ_MAX`](gristmill_core::operation::PREVIEW_READ_MAX) jobs. Changes nothing.
    async fn preview_operation(&self, selection: &Selection) -> Result<OperationPreview>;

    /// Starts an operation, and returns it. Starting it again changes nothing, and returns it as it is.
    async fn start_operation(&self, operation: &NewOperation) -> Result<OperationView>;

    /// Returns one operation. `None` when there is none.
    async fn operation(&self, tenant: &str, operation: OperationId) -> Result<Option<OperationView>>;

    /// Returns the operations of a tenant, newest first.
    async fn operations(&self, tenant: &str, page: &Page) -> Result<Vec<OperationView>>;

    /// Calls an operation off that is running. What it has changed stays so. One that is cancelled already is left as it
    /// is.
    ///
    /// Refused with [`StoreError::Conflict`] in any other state.
    async fn cancel_operation(&self, tenant: &str, operation: OperationId) -> Result<OperationView>;

    /// Undoes an operation: what it has changed is brought back, in steps. One that is running changes nothing more. One
    /// that is being undone or is undone is left as it is.
    ///
    /// Refused with [`StoreError::Conflict`] when its verb cannot be undone, or the time for it is over.
    async fn undo_operation(&self, tenant: &str, operation: OperationId) -> Result<OperationView>;

    /// Returns operations of all tenants that have a step due, at most `limit`: the one that waits longest first.
    async fn due_operations(&self, limit: u32) -> Result<Vec<DueOperation>>;

    /// Makes the next step of an operation, if one is due. `None` when none is, or another process makes it. The
    /// idempotency keys of dead letters that are deleted now are kept as in
    /// [`Retention::prune`](crate::Retention::prune).
    async fn step_operation(&self, operation: OperationId, keys: Duration) -> Result<Option<OperationStep>>;

    /// Returns the dead letters that the next step of an operation deletes for good, at most `limit`, in the order of
    /// their ids: for an archive.
    async fn discarded_by(&self, operation: OperationId, limit: u32) -> Result<Vec<JobId>>;

    /// Removes operations that ended before an instant and can be undone no more, at most `limit`. Returns how many.
    async fn prune_operations(&self, before: Instant, limit: u32) -> Result<u64>;
}

/// What an operation selects.
#[derive(Debug, Clone, PartialEq)]
pub struct Selection {
    /// Of this tenant.
    pub tenant: String,
    /// What is to be done.
    pub verb: OperationVerb,
    /// What matches.
    pub query: Query,
    /// What was created later is not selected; `None` means now.
    pub snapshot: Option<Instant>,
}

impl Selection {
    /// Refuses what no operation can be.
    pub(crate) fn check(&self) -> Result<()> {
        self.verb.check(&self.query).map_err(StoreError::Invalid)
    }
}

/// What an operation would select.
#[derive(Debug, Clone, PartialEq)]
pub struct OperationPreview {
    /// As of when: an operation with this snapshot selects the same.
    pub snapshot: Instant,
    /// How many jobs, items or batches.
    pub matches: u64,
    /// Whether there may be more: then it is as many as were found among those looked at.
    pub more: bool,
    /// The first of them, by their ids or numbers.
    pub samples: Vec<String>,
}

/// An operation to be started.
#[derive(Debug, Clone, PartialEq)]
pub struct NewOperation {
    /// Its id.
    pub id: OperationId,
    /// What it selects; with a snapshot.
    pub selection: Selection,
    /// How many match, as far as that was counted.
    pub preview: u64,
    /// Whether there may be more.
    pub preview_more: bool,
    /// Who orders it: its steps are written down under the same order.
    pub ordered: Ordered,
    /// Why. Cut at 1,000 characters.
    pub reason: String,
    /// How many a second at most; `None` is as fast as it goes.
    pub rate: Option<u32>,
    /// How long after its end it can be undone.
    pub undo: Duration,
}

impl NewOperation {
    /// Refuses what no store can keep.
    pub(crate) fn check(&self) -> Result<()> {
        self.selection.check()?;
        if self.rate.is_some_and(|rate| !(1..=RATE_MAX).contains(&rate)) {
            return Err(StoreError::Invalid(format!("a rate is 1 to {RATE_MAX} a second")));
        }
        if self.undo > UNDO_MAX {
            return Err(StoreError::Invalid("an operation can be undone for 7 days at most".to_owned()));
        }
        if self.reason.trim().is_empty() {
            return Err(StoreError::Invalid("an operation needs a reason; say why".to_owned()));
        }
        Ok(())
    }

    /// Whether what it changes is kept, to be undone.
    pub(crate) fn kept(&self) -> bool {
        self.selection.verb.can_be_undone()
    }
}

/// Who has ordered an operation, as the audit has it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ordered {
    /// The order.
    pub order: Uuid,
    /// What kind of actor.
    pub actor_kind: ActorKind,
    /// The actor's name for people.
    pub actor: String,
    /// The id of the user or token.
    pub subject: Option<Uuid>,
    /// The actor's role in the tenant.
    pub role: Option<Role>,
    /// The network address.
    pub address: Option<String>,
    /// The id of the request.
    pub request: Option<String>,
}

impl From<&Attribution> for Ordered {
    fn from(attribution: &Attribution) -> Self {
        let Attribution { order, actor_kind, actor, subject, role, address, request, .. } = attribution.clone();
        Self {
            order,
            actor_kind,
            actor: check::plain(&actor, check::REASON_CHARS_MAX),
            subject,
            role,
            address,
            request,
        }
    }
}

/// An operation as it is shown.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct OperationView {
    /// Its id; also its key in lists.
    pub id: OperationId,
    /// The tenant that owns it.
    pub tenant: String,
    /// What is done to each job, item or batch.
    pub verb: OperationVerb,
    /// Which: a query of `docs/query.md`.
    pub query: String,
    /// What was created later is not selected.
    #[cfg_attr(feature = "schema", schema(value_type = chrono::DateTime<chrono::Utc>))]
    pub snapshot: Instant,
    /// Its state.
    pub state: OperationState,
    /// Who ordered it.
    pub actor: String,
    /// Why.
    pub reason: String,
    /// How many a second at most; `null` is as fast as it goes.
    pub rate: Option<u32>,
    /// How many matched when it was started.
    pub preview: u64,
    /// Whether there may have been more than that.
    pub preview_more: bool,
    /// How many it has changed.
    pub done: u64,
    /// How many it could not change.
    pub failed: u64,
    /// How many were in another state by the time.
    pub skipped: u64,
    /// How many were brought back.
    pub undone: u64,
    /// How many could not be brought back.
    pub undo_failed: u64,
    /// Why the last of those that failed did.
    pub error: Option<String>,
    /// Until when it can be undone: `null` while it is under way, and when it cannot be.
    #[cfg_attr(feature = "schema", schema(value_type = Option<chrono::DateTime<chrono::Utc>>))]
    pub undo_until: Option<Instant>,
    /// Whether it can be undone now.
    pub can_be_undone: bool,
    /// When it was started.
    #[cfg_attr(feature = "schema", schema(value_type = chrono::DateTime<chrono::Utc>))]
    pub created_at: Instant,
    /// When it ended.
    #[cfg_attr(feature = "schema", schema(value_type = Option<chrono::DateTime<chrono::Utc>>))]
    pub ended_at: Option<Instant>,
}

/// An operation with a step due.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DueOperation {
    /// The operation.
    pub view: OperationView,
    /// Who has ordered it.
    pub ordered: Ordered,
}

/// What a step did.
#[derive(Debug, Clone, PartialEq)]
pub struct OperationStep {
    /// The operation after it.
    pub state: OperationState,
    /// How many it changed, or brought back.
    pub done: u64,
    /// How many it could not change, or bring back.
    pub failed: u64,
    /// How many had changed meanwhile.
    pub skipped: u64,
    /// What may be published now.
    pub dispatched: Dispatched,
}

impl OperationStep {
    /// A step that has changed nothing.
    pub(crate) fn none(state: OperationState) -> Self {
        Self { state, done: 0, failed: 0, skipped: 0, dispatched: Dispatched::default() }
    }

    /// Adds what a transition has left behind.
    pub(crate) fn leaves(&mut self, dispatched: Dispatched) {
        self.dispatched.dispatches.extend(dispatched.dispatches);
        self.dispatched.moved += dispatched.moved;
    }
}

impl OperationView {
    /// Whether it can be called off now; `false` when it is already.
    ///
    /// # Errors
    ///
    /// [`StoreError::Conflict`] in any other state.
    pub fn may_cancel(&self) -> Result<bool> {
        may_cancel(self)
    }

    /// Whether it can be undone now; `false` when it is, or is being.
    ///
    /// # Errors
    ///
    /// [`StoreError::Conflict`] when its verb cannot be undone, or the time for it is over.
    pub fn may_undo(&self) -> Result<bool> {
        may_undo(self)
    }
}

impl DueOperation {
    /// A step of it, as the audit learns of it. `None` where no person and no program has ordered it.
    pub fn attribution(&self, action: Action) -> Option<Attribution> {
        let Ordered { order, actor_kind, actor, subject, role, address, request } = self.ordered.clone();
        if matches!(actor_kind, ActorKind::Trigger | ActorKind::Duty) {
            return None;
        }
        let (step, target) = (Uuid::now_v7(), format!("operation {}", self.view.id));
        let (tenant, reason) = (self.view.tenant.clone(), Some(self.view.reason.clone()));
        let attribution = Attribution {
            tenant,
            order,
            step,
            actor_kind,
            actor,
            subject,
            role,
            address,
            request,
            action,
            target,
            reason,
        };
        Some(attribution)
    }
}

/// The refusal of what does not exist.
pub(crate) fn no_operation(operation: OperationId) -> StoreError {
    StoreError::NotFound(format!(
        "there is no operation {operation}; `gristmill operation list` shows those that are there"
    ))
}

/// Whether an operation can be called off; `false` when it is already.
pub(crate) fn may_cancel(view: &OperationView) -> Result<bool> {
    match view.state {
        OperationState::Running => Ok(true),
        OperationState::Cancelled => Ok(false),
        state => {
            let what = format!("operation {} is {state}; only one that is running can be cancelled", view.id);
            Err(StoreError::Conflict(what))
        }
    }
}

/// Whether an operation can be undone; `false` when it is, or is being.
pub(crate) fn may_undo(view: &OperationView) -> Result<bool> {
    let refused = |why: String| Err(StoreError::Conflict(format!("operation {} {why}", view.id)));
    match view.state {
        OperationState::Undoing | OperationState::Undone => Ok(false),
        _ if !view.verb.can_be_undone() => refused(format!("cannot be undone: a {} cannot", view.verb.word())),
        _ if view.can_be_undone => Ok(true),
        _ => match view.undo_until {
            Some(until) => {
                refused(format!("can be undone no more: the time for it was over at {}", until.to_rfc3339()))
            }
            None => refused("can be undone no more".to_owned()),
        },
    }
}

/// Why a job that was cancelled by an operation cannot be brought back: whatever has happened in between stays.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Between {
    /// Its state or its end is not the one that the operation gave it.
    pub(crate) changed: bool,
    /// Another job holds its unique key.
    pub(crate) key_is_held: bool,
    /// Its batch takes no chunks back, or is being deleted.
    pub(crate) batch_is_over: bool,
}

impl Between {
    /// Why it stays as it is; `None` when it can be brought back.
    pub(crate) fn refusal(self, job: JobId) -> Option<String> {
        let why = match self {
            Self { changed: true, .. } => "has changed since, or is gone",
            Self { key_is_held: true, .. } => "has a unique key that another job holds now",
            Self { batch_is_over: true, .. } => "is of a batch that is over, or has begun another generation",
            _ => return None,
        };
        Some(format!("job {job} {why}"))
    }
}

/// Why an item that an operation has discarded cannot be put back.
pub(crate) fn gone_with_its_batch(item: i64, batch: Uuid) -> String {
    format!("item {item} is of batch {batch}, which is gone or is being deleted")
}

/// Why a batch that an operation has cancelled does not go on.
pub(crate) fn batch_changed_since(batch: BatchId) -> String {
    format!("batch {batch} has changed since, or is gone")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_has_happened_in_between_is_named_and_nothing_is_no_refusal() {
        let job = JobId(Uuid::from_u128(7));
        assert_eq!(Between::default().refusal(job), None);
        let held = Between { key_is_held: true, ..Between::default() };
        assert!(held.refusal(job).expect("refused").contains("unique key that another job holds"));
        let changed = Between { changed: true, batch_is_over: true, ..held };
        assert!(changed.refusal(job).expect("refused").contains("has changed since"));
    }
}
