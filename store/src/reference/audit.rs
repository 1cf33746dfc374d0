//! The audit of the model: none. It is no part of what moves work, which is what the model is for; both databases are
//! tested against the chain itself instead.

use std::sync::Arc;

use async_trait::async_trait;
use gristmill_core::audit::{ChainEnd, SealedEntry, SignedHead};
use serde_json::{Map, Value};

use super::ReferenceStore;
use crate::error::Result;
use crate::{Attribution, Audit, AuditFilter, AuditHead, StoreHandle};

#[async_trait]
impl Audit for ReferenceStore {
    fn attributed(self: Arc<Self>, _: Attribution) -> StoreHandle {
        self
    }

    async fn record_audit(&self, _: &Attribution, _: &Map<String, Value>) -> Result<bool> {
        Ok(false)
    }

    async fn audit(&self, _: &AuditFilter) -> Result<Vec<SealedEntry>> {
        Ok(Vec::new())
    }

    async fn audit_behind(&self, _: &str, _: u64, _: u32) -> Result<Vec<SealedEntry>> {
        Ok(Vec::new())
    }

    async fn audit_heads(&self, _: Option<&str>) -> Result<Vec<AuditHead>> {
        Ok(Vec::new())
    }

    async fn keep_signed_head(&self, _: &SignedHead) -> Result<bool> {
        Ok(false)
    }

    async fn signed_heads(&self, _: &str, _: u64) -> Result<Vec<SignedHead>> {
        Ok(Vec::new())
    }

    async fn prune_audit(&self, _: &Attribution, _: ChainEnd) -> Result<u64> {
        Ok(0)
    }
}
