//! Audit: signs the heads of the chains once a day, and removes entries that are kept for long enough.

use std::time::Duration;

use futures::future::BoxFuture;
use gristmill_service::audit::{AuditSettings, prune, sign_heads};
use gristmill_service::retention::RetentionSettings;
use gristmill_store::Result;

use super::Common;
use crate::duty::{Duty, Next, Wake};

/// Signs heads, archives and removes entries.
pub(super) struct Audit {
    pub(super) common: Common,
    pub(super) every: Duration,
    pub(super) settings: AuditSettings,
    pub(super) retention: RetentionSettings,
}

impl Duty for Audit {
    fn name(&self) -> &'static str {
        "audit"
    }

    fn every(&self) -> Duration {
        self.every
    }

    fn work(&mut self, _: Wake) -> BoxFuture<'_, Result<Next>> {
        Box::pin(async move {
            let signed = sign_heads(&self.common.store, &self.settings).await?;
            if signed > 0 {
                tracing::info!(chains = signed, "the heads of the audit are signed");
            }
            let removed = prune(&self.common.store, &self.retention).await?;
            if removed > 0 {
                tracing::info!(entries = removed, "entries of the audit are removed after their time");
            }
            Ok(Next::Beat)
        })
    }
}
