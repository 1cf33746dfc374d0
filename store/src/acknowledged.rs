//! Errors that an operator has acknowledged: by the short names of their fingerprints, until they come again.

use std::fmt::Debug;

use async_trait::async_trait;
use gristmill_core::Instant;
use serde::{Deserialize, Serialize};

use crate::ControlReport;
use crate::error::Result;

/// How many [`Acknowledgements::acknowledged`] lists at most, the newest.
pub const ACKNOWLEDGED_MAX: u32 = 1_000;

/// What was acknowledged.
#[async_trait]
pub trait Acknowledgements: Debug + Send + Sync + 'static {
    /// Notes that an error was seen, now. One that was seen before is seen anew: what came since then has been seen as well.
    async fn acknowledge_error(&self, ack: &NewAcknowledgement, dry_run: bool) -> Result<ControlReport>;

    /// Takes that back. Affects nothing when the error was not acknowledged.
    async fn reopen_error(&self, tenant: &str, fingerprint: &str, dry_run: bool) -> Result<ControlReport>;

    /// Returns what was acknowledged, the newest first, at most [`ACKNOWLEDGED_MAX`].
    async fn acknowledged(&self, tenant: &str) -> Result<Vec<AcknowledgementView>>;

    /// Returns which of these errors were acknowledged, by the short names of their fingerprints, however many others there
    /// are; in the order of their names. Those of one page: the statement holds all of them.
    async fn acknowledged_of(&self, tenant: &str, fingerprints: &[String]) -> Result<Vec<AcknowledgementView>>;

    /// Removes at most `limit` that were acknowledged last before an instant, the oldest first, of all tenants. Returns how
    /// many it was.
    async fn prune_acknowledged(&self, before: Instant, limit: u32) -> Result<u64>;
}

/// An operator has seen an error.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewAcknowledgement {
    /// Whose error it is.
    pub tenant: String,
    /// The short name of its fingerprint.
    pub fingerprint: String,
    /// Who has seen it.
    pub by: String,
    /// What they say of it.
    pub reason: Option<String>,
}

/// An error that an operator has seen.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct AcknowledgementView {
    /// The short name of its fingerprint.
    pub fingerprint: String,
    /// Who has seen it.
    pub by: String,
    /// What they say of it.
    pub reason: Option<String>,
    /// When: what failed of it since then is new.
    #[cfg_attr(feature = "schema", schema(value_type = chrono::DateTime<chrono::Utc>))]
    pub at: Instant,
}
