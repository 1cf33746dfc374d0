//! Watch: complete files in watched folders start runs. A slow share holds up nothing else.

use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use gristmill_store::Result;
use tokio::time::Instant;

use super::Common;
use crate::duty::{Duty, Next, Wake};
use crate::schedules::RunContext;
use crate::watch::Watcher;

/// Looks at the folders.
pub(super) struct Watch {
    every: Duration,
    watcher: Watcher,
    begun: Instant,
}

impl Watch {
    pub(super) fn new(common: Common, every: Duration, context: RunContext) -> Self {
        let watcher = Watcher::new(Arc::clone(&common.store), common.dispatcher, context);
        Self { every, watcher, begun: Instant::now() }
    }
}

impl Duty for Watch {
    fn name(&self) -> &'static str {
        "watch"
    }

    fn every(&self) -> Duration {
        self.every
    }

    fn work(&mut self, _: Wake) -> BoxFuture<'_, Result<Next>> {
        Box::pin(async move {
            self.watcher.run_once(self.begun.elapsed()).await?;
            Ok(Next::Beat)
        })
    }
}
