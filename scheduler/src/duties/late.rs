//! Late: batches that have not ended by their deadline send their `on.late` callbacks.

use std::time::Duration;

use futures::future::BoxFuture;
use gristmill_service::dispatcher::Dispatcher;
use gristmill_store::{Duties, Result};

use super::Common;
use crate::duty::{Duty, Next, Wake};

/// How many batches are looked at each time.
const LIMIT: u32 = 100;

/// Enqueues the jobs of `on.late` for batches that have not ended by their deadline, and returns how many jobs there
/// are.
///
/// # Errors
///
/// Store errors.
pub async fn late(store: &dyn Duties, dispatcher: &Dispatcher) -> Result<u64> {
    Ok(dispatcher.after(store.notify_late(LIMIT)).await?.moved)
}

/// Looks for batches that are late.
pub(super) struct Late {
    pub(super) common: Common,
    pub(super) every: Duration,
}

impl Duty for Late {
    fn name(&self) -> &'static str {
        "late"
    }

    fn every(&self) -> Duration {
        self.every
    }

    fn work(&mut self, _: Wake) -> BoxFuture<'_, Result<Next>> {
        Box::pin(async move {
            late(&*self.common.store, &self.common.dispatcher).await?;
            Ok(Next::Beat)
        })
    }
}
