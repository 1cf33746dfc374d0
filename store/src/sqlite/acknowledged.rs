//! Errors that an operator has acknowledged: the steps of [`crate::sql`] in this database's transactions.

use async_trait::async_trait;

use super::SqliteStore;
use super::control::finish;
use super::sql::Reading;
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
}
