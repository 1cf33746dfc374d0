//! Errors that an operator has acknowledged: the steps of [`crate::sql`] in this database's transactions.

use async_trait::async_trait;
use gristmill_core::Instant;

use super::PostgresStore;
use super::connect::{control, look, transact};
use crate::error::Result;
use crate::sql::acknowledged;
use crate::{AcknowledgementView, Acknowledgements, ControlReport, NewAcknowledgement};

#[async_trait]
impl Acknowledgements for PostgresStore {
    async fn acknowledge_error(&self, ack: &NewAcknowledgement, dry_run: bool) -> Result<ControlReport> {
        control!(self, dry_run, acknowledged::acknowledge, ack)
    }

    async fn reopen_error(&self, tenant: &str, fingerprint: &str, dry_run: bool) -> Result<ControlReport> {
        control!(self, dry_run, acknowledged::reopen, (tenant, fingerprint))
    }

    async fn acknowledged(&self, tenant: &str) -> Result<Vec<AcknowledgementView>> {
        look!(self, acknowledged::list, tenant)
    }

    async fn acknowledged_of(&self, tenant: &str, fingerprints: &[String]) -> Result<Vec<AcknowledgementView>> {
        if fingerprints.is_empty() {
            return Ok(Vec::new());
        }
        look!(self, acknowledged::list_of, &(tenant, fingerprints))
    }

    async fn prune_acknowledged(&self, before: Instant, limit: u32) -> Result<u64> {
        transact!(self, acknowledged::prune, &(before, limit)).await
    }
}
