//! Tenants: organisations that cannot see each other.

use gristmill_core::Instant;
use gristmill_core::id::UserId;
use serde::{Deserialize, Serialize};

gristmill_core::words! {
    /// Whether a tenant may be used.
    pub enum TenantState {
        /// May be used.
        Active = "active",
        /// No member and no token of it is recognized. Its work goes on.
        Suspended = "suspended",
    }
}

/// What a tenant may have at most; what is missing is not limited.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(default, deny_unknown_fields)]
pub struct Quotas {
    /// Jobs that have not ended.
    pub jobs_waiting: Option<u64>,
    /// Batches that have not ended.
    pub batches_active: Option<u64>,
    /// Requests to the API in a minute.
    pub requests_per_minute: Option<u32>,
    /// Bytes of copies of inputs, and of uploads.
    pub storage_bytes: Option<u64>,
}

/// A tenant to be created.
#[derive(Debug, Clone, PartialEq)]
pub struct NewTenant {
    /// Its name: 1 to 100 characters, none of them a control character, and the first one no `@`: such tenants are the
    /// installation's own.
    pub name: String,
    /// What it may have at most.
    pub quotas: Quotas,
    /// Its first owner.
    pub owner: Option<UserId>,
}

/// A tenant.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct TenantView {
    /// Its name; also its key in lists.
    pub name: String,
    /// Whether it may be used.
    pub state: TenantState,
    /// Why it is suspended, if that was said.
    pub reason: Option<String>,
    /// What it may have at most.
    pub quotas: Quotas,
    /// How many members it has.
    pub members: u64,
    /// When it was created.
    #[cfg_attr(feature = "schema", schema(value_type = chrono::DateTime<chrono::Utc>))]
    pub created_at: Instant,
    /// Since when it has been suspended.
    #[cfg_attr(feature = "schema", schema(value_type = Option<chrono::DateTime<chrono::Utc>>))]
    pub suspended_at: Option<Instant>,
}

/// What is changed of a tenant.
#[derive(Debug, Clone, PartialEq)]
pub enum TenantChange {
    /// It is suspended.
    Suspend {
        /// Why.
        reason: Option<String>,
    },
    /// It may be used again.
    Resume,
    /// What it may have at most.
    Quotas {
        /// What that is from now on.
        quotas: Quotas,
        /// What it was when it was seen; nothing changes when it is another by now. `None` to replace any.
        seen: Option<Quotas>,
    },
}
