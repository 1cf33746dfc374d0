//! Age: jobs that have waited for as long as their queue says move up a priority.

use std::time::Duration;

use futures::future::BoxFuture;
use gristmill_service::dispatcher::Dispatcher;
use gristmill_store::{Limits, Result};

use super::Common;
use crate::duty::{Duty, Next, Wake};

/// Moves up a priority the jobs that have waited for as long as their queue says, deletes rates that are no longer
/// used, and returns how many jobs moved.
///
/// # Errors
///
/// Store errors.
pub async fn age(store: &dyn Limits, dispatcher: &Dispatcher, limit: u32) -> Result<u64> {
    Ok(dispatcher.after(store.raise_aged(limit)).await?.moved)
}

/// Moves at most `rows_max` jobs each time.
pub(super) struct Age {
    pub(super) common: Common,
    pub(super) every: Duration,
    pub(super) rows_max: u32,
}

impl Duty for Age {
    fn name(&self) -> &'static str {
        "age"
    }

    fn every(&self) -> Duration {
        self.every
    }

    fn work(&mut self, _: Wake) -> BoxFuture<'_, Result<Next>> {
        Box::pin(async move {
            age(&*self.common.store, &self.common.dispatcher, self.rows_max).await?;
            Ok(Next::Beat)
        })
    }
}
