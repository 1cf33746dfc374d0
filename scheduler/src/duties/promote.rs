//! Promote: jobs whose time has come become claimable. Its rhythm is how late a delay or a retry may be.

use std::time::Duration;

use futures::future::BoxFuture;
use gristmill_service::dispatcher::Dispatcher;
use gristmill_store::{Duties, Result};

use super::Common;
use crate::duty::{Duty, Next, Wake};

/// Promotes at most `limit` jobs by the database's clock, publishes them, and returns how many there were.
///
/// # Errors
///
/// Store errors.
pub async fn promote(store: &dyn Duties, dispatcher: &Dispatcher, limit: u32) -> Result<u64> {
    Ok(dispatcher.after(store.promote(limit)).await?.moved)
}

/// Promotes until nothing is due: a burst must not wait for one beat per group.
pub(super) struct Promote {
    pub(super) common: Common,
    pub(super) every: Duration,
    pub(super) rows_max: u32,
}

impl Duty for Promote {
    fn name(&self) -> &'static str {
        "promote"
    }

    fn every(&self) -> Duration {
        self.every
    }

    fn work(&mut self, _: Wake) -> BoxFuture<'_, Result<Next>> {
        Box::pin(async move {
            let moved = promote(&*self.common.store, &self.common.dispatcher, self.rows_max).await?;
            // If no job moved, it would go on for ever.
            Ok(if moved > 0 && moved >= u64::from(self.rows_max) { Next::Now } else { Next::Beat })
        })
    }
}
