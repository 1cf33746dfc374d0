//! Operations over many jobs, items or batches: preview, start, cancel, undo; and the steps, which the scheduler makes.

use gristmill_core::Instant;
use gristmill_core::audit::Action;
use gristmill_core::id::OperationId;
use gristmill_core::operation::{OperationState, OperationVerb, STEP_JOBS_MAX};
use gristmill_core::query::Query;
use gristmill_store::{
    DueOperation, NewOperation, OperationPreview, OperationView, Ordered, PruneNoun, Result, Selection, StoreError,
    StoreHandle,
};
use uuid::Uuid;

use crate::Service;
use crate::order::Order;
use crate::retention::{Archive, PrunerOptions, RetentionSettings};

/// How many operations have a step in one round.
const ROUND_MAX: u32 = 16;

/// How many operations one transaction forgets.
const FORGET_MAX: u32 = 1_000;

/// An operation that is asked for.
#[derive(Debug, Clone, PartialEq)]
pub struct OperationRequest {
    /// What is done to each job, item or batch.
    pub verb: OperationVerb,
    /// Which.
    pub query: Query,
    /// How many a second at most; `None` is as fast as it goes.
    pub rate: Option<u32>,
    /// As of when: that of a preview, so that what was created since is not selected. `None` is now.
    pub snapshot: Option<Instant>,
    /// The id that it gets; `None` draws one. The same request under the same id starts one operation.
    pub id: Option<OperationId>,
}

/// An operation that was started, or would be.
#[derive(Debug, Clone, PartialEq)]
pub struct StartedOperation {
    /// What it selects.
    pub preview: OperationPreview,
    /// The operation; `None` at a dry run.
    pub operation: Option<OperationView>,
}

impl Service {
    /// Starts an operation over everything that a query selects now, or only says what that is. The scheduler makes its
    /// steps.
    ///
    /// # Errors
    ///
    /// Store errors: `Invalid` for a query that selects everything or nothing ever, and without a reason.
    pub async fn start_operation(
        &self,
        order: &Order,
        request: &OperationRequest,
        settings: &RetentionSettings,
    ) -> Result<StartedOperation> {
        let OperationRequest { verb, ref query, rate, snapshot, id } = *request;
        let selection = Selection { tenant: order.tenant.clone(), verb, query: query.clone(), snapshot };
        let preview = self.store.preview_operation(&selection).await?;
        if order.dry_run {
            return Ok(StartedOperation { preview, operation: None });
        }
        let Some(reason) = order.reason.clone().filter(|reason| !reason.trim().is_empty()) else {
            return Err(StoreError::Invalid("an operation needs a reason; say why".to_owned()));
        };
        let id = id.unwrap_or_else(|| OperationId(Uuid::now_v7()));
        let new = NewOperation {
            id,
            selection: Selection { snapshot: Some(preview.snapshot), ..selection },
            preview: preview.matches,
            preview_more: preview.more,
            ordered: Ordered::from(&order.attribution(Action::OperationStart, id)),
            reason,
            rate,
            undo: settings.undo.0,
        };
        let operation = order.at(&self.store, Action::OperationStart, id).start_operation(&new).await?;
        Ok(StartedOperation { preview, operation: Some(operation) })
    }

    /// Calls an operation off: what it has changed stays so.
    ///
    /// # Errors
    ///
    /// Store errors: `NotFound`, or `Conflict` for one that is not running.
    pub async fn cancel_operation(&self, order: &Order, operation: OperationId) -> Result<OperationView> {
        if order.dry_run {
            let view = self.operation(&order.tenant, operation).await?;
            view.may_cancel()?;
            return Ok(view);
        }
        let store = order.at(&self.store, Action::OperationCancel, operation);
        store.cancel_operation(&order.tenant, operation).await
    }

    /// Undoes an operation: what it has changed is brought back, where nothing has happened to it since.
    ///
    /// # Errors
    ///
    /// Store errors: `NotFound`, or `Conflict` for one that cannot be undone, or no more.
    pub async fn undo_operation(&self, order: &Order, operation: OperationId) -> Result<OperationView> {
        if order.dry_run {
            let view = self.operation(&order.tenant, operation).await?;
            view.may_undo()?;
            return Ok(view);
        }
        let store = order.at(&self.store, Action::OperationUndo, operation);
        store.undo_operation(&order.tenant, operation).await
    }

    /// An operation of a tenant.
    ///
    /// # Errors
    ///
    /// Store errors: `NotFound`.
    pub async fn operation(&self, tenant: &str, operation: OperationId) -> Result<OperationView> {
        let missing = || {
            let see = "`gristmill operation list` shows those that are there";
            StoreError::NotFound(format!("there is no operation {operation}; {see}"))
        };
        self.store.operation(tenant, operation).await?.ok_or_else(missing)
    }

    /// Makes the steps that are due: one of each operation, at most sixteen. Returns how many were made. One operation
    /// that cannot go on does not keep the others from it.
    ///
    /// # Errors
    ///
    /// The first store error, after the others had their turn.
    pub async fn step_operations(&self, options: &PrunerOptions) -> Result<u64> {
        let (mut steps, mut failed) = (0, None);
        for due in self.store.due_operations(ROUND_MAX).await? {
            match self.step_operation(&due, options).await {
                Ok(made) => steps += u64::from(made),
                Err(error) => failed = failed.or(Some(error)),
            }
        }
        match failed {
            Some(error) => Err(error),
            None => Ok(steps),
        }
    }

    async fn step_operation(&self, due: &DueOperation, options: &PrunerOptions) -> Result<bool> {
        self.archive_discarded(due, &options.settings).await?;
        let store = attributed(&self.store, due);
        let step = store.step_operation(due.view.id, options.settings.idempotency_keys.0);
        Ok(self.after(step).await?.is_some())
    }

    /// Writes dead letters that are about to be deleted into the archive first, where there is one.
    async fn archive_discarded(&self, due: &DueOperation, settings: &RetentionSettings) -> Result<()> {
        let over = due.view.verb == OperationVerb::Discard && !due.view.state.is_under_way();
        if settings.archive.is_empty() || !over {
            return Ok(());
        }
        let jobs = self.store.discarded_by(due.view.id, STEP_JOBS_MAX).await?;
        if jobs.is_empty() {
            return Ok(());
        }
        let keys: Vec<String> = jobs.iter().map(ToString::to_string).collect();
        let documents = self.store.documents(PruneNoun::DeadLetters, None, &keys).await?;
        let archive = Archive::new(&settings.archive);
        let file = archive.begin(PruneNoun::DeadLetters, self.store.now().await?).await?;
        file.append(documents).await?.finish().await?;
        Ok(())
    }

    /// Removes operations that ended long ago. Returns how many.
    ///
    /// # Errors
    ///
    /// Store errors; what was removed before stays removed.
    pub async fn forget_operations(&self, settings: &RetentionSettings) -> Result<u64> {
        let Some(before) = settings.operations.before(self.store.now().await?) else { return Ok(0) };
        let mut total = 0;
        loop {
            let removed = self.store.prune_operations(before, FORGET_MAX).await?;
            total += removed;
            if removed < u64::from(FORGET_MAX) {
                return Ok(total);
            }
        }
    }
}

/// The store for the next step of an operation: its entry belongs to the order that has started it.
fn attributed(store: &StoreHandle, due: &DueOperation) -> StoreHandle {
    let action = match (due.view.state, due.view.verb) {
        (OperationState::Undoing, _) => Action::OperationUndo,
        (_, OperationVerb::Discard) => Action::DeadDiscard,
        (_, OperationVerb::DiscardItems) => Action::QuarantineDiscard,
        (OperationState::Running, OperationVerb::Cancel) => Action::JobCancel,
        (OperationState::Running, OperationVerb::Redrive) => Action::DeadRedrive,
        (OperationState::Running, OperationVerb::RedriveItems) => Action::QuarantineRedrive,
        (OperationState::Running, OperationVerb::CancelBatches) => Action::BatchCancel,
        (OperationState::Running, OperationVerb::PauseBatches) => Action::BatchPause,
        (OperationState::Running, OperationVerb::ResumeBatches) => Action::BatchResume,
        (OperationState::Running, OperationVerb::RestartBatches) => Action::BatchRestart,
        (OperationState::Running, OperationVerb::DeleteBatches) => Action::BatchDelete,
        // What is forgotten otherwise changes nothing.
        _ => return store.clone(),
    };
    match due.attribution(action) {
        Some(attribution) => store.clone().attributed(attribution),
        None => store.clone(),
    }
}
