//! The audit: the steps of [`crate::sql`] in SQLite's transactions. What only looks runs on the connections that read.

use std::sync::Arc;

use async_trait::async_trait;
use gristmill_core::audit::{ChainEnd, SealedEntry, SignedHead};
use serde_json::{Map, Value};

use super::SqliteStore;
use super::sql::{Reading, transact};
use super::transition::Transition;
use crate::error::Result;
use crate::sql::audit;
use crate::{Attribution, Audit, AuditFilter, AuditHead, StoreHandle};

#[async_trait]
impl Audit for SqliteStore {
    fn attributed(self: Arc<Self>, attribution: Attribution) -> StoreHandle {
        Arc::new(SqliteStore::attributed(&self, attribution))
    }

    async fn record_audit(&self, attribution: &Attribution, fields: &Map<String, Value>) -> Result<bool> {
        let mut t = Transition::begin(self).await?;
        let written = audit::append(&mut t, attribution, fields).await?;
        t.commit().await?;
        Ok(written)
    }

    async fn audit(&self, filter: &AuditFilter) -> Result<Vec<SealedEntry>> {
        audit::list(&mut Reading(&self.readers), filter).await
    }

    async fn audit_behind(&self, tenant: &str, seq: u64, limit: u32) -> Result<Vec<SealedEntry>> {
        audit::behind(&mut Reading(&self.readers), tenant, seq, limit).await
    }

    async fn audit_heads(&self, tenant: Option<&str>) -> Result<Vec<AuditHead>> {
        audit::heads(&mut Reading(&self.readers), tenant).await
    }

    async fn keep_signed_head(&self, head: &SignedHead) -> Result<bool> {
        transact!(self, audit::keep_signed, head)
    }

    async fn signed_heads(&self, tenant: &str, seq: u64) -> Result<Vec<SignedHead>> {
        audit::signed(&mut Reading(&self.readers), tenant, seq).await
    }

    async fn prune_audit(&self, attribution: &Attribution, to: ChainEnd) -> Result<u64> {
        transact!(self, audit::prune, &(attribution, to))
    }
}
