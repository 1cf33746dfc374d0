//! Reconcile: compares counters with what they count, and batches with their jobs and their budgets.

use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use gristmill_core::batch::BatchState;
use gristmill_service::dispatcher::Dispatcher;
use gristmill_service::failure_budget::FailureBudgets;
use gristmill_store::{BatchFilter, BatchProgress, BatchView, Page, ReconcileReport, Result, StoreHandle};

use super::Common;
use crate::duty::{Duty, Next, Wake};

/// How many batches are looked at in one step.
const PAGE: u32 = 500;

/// How many messages are looked at in one step.
const EMAILS: u32 = 2_000;

/// Compares and repairs, accounts for the recipients of emails whose jobs have ended without a word, forgets which of them waited for a domain, publishes what that made claimable, and judges the failure budgets of all batches under way.
/// The findings are in the report, and in the log.
///
/// # Errors
///
/// Store errors.
pub async fn reconcile(
    store: &StoreHandle,
    dispatcher: &Dispatcher,
    budgets: &FailureBudgets,
) -> Result<ReconcileReport> {
    let report = dispatcher.after(store.reconcile(false)).await?;
    for finding in &report.findings {
        tracing::error!(finding, "reconciled");
    }
    let mut after = None;
    loop {
        after = store.email_account(after.as_ref(), EMAILS).await?.next;
        if after.is_none() {
            break;
        }
    }
    while store.mail_flow_tidy(EMAILS).await? > 0 {}
    for tenant in store.tenants().await? {
        for state in [BatchState::Open, BatchState::Sealed] {
            judge(store, dispatcher, budgets, (&tenant, state)).await?;
        }
    }
    Ok(report)
}

/// Compares everything. Nothing waits for it: on a large store it takes long.
pub(super) struct Reconcile {
    pub(super) common: Common,
    pub(super) every: Duration,
    pub(super) budgets: Arc<FailureBudgets>,
}

impl Duty for Reconcile {
    fn name(&self) -> &'static str {
        "reconcile"
    }

    fn every(&self) -> Duration {
        self.every
    }

    fn work(&mut self, _: Wake) -> BoxFuture<'_, Result<Next>> {
        Box::pin(async move {
            reconcile(&self.common.store, &self.common.dispatcher, &self.budgets).await?;
            Ok(Next::Beat)
        })
    }
}

async fn judge(
    store: &StoreHandle,
    dispatcher: &Dispatcher,
    budgets: &FailureBudgets,
    (tenant, state): (&str, BatchState),
) -> Result<()> {
    let filter = BatchFilter { tenant: tenant.to_owned(), state: Some(state), ..BatchFilter::default() };
    let mut page = Page { after: None, limit: PAGE };
    loop {
        let batches = store.batches(&filter, &page).await?;
        let progress: Vec<BatchProgress> = batches.iter().filter_map(progress).collect();
        dispatcher.after(budgets.enforce(&progress)).await?;
        match batches.last() {
            Some(last) if batches.len() == PAGE as usize => page.after = Some(last.id.to_string()),
            Some(_) | None => return Ok(()),
        }
    }
}

/// This does not show whether a batch is already halting, and need not: halting twice is a no-op.
fn progress(batch: &BatchView) -> Option<BatchProgress> {
    Some(BatchProgress {
        batch: batch.id,
        state: batch.state,
        generation: batch.generation,
        counts: batch.counts,
        remaining: batch.remaining,
        halting: false,
        // The store wrote it itself, so it can always be read.
        failure_budget: batch.failure_budget.parse().ok()?,
    })
}
