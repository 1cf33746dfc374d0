//! Identifiers: one type for each thing, so that they cannot be mixed up.
//!
//! Ids are UUID version 7 (RFC 9562): they sort by creation time, so that a list can page by key and a database index
//! grows at one end.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// The tenant when none is given.
pub const DEFAULT_TENANT: &str = "main";

/// The tenant of the installation itself: its mails to people, and the audit of what concerns no tenant. No name of a
/// tenant that can be created begins with `@`, so that it has no member.
pub const INSTALLATION_TENANT: &str = "@accounts";

/// Whether a text can name a queue, a kind of job or a batch definition: 1 to 100 letters, digits, `-` and `_`.
pub fn is_name(text: &str) -> bool {
    (1..=100).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte))
}

macro_rules! id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub Uuid);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.hyphenated().fmt(f)
            }
        }

        impl FromStr for $name {
            type Err = uuid::Error;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                Uuid::parse_str(text).map(Self)
            }
        }

        impl From<Uuid> for $name {
            fn from(id: Uuid) -> Self {
                Self(id)
            }
        }
    };
}

id!(
    /// One job.
    JobId
);
id!(
    /// One batch.
    BatchId
);
id!(
    /// One operation over many jobs.
    OperationId
);
id!(
    /// One person who can log in.
    UserId
);
id!(
    /// One API token.
    TokenId
);
id!(
    /// One session of a person who has logged in.
    SessionId
);
id!(
    /// One key that signs access tokens.
    KeyId
);
id!(
    /// One link that may be used once, such as an invitation.
    LinkId
);
id!(
    /// One incarnation of a process: created at each start, never reused.
    WorkerId
);
