//! The audit: the steps of [`crate::sql`] in PostgreSQL's transactions.

use std::sync::Arc;

use async_trait::async_trait;
use gristmill_core::audit::{ChainEnd, SealedEntry, SignedHead};
use serde_json::{Map, Value};

use super::PostgresStore;
use super::connect::{look, transact};
use super::fault::Outcome;
use super::work::Work;
use crate::error::Result;
use crate::sql::audit;
use crate::{Attribution, Audit, AuditFilter, AuditHead, StoreHandle};

#[async_trait]
impl Audit for PostgresStore {
    fn attributed(self: Arc<Self>, attribution: Attribution) -> StoreHandle {
        Arc::new(PostgresStore::attributed(&self, attribution))
    }

    async fn record_audit(&self, attribution: &Attribution, fields: &Map<String, Value>) -> Result<bool> {
        transact!(self, record, (attribution, fields)).await
    }

    async fn audit(&self, filter: &AuditFilter) -> Result<Vec<SealedEntry>> {
        look!(self, audit::list, filter)
    }

    async fn audit_behind(&self, tenant: &str, seq: u64, limit: u32) -> Result<Vec<SealedEntry>> {
        look!(self, audit::behind, tenant, seq, limit)
    }

    async fn audit_heads(&self, tenant: Option<&str>) -> Result<Vec<AuditHead>> {
        look!(self, audit::heads, tenant)
    }

    async fn keep_signed_head(&self, head: &SignedHead) -> Result<bool> {
        transact!(self, audit::keep_signed, head).await
    }

    async fn signed_heads(&self, tenant: &str, seq: u64) -> Result<Vec<SignedHead>> {
        look!(self, audit::signed, tenant, seq)
    }

    async fn prune_audit(&self, attribution: &Attribution, to: ChainEnd) -> Result<u64> {
        transact!(self, audit::prune, (attribution, to)).await
    }
}

async fn record(work: &mut Work<'_>, (attribution, fields): &(&Attribution, &Map<String, Value>)) -> Outcome<bool> {
    audit::append(work, attribution, fields).await
}
