//! Plans: batches whose planner died are taken back.

use std::time::Duration;

use futures::future::BoxFuture;
use gristmill_store::Result;

use super::Common;
use crate::duty::{Duty, Next, Wake};
use crate::plan::{STALLED_AFTER, resume};

/// Takes back batches that have been planned for too long.
pub(super) struct Plans {
    pub(super) common: Common,
    pub(super) every: Duration,
}

impl Duty for Plans {
    fn name(&self) -> &'static str {
        "plans"
    }

    fn every(&self) -> Duration {
        self.every
    }

    fn work(&mut self, _: Wake) -> BoxFuture<'_, Result<Next>> {
        Box::pin(async move {
            resume(&self.common.store, &self.common.dispatcher, STALLED_AFTER).await?;
            Ok(Next::Beat)
        })
    }
}
