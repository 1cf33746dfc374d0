//! Links that may be used once: invitations, a new password, the first owner, the proof of an address.

use std::time::Duration;

use gristmill_core::Instant;
use gristmill_core::access::Role;
use gristmill_core::email_address::EmailAddress;
use gristmill_core::id::{LinkId, UserId};
use gristmill_core::job::NewJob;
use gristmill_core::login::TryLimit;
use serde::{Deserialize, Serialize};

use super::{Appointer, SecretHash};
use crate::Dispatched;

/// What is said of a link that does nothing, whatever the reason.
pub const LINK_OVER: &str =
    "the link does nothing: it is unknown, was used or replaced, or its time is over; ask for a new one";

gristmill_core::words! {
    /// What a link is for.
    pub enum LinkPurpose {
        /// To make the first user, who owns the installation.
        FirstOwner = "first_owner",
        /// To become a member of a tenant.
        Invite = "invite",
        /// To choose a password.
        Reset = "reset",
        /// To show that an address is theirs, and to make an account where it has none.
        Verify = "verify",
    }
}

/// A link to be created.
#[derive(Debug, Clone, PartialEq)]
pub struct NewLink {
    /// Its id.
    pub id: LinkId,
    /// The SHA-256 of its secret.
    pub hash: SecretHash,
    /// What it is for.
    pub purpose: LinkPurpose,
    /// For whom; `None` only for a first owner.
    pub email: Option<EmailAddress>,
    /// The tenant and the role, of an invitation and of a first owner.
    pub member: Option<(String, Role)>,
    /// Who asks for it.
    pub by: Appointer,
    /// For how long it may be used.
    pub lifetime: Duration,
    /// The letter that carries it; `None` when the caller hands it over.
    pub letter: Option<Letter>,
}

/// A letter with a link.
#[derive(Debug, Clone, PartialEq)]
pub struct Letter {
    /// The job that sends it.
    pub job: NewJob,
    /// Within which time no second one of its purpose goes to the same address.
    pub once_in: Duration,
}

/// What an unused link is for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct LinkView {
    /// What it is for.
    pub purpose: LinkPurpose,
    /// For whom, where that is fixed.
    pub email: Option<String>,
    /// The tenant of an invitation.
    pub tenant: Option<String>,
    /// The role of an invitation.
    pub role: Option<Role>,
    /// Whether the address has an account already, so that an invitation needs neither name nor password.
    pub has_account: bool,
    /// Until when it may be used.
    #[cfg_attr(feature = "schema", schema(value_type = chrono::DateTime<chrono::Utc>))]
    pub expires_at: Instant,
}

/// What a person says of themselves who gets an account.
#[derive(Debug, Clone, PartialEq)]
pub struct NewPerson {
    /// The id of their account.
    pub id: UserId,
    /// What they are called: 1 to 200 characters.
    pub name: String,
    /// The hash of their password.
    pub password: String,
}

/// What a link is used with.
#[derive(Debug, Clone, PartialEq)]
pub enum LinkUse {
    /// To make the first user, with this address.
    FirstOwner {
        /// Their address.
        email: EmailAddress,
        /// Who they are.
        person: NewPerson,
    },
    /// To accept an invitation; `None` where the address has an account.
    Accept(Option<NewPerson>),
    /// To choose a password, with this hash. All sessions end, and waiting for tries to log in ends.
    Reset {
        /// The hash.
        password: String,
    },
    /// To show that an address is theirs: an unverified user becomes active.
    Verify,
    /// To show that an address is theirs which has no account, and to make one.
    Register(NewPerson),
}

/// A person who asks for an account.
#[derive(Debug, Clone, PartialEq)]
pub struct Registration {
    /// The link that is mailed to their address, of purpose [`LinkPurpose::Verify`]. Its tenant and role, where it has
    /// them, are those of the account that is made by it.
    pub link: NewLink,
    /// Where the wish comes from: an IP address, or the network of one.
    pub address: String,
    /// How many wishes an address may have.
    pub per_address: TryLimit,
    /// How many wishes there may be from all addresses together.
    pub in_all: TryLimit,
}

/// How a registration begins.
#[derive(Debug, Clone, PartialEq)]
pub enum RegistrationStart {
    /// There were too many.
    Wait {
        /// Until when.
        until: Instant,
        /// The store's time.
        now: Instant,
    },
    /// The link was made, and its letter enqueued; `None` where the address has an account, or was sent one a few minutes
    /// ago, which the caller must not show.
    Begun(Option<(LinkId, Dispatched)>),
}

impl LinkUse {
    /// The purpose of links that are used so.
    pub fn purpose(&self) -> LinkPurpose {
        match self {
            Self::FirstOwner { .. } => LinkPurpose::FirstOwner,
            Self::Accept(_) => LinkPurpose::Invite,
            Self::Reset { .. } => LinkPurpose::Reset,
            Self::Verify | Self::Register(_) => LinkPurpose::Verify,
        }
    }
}

/// What came of a link.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UsedLink {
    /// The user whom it concerned.
    pub user: UserId,
    /// Their address.
    pub email: String,
    /// Whether their account was created by it.
    pub created: bool,
    /// The membership that it gave.
    pub member: Option<(String, Role)>,
}

/// An invitation that is open.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct InvitationView {
    /// Its id; also its key in lists.
    pub id: LinkId,
    /// Who is invited.
    pub email: String,
    /// The tenant.
    pub tenant: String,
    /// The role that they get.
    pub role: Role,
    /// The address of the one who invited them; `null` when it was the owner of the database.
    pub by: Option<String>,
    /// When they were invited.
    #[cfg_attr(feature = "schema", schema(value_type = chrono::DateTime<chrono::Utc>))]
    pub created_at: Instant,
    /// Until when they may accept.
    #[cfg_attr(feature = "schema", schema(value_type = chrono::DateTime<chrono::Utc>))]
    pub expires_at: Instant,
}
