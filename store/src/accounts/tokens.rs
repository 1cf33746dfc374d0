//! API tokens: how programs are known.

use gristmill_core::Instant;
use gristmill_core::access::Permission;
use gristmill_core::id::{TokenId, UserId};
use serde::{Deserialize, Serialize};

use super::SecretHash;

/// How many scopes a token has at most: every permission once.
pub const TOKEN_SCOPES_MAX: usize = Permission::ALL.len();

/// A token to be created.
#[derive(Debug, Clone, PartialEq)]
pub struct NewToken {
    /// Its id.
    pub id: TokenId,
    /// The SHA-256 of its secret.
    pub hash: SecretHash,
    /// The beginning of its secret, by which people know it.
    pub prefix: String,
    /// Whose it is.
    pub user: UserId,
    /// The tenant that it is for.
    pub tenant: String,
    /// What it is called: 1 to 200 characters.
    pub name: String,
    /// What it is limited to; `None` for all that its user may do.
    pub scopes: Option<Vec<Permission>>,
    /// For how long it lasts; `None` until it is revoked.
    pub lifetime: Option<std::time::Duration>,
}

/// A token, without its secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct TokenView {
    /// Its id; also its key in lists.
    pub id: TokenId,
    /// What it is called.
    pub name: String,
    /// The beginning of its secret.
    pub prefix: String,
    /// The tenant that it is for.
    pub tenant: String,
    /// Whose it is.
    pub user: UserId,
    /// The address of the one whose it is.
    pub email: String,
    /// What it is limited to; `null` for all that its user may do.
    pub scopes: Option<Vec<Permission>>,
    /// When it was created.
    #[cfg_attr(feature = "schema", schema(value_type = chrono::DateTime<chrono::Utc>))]
    pub created_at: Instant,
    /// When it is over; `null` for never.
    #[cfg_attr(feature = "schema", schema(value_type = Option<chrono::DateTime<chrono::Utc>>))]
    pub expires_at: Option<Instant>,
    /// When it was last used, to the minute.
    #[cfg_attr(feature = "schema", schema(value_type = Option<chrono::DateTime<chrono::Utc>>))]
    pub last_used_at: Option<Instant>,
}
