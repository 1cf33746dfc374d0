//! The keys that sign access tokens.

use std::time::Duration;

use gristmill_core::Instant;
use gristmill_core::id::KeyId;
use serde::{Deserialize, Serialize};

/// A key that is to sign from now on.
#[derive(Clone, PartialEq, Eq)]
pub struct NewKey {
    /// Its id.
    pub id: KeyId,
    /// Its public half: 32 bytes of Ed25519.
    pub public: Vec<u8>,
    /// Its secret half, as it is stored: at most 256 bytes.
    pub secret: Vec<u8>,
    /// For how long the one before it verifies; `None` when it is only wanted where no key signs.
    pub replaces: Option<Duration>,
}

/// The key that signs.
#[derive(Clone, PartialEq, Eq)]
pub struct SigningKey {
    /// Its id.
    pub id: KeyId,
    /// Its secret half, as it is stored.
    pub secret: Vec<u8>,
}

/// A key by which tokens are verified.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct KeyView {
    /// Its id, which its tokens name as `kid`.
    #[cfg_attr(feature = "schema", schema(value_type = uuid::Uuid))]
    pub id: KeyId,
    /// Its public half: 32 bytes of Ed25519, in base 16.
    pub public: String,
    /// Whether it signs.
    pub signs: bool,
    /// Since when it is there.
    #[cfg_attr(feature = "schema", schema(value_type = chrono::DateTime<chrono::Utc>))]
    pub created_at: Instant,
    /// Until when it verifies; `null` while it signs.
    #[cfg_attr(feature = "schema", schema(value_type = Option<chrono::DateTime<chrono::Utc>>))]
    pub ends_at: Option<Instant>,
}

impl std::fmt::Debug for NewKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("NewKey").field("id", &self.id).field("replaces", &self.replaces).finish_non_exhaustive()
    }
}

impl std::fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SigningKey").field("id", &self.id).finish_non_exhaustive()
    }
}
