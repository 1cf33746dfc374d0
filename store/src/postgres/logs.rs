//! Logs of attempts: the steps of [`crate::sql`] in this database's transactions.

use async_trait::async_trait;
use gristmill_core::Instant;
use gristmill_core::id::JobId;

use super::PostgresStore;
use super::connect::{look, transact};
use crate::error::Result;
use crate::sql::logs;
use crate::{LogView, Logs, NewLog};

#[async_trait]
impl Logs for PostgresStore {
    async fn write_logs(&self, logs: &[NewLog]) -> Result<u64> {
        if logs.is_empty() {
            return Ok(0);
        }
        transact!(self, logs::write, logs).await
    }

    async fn logs(&self, tenant: &str, job: JobId, attempt: Option<u32>, limit: u32) -> Result<Vec<LogView>> {
        look!(self, logs::logs, &(tenant, job, attempt, limit))
    }

    async fn prune_logs(&self, before: Instant, limit: u32) -> Result<u64> {
        transact!(self, logs::prune, &(before, limit)).await
    }
}
