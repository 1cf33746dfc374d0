//! History: moves what has passed through queues into minutes and hours, and removes those after their time.

use std::time::Duration;

use futures::future::BoxFuture;
use gristmill_service::history::{fold, prune};
use gristmill_service::retention::RetentionSettings;
use gristmill_store::Result;
use tokio::time::Instant;

use super::Common;
use crate::duty::{Duty, Next, Wake};

/// How often old minutes and hours are removed.
const PRUNE_EVERY: Duration = Duration::from_secs(600);

/// Keeps the history.
pub(super) struct History {
    common: Common,
    every: Duration,
    retention: RetentionSettings,
    pruned: Option<Instant>,
}

impl History {
    pub(super) fn new(common: Common, every: Duration, retention: RetentionSettings) -> Self {
        Self { common, every, retention, pruned: None }
    }

    async fn round(&mut self) -> Result<Next> {
        fold(&self.common.store).await?;
        if self.pruned.is_none_or(|pruned| pruned.elapsed() >= PRUNE_EVERY) {
            prune(&self.common.store, &self.retention).await?;
            self.pruned = Some(Instant::now());
        }
        Ok(Next::Beat)
    }
}

impl Duty for History {
    fn name(&self) -> &'static str {
        "history"
    }

    fn every(&self) -> Duration {
        self.every
    }

    fn work(&mut self, _: Wake) -> BoxFuture<'_, Result<Next>> {
        Box::pin(self.round())
    }
}
