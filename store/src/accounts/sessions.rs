//! Sessions: how people are known once they have logged in; and how callers are recognized.

use std::time::Duration;

use gristmill_core::Instant;
use gristmill_core::access::Principal;
use gristmill_core::email_address::EmailAddress;
use gristmill_core::id::{SessionId, UserId};
use gristmill_core::login::TryLimit;
use serde::{Deserialize, Serialize};

use super::factors::Second;

gristmill_core::words! {
    /// How a session is known.
    pub enum SessionKind {
        /// By the cookie of a browser.
        Browser = "browser",
        /// By access tokens, and by a refresh token that is another one after each use.
        Tokens = "tokens",
    }
}

/// The SHA-256 of a secret.
pub type SecretHash = [u8; 32];

/// A try to log in.
#[derive(Debug, Clone, PartialEq)]
pub struct LoginTry {
    /// The account as it was typed; `None` when that is no address, and so no user's.
    pub email: Option<EmailAddress>,
    /// Where the try comes from: an IP address, or the network of one.
    pub address: String,
    /// How many tries an account may have.
    pub per_account: TryLimit,
    /// How many tries an address may have.
    pub per_address: TryLimit,
}

/// How a login begins.
#[derive(Debug, Clone, PartialEq)]
pub enum LoginStart {
    /// There were too many tries.
    Wait {
        /// Until when.
        until: Instant,
        /// The store's time.
        now: Instant,
    },
    /// The user who may log in with the password of this hash; `None` when there is none, which the caller must not show.
    Compare(Option<(UserId, String)>),
}

/// A session to be opened.
#[derive(Debug, Clone, PartialEq)]
pub struct NewSession {
    /// Its id.
    pub id: SessionId,
    /// How it is known.
    pub kind: SessionKind,
    /// The SHA-256 of its secret: of a session by tokens that of its first refresh token.
    pub hash: SecretHash,
    /// Whose it is.
    pub user: UserId,
    /// The hash of the password that was verified.
    pub verified: String,
    /// What was shown of a second factor: it is spent.
    pub second: Option<Second>,
    /// The try that succeeded.
    pub attempt: LoginTry,
    /// With which program: cut at 300 characters.
    pub agent: Option<String>,
    /// After how long it ends in any case.
    pub lifetime: Duration,
    /// After how long it ends when it is not used.
    pub idle: Duration,
}

/// A session, without its secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct SessionView {
    /// Its id; also its key in lists.
    pub id: SessionId,
    /// Whose it is.
    pub user: UserId,
    /// How it is known.
    pub kind: SessionKind,
    /// From where it was opened.
    pub address: Option<String>,
    /// With which program it was opened.
    pub agent: Option<String>,
    /// When it was opened.
    #[cfg_attr(feature = "schema", schema(value_type = chrono::DateTime<chrono::Utc>))]
    pub created_at: Instant,
    /// When it was last used: one of a browser to the minute, one by tokens when it was last refreshed.
    #[cfg_attr(feature = "schema", schema(value_type = chrono::DateTime<chrono::Utc>))]
    pub last_seen_at: Instant,
    /// When it ends in any case.
    #[cfg_attr(feature = "schema", schema(value_type = chrono::DateTime<chrono::Utc>))]
    pub expires_at: Instant,
}

/// A refresh token that is used, and the one that takes its place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RefreshSession {
    /// The SHA-256 of the one that is used.
    pub spent: SecretHash,
    /// The SHA-256 of the next one.
    pub next: SecretHash,
    /// After how long the session ends unless that one is used.
    pub idle: Duration,
}

/// What became of a refresh token.
#[derive(Debug, Clone, PartialEq)]
pub enum Refreshed {
    /// The session goes on.
    Renewed(SessionView),
    /// It was used before, and another program has its successor: the session was ended, if it was not over.
    Reused,
    /// It is unknown, or its session is over, or its user not active.
    Unknown,
}

/// Sessions to be ended.
#[derive(Debug, Clone, PartialEq)]
pub struct EndSessions {
    /// Whose.
    pub user: UserId,
    /// Which of them.
    pub which: WhichSessions,
}

/// Which sessions of a user.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WhichSessions {
    /// The one with this id.
    One(SessionId),
    /// The one with this secret.
    WithSecret(SecretHash),
    /// All but the one with this secret.
    AllBut(Option<SecretHash>),
}

/// What is known of a caller whose secret is right.
#[derive(Debug, Clone, PartialEq)]
pub enum Recognition {
    /// It may ask for things in the tenant.
    Known(Recognized),
    /// It is no member of the tenant that it asks for, or of any.
    NotMember,
    /// The tenant is suspended.
    Suspended,
}

/// A caller that has been recognized.
#[derive(Debug, Clone, PartialEq)]
pub struct Recognized {
    /// Who it is, and what it may do.
    pub principal: Principal,
    /// Whether its last use was noted a minute ago or longer.
    pub stale: bool,
    /// How many requests in a minute its tenant may send, where that is limited.
    pub requests_per_minute: Option<u32>,
}
