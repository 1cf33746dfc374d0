//! Rescue: jobs of workers whose lease ran out, and jobs past their deadline.

use gristmill_service::dispatcher::Dispatcher;
use gristmill_service::failure_budget::FailureBudgets;
use gristmill_store::{RescueReport, Result, StoreHandle};

/// Rescues at most `limit` jobs, publishes what may run again, and halts batches whose chunks died
/// over their budget.
///
/// # Errors
///
/// Those of the store.
pub async fn rescue(
    store: &StoreHandle,
    dispatcher: &Dispatcher,
    budgets: &FailureBudgets,
    limit: u32,
) -> Result<RescueReport> {
    let report = dispatcher.after(store.rescue(limit)).await?;
    dispatcher.after(budgets.enforce(&report.progress)).await?;
    if report.workers_lost + report.requeued + report.dead + report.split > 0 {
        tracing::warn!(
            workers = report.workers_lost,
            requeued = report.requeued,
            dead = report.dead,
            split = report.split,
            "rescued jobs of lost workers or past their deadline"
        );
    }
    Ok(report)
}
