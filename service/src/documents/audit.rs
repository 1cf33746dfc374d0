//! Entries of the audit, and what verifying it has shown.

use gristmill_core::Instant;
use gristmill_core::audit::{SealedEntry, Sum};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use uuid::Uuid;

use crate::audit::Verified;

/// An entry of the audit.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct AuditEntryDocument {
    /// Its number in its tenant's chain; also its key in lists.
    pub seq: u64,
    /// When it was written.
    #[schema(value_type = chrono::DateTime<chrono::Utc>)]
    pub at: Instant,
    /// Whose chain it is in.
    pub tenant: String,
    /// The actor's name.
    pub actor: String,
    /// What kind of actor.
    pub actor_kind: String,
    /// The id of the user or token.
    pub subject: Option<Uuid>,
    /// The actor's role in the tenant.
    pub role: Option<String>,
    /// The network address that the order came from.
    pub address: Option<String>,
    /// The id of the request that carried it.
    pub request: Option<String>,
    /// What was done.
    pub action: String,
    /// To what.
    pub target: String,
    /// Why.
    pub reason: Option<String>,
    /// What it did.
    #[serde(deserialize_with = "gristmill_core::json::value")]
    pub details: Value,
    /// The order that it belongs to.
    pub order: Uuid,
    /// The step of that order.
    pub step: Uuid,
    /// The hash of the entry before it.
    pub previous: Sum,
    /// Its own hash.
    pub hash: Sum,
}

impl From<SealedEntry> for AuditEntryDocument {
    fn from(sealed: SealedEntry) -> Self {
        let SealedEntry { entry, previous, hash } = sealed;
        // What another hand has written is shown as it is.
        let details = serde_json::from_str(&entry.details).unwrap_or(Value::String(entry.details));
        Self {
            seq: entry.seq,
            at: entry.at,
            tenant: entry.tenant,
            actor: entry.actor,
            actor_kind: entry.actor_kind,
            subject: entry.subject,
            role: entry.role,
            address: entry.address,
            request: entry.request,
            action: entry.action,
            target: entry.target,
            reason: entry.reason,
            details,
            order: entry.order,
            step: entry.step,
            previous,
            hash,
        }
    }
}

/// What verifying the audit has shown.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct AuditVerifiedDocument {
    /// Whether every entry of every chain fits.
    pub ok: bool,
    /// The chains, by tenant.
    pub chains: Vec<Verified>,
}

impl AuditVerifiedDocument {
    /// What following these chains has shown.
    pub fn new(chains: Vec<Verified>) -> Self {
        Self { ok: chains.iter().all(|chain| chain.broken.is_none()), chains }
    }
}
