//! Lead: this process reports that it is alive, and asks whether it leads.

use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use gristmill_store::Result;

use crate::duty::{Duty, Next, Wake};
use crate::leadership::Leadership;

/// How often. Not a setting, because it is tied to how long leadership lasts.
const EVERY: Duration = Duration::from_secs(1);

/// Renews the leadership.
pub(super) struct Lead {
    leadership: Arc<Leadership>,
}

impl Lead {
    pub(super) fn new(leadership: &Arc<Leadership>) -> Self {
        Self { leadership: Arc::clone(leadership) }
    }
}

impl Duty for Lead {
    fn name(&self) -> &'static str {
        "lead"
    }

    fn every(&self) -> Duration {
        EVERY
    }

    fn needs_leadership(&self) -> bool {
        false
    }

    fn work(&mut self, _: Wake) -> BoxFuture<'_, Result<Next>> {
        Box::pin(async move {
            self.leadership.renew().await?;
            Ok(Next::Beat)
        })
    }
}
