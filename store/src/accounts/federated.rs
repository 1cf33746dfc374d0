//! Logins by another issuer, which vouches for a person: accounts are known by its subjects.

use std::time::Duration;

use gristmill_core::Instant;
use gristmill_core::access::Role;
use gristmill_core::email_address::EmailAddress;
use gristmill_core::id::{SessionId, UserId};
use gristmill_core::linking::NotLinked;

use super::sessions::{SecretHash, SessionView};

/// A login for which an issuer vouches.
#[derive(Debug, Clone, PartialEq)]
pub struct FederatedLogin {
    /// The SHA-256 of the state with which it began: it comes back once.
    pub state: SecretHash,
    /// For how long a login may take, so that nothing of it is kept for longer.
    pub state_lifetime: Duration,
    /// The issuer.
    pub issuer: String,
    /// Who it is, among the issuer's subjects.
    pub subject: String,
    /// The person's address of mail, where the issuer has verified it.
    pub email: Option<EmailAddress>,
    /// The tenant to which the provider belongs.
    pub tenant: String,
    /// Whether the account with this address is taken, where the subject is not known yet and
    /// [`by_address`](gristmill_core::linking::by_address) allows it.
    pub links: bool,
    /// The id and the person's name for an account that is made where there is none.
    pub makes: Option<(UserId, String)>,
    /// Their role in the provider's tenant from now on; `None` changes nothing there. An owner stays one.
    pub role: Option<Role>,
    /// The session that is opened.
    pub session: FederatedSession,
}

/// A session to be opened for a person of an issuer.
#[derive(Debug, Clone, PartialEq)]
pub struct FederatedSession {
    /// Its id.
    pub id: SessionId,
    /// The SHA-256 of its secret.
    pub hash: SecretHash,
    /// From where: an IP address, or the network of one.
    pub address: String,
    /// With which program: cut at 300 characters.
    pub agent: Option<String>,
    /// After how long it ends in any case.
    pub lifetime: Duration,
    /// After how long it ends when it is not used.
    pub idle: Duration,
}

/// What came of it.
#[derive(Debug, Clone, PartialEq)]
pub enum FederatedAnswer {
    /// A session was opened.
    Opened(Box<Federated>),
    /// The account that has the address is not taken by it. The state is spent, and nothing else happened.
    Refused(NotLinked),
}

/// A session that was opened for a person of an issuer.
#[derive(Debug, Clone, PartialEq)]
pub struct Federated {
    /// The session.
    pub session: SessionView,
    /// Whether the account is known by this subject from now on.
    pub linked: bool,
    /// Whether the account was made.
    pub made: bool,
}

/// A login elsewhere by which an account is to be known, because its user has asked for it.
#[derive(Debug, Clone, PartialEq)]
pub struct NewLogin {
    /// The SHA-256 of the state with which it began: it comes back once.
    pub state: SecretHash,
    /// For how long it may take, so that nothing of it is kept for longer.
    pub state_lifetime: Duration,
    /// The issuer.
    pub issuer: String,
    /// Who it is, among the issuer's subjects.
    pub subject: String,
    /// Whose account.
    pub user: UserId,
}

/// A login elsewhere by which an account is known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LoginView {
    /// The issuer.
    pub issuer: String,
    /// Who it is, among the issuer's subjects.
    pub subject: String,
    /// Since when.
    pub created_at: Instant,
    /// When it was used last; when it was linked, where it never was.
    pub last_login_at: Instant,
}
