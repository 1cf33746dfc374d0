//! Errors that an operator has acknowledged: the steps of [`crate::sql`] in this database's transactions.

use async_trait::async_trait;
use gristmill_core::Instant;

use super::SqliteStore;
use super::control::finish;
use super::sql::{Reading, transact};
use super::transition::Transition;
use crate::error::Result;
use crate::sql::acknowledged;
use crate::{AcknowledgementView, Acknowledgements, ControlReport, NewAcknowledgement};

#[async_trait]
impl Acknowledgements for SqliteStore {
    async fn acknowledge_error(&self, ack: &NewAcknowledgement, dry_run: bool) -> Result<ControlReport> {
        let mut t = Transition::begin(self).await?;
        let report = acknowledged::acknowledge(&mut t, &ack).await?;
        finish(t, report, dry_run).await
    }

    async fn reopen_error(&self, tenant: &str, fingerprint: &str, dry_run: bool) -> Result<ControlReport> {
        let mut t = Transition::begin(self).await?;
        let report = acknowledged::reopen(&mut t, &(tenant, fingerprint)).await?;
        finish(t, report, dry_run).await
    }

    async fn acknowledged(&self, tenant: &str) -> Result<Vec<AcknowledgementView>> {
        acknowledged::list(&mut Reading(&self.readers), tenant).await
    }

    async fn acknowledged_of(&self, tenant: &str, fingerprints: &[String]) -> Result<Vec<AcknowledgementView>> {
        if fingerprints.is_empty() {
            return Ok(Vec::new());
        }
        acknowledged::list_of(&mut Reading(&self.readers), &(tenant, fingerprints)).await
    }

    async fn prune_acknowledged(&self, before: Instant, limit: u32) -> Result<u64> {
        transact!(self, acknowledged::prune, &(before, limit))
    }
}
