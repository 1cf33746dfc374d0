//! Rescue: jobs of workers whose lease ran out, and jobs past their deadline; and the rest of a stop: what is left to be
//! cancelled of a batch that was too large for one transaction.

use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use gristmill_service::dispatcher::Dispatcher;
use gristmill_service::failure_budget::FailureBudgets;
use gristmill_store::{Duties, RescueReport, Result};

use super::Common;
use crate::duty::{Duty, Next, Wake};

/// Rescues at most `limit` jobs, publishes what may run again, and halts batches whose chunks died
/// over their budget.
///
/// # Errors
///
/// Store errors.
pub async fn rescue(
    store: &dyn Duties,
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

/// Cancels the next chunks of each batch that is being stopped, and returns how many jobs changed. A process that stops
/// a batch may die before its end, and a worker that halts one does only the first step.
///
/// # Errors
///
/// Store errors.
pub async fn continue_stops(store: &dyn Duties, dispatcher: &Dispatcher) -> Result<u64> {
    Ok(dispatcher.after(store.continue_stops()).await?.moved)
}

/// Rescues at most `rows_max` jobs each time, and does one step of each stop.
pub(super) struct Rescue {
    pub(super) common: Common,
    pub(super) every: Duration,
    pub(super) rows_max: u32,
    pub(super) budgets: Arc<FailureBudgets>,
}

impl Duty for Rescue {
    fn name(&self) -> &'static str {
        "rescue"
    }

    fn every(&self) -> Duration {
        self.every
    }

    fn work(&mut self, _: Wake) -> BoxFuture<'_, Result<Next>> {
        Box::pin(async move {
            rescue(&*self.common.store, &self.common.dispatcher, &self.budgets, self.rows_max).await?;
            let stopped = continue_stops(&*self.common.store, &self.common.dispatcher).await?;
            Ok(if stopped > 0 { Next::Now } else { Next::Beat })
        })
    }
}
