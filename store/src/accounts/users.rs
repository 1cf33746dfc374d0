//! Users, and their roles in tenants.

use gristmill_core::Instant;
use gristmill_core::access::Role;
use gristmill_core::email_address::EmailAddress;
use gristmill_core::id::UserId;
use serde::{Deserialize, Serialize};

use super::SecretHash;

gristmill_core::words! {
    /// Whether a user may log in.
    pub enum UserState {
        /// May log in.
        Active = "active",
        /// May not: neither sessions nor tokens are recognized.
        Disabled = "disabled",
        /// Has registered, and not shown yet that the address is theirs.
        Unverified = "unverified",
    }
}

/// A user to be created.
#[derive(Debug, Clone, PartialEq)]
pub struct NewUser {
    /// Their id.
    pub id: UserId,
    /// Their address, by which they log in.
    pub email: EmailAddress,
    /// What they are called: 1 to 200 characters.
    pub name: String,
    /// The hash of their password (a PHC string); `None` when they choose it later, by a link.
    pub password: Option<String>,
    /// Whether they may log in.
    pub state: UserState,
    /// Whether they may create, suspend and delete tenants.
    pub installation: bool,
    /// Their tenant and their role there.
    pub member: Option<(String, Role)>,
}

/// A user.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct UserView {
    /// Their id.
    pub id: UserId,
    /// Their address; also their key in lists.
    pub email: String,
    /// What they are called.
    pub name: String,
    /// Whether they may log in.
    pub state: UserState,
    /// Whether they have chosen a password.
    pub has_password: bool,
    /// Whether they may create, suspend and delete tenants.
    pub installation: bool,
    /// Where they are members, by tenant.
    pub memberships: Vec<MembershipView>,
    /// When they were created.
    #[cfg_attr(feature = "schema", schema(value_type = chrono::DateTime<chrono::Utc>))]
    pub created_at: Instant,
    /// When they last logged in.
    #[cfg_attr(feature = "schema", schema(value_type = Option<chrono::DateTime<chrono::Utc>>))]
    pub last_login_at: Option<Instant>,
}

/// A role in a tenant.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct MembershipView {
    /// The tenant.
    pub tenant: String,
    /// The role.
    pub role: Role,
}

/// A member of a tenant.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct MemberView {
    /// The user's id.
    pub user: UserId,
    /// Their address; also their key in lists.
    pub email: String,
    /// What they are called.
    pub name: String,
    /// Their role in the tenant.
    pub role: Role,
    /// Whether they may log in.
    pub state: UserState,
    /// Since when they have been members.
    #[cfg_attr(feature = "schema", schema(value_type = chrono::DateTime<chrono::Utc>))]
    pub since: Instant,
    /// When they last logged in.
    #[cfg_attr(feature = "schema", schema(value_type = Option<chrono::DateTime<chrono::Utc>>))]
    pub last_login_at: Option<Instant>,
}

/// What is changed of a user.
#[derive(Debug, Clone, PartialEq)]
pub enum UserChange {
    /// What they are called.
    Name(String),
    /// The hash of their password. All their sessions end but for the one with this secret, and waiting for tries to log
    /// in ends.
    Password {
        /// The new one, a PHC string.
        hash: String,
        /// The one that was verified before; nothing changes when it is another by now. `None` to replace any.
        verified: Option<String>,
        /// The session that stays.
        keep: Option<SecretHash>,
    },
    /// Whether they may log in. Their sessions end when they may not.
    State(UserState),
    /// Whether they may create, suspend and delete tenants.
    Installation(bool),
}

/// Who appoints.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Appointer {
    /// The owner of the database.
    Installation,
    /// A member of the tenant, judged by their role at the moment of the change.
    User(UserId),
}

/// A change of a member's role.
#[derive(Debug, Clone, PartialEq)]
pub struct MemberChange {
    /// The tenant.
    pub tenant: String,
    /// Whose role.
    pub user: UserId,
    /// The role that they get; `None` removes them.
    pub role: Option<Role>,
    /// Who asks for it.
    pub by: Appointer,
}
