//! Sessions: log in, log out, end others.

use std::time::Duration;

use gristmill_core::access::Subject;
use gristmill_core::audit::Action;
use gristmill_core::id::{SessionId, UserId};
use gristmill_core::login::{PER_ACCOUNT, PER_ADDRESS};
use gristmill_store::accounts::{EndSessions, LoginTry, NewSession, SessionKind, SessionView, WhichSessions};
use uuid::Uuid;

use super::error::{AccountError, Result};
use super::factors::spent;
use super::jwt::ACCESS_LIFETIME;
use super::secret::{Purpose, Secret};
use super::verbs::Accounts;
use crate::order::{Actor, Order};

/// What is shown to log in.
#[derive(Debug, Clone, PartialEq)]
pub struct Login {
    /// The account, as it was typed.
    pub account: String,
    /// The password.
    pub password: Secret,
    /// A code of the account's second factor, or a recovery code, where it has one.
    pub code: Option<Secret>,
    /// Where the try comes from: an address, or the network that is one caller's.
    pub address: String,
    /// With which program, as it says.
    pub agent: Option<String>,
    /// The session that the program had before: it ends with the login, because another person may know its secret.
    pub replaces: Option<Secret>,
}

/// A session, and its secret, which goes into a cookie and nowhere else.
#[derive(Debug, Clone, PartialEq)]
pub struct LoggedIn {
    /// The session.
    pub session: SessionView,
    /// Its secret: a new one for each login, so that none can have been planted.
    pub secret: Secret,
    /// After how long it ends in any case.
    pub lifetime: Duration,
}

impl Accounts {
    /// Opens a session. Whether the account exists shows neither in the answer nor in the time that it takes.
    ///
    /// # Errors
    ///
    /// `WrongPassword`, `SecondFactor` and `WrongCode` where the password is right, `Wait` after too many tries, `Busy`, and
    /// store errors.
    pub async fn log_in(&self, order: &Order, login: &Login) -> Result<LoggedIn> {
        let (session, secret) = self.open_session(order, login, SessionKind::Browser).await?;
        Ok(LoggedIn { session, secret, lifetime: self.settings.session.0 })
    }

    /// Opens a session of a kind, and returns its secret: of one by tokens the first refresh token.
    pub(super) async fn open_session(
        &self,
        order: &Order,
        login: &Login,
        kind: SessionKind,
    ) -> Result<(SessionView, Secret)> {
        let attempt = LoginTry {
            email: login.account.parse().ok(),
            address: login.address.clone(),
            per_account: PER_ACCOUNT,
            per_address: PER_ADDRESS,
        };
        let found = self.begin(order, &attempt).await?;
        let hash = found.as_ref().map(|(_, hash)| hash.as_str());
        let compared = self.passwords.compare(&login.password, hash).await?;
        let (user, verified) = found.filter(|_| compared.matches).ok_or(AccountError::WrongPassword)?;
        let verified = if compared.outdated { self.rehashed(user, &login.password, verified).await? } else { verified };
        let second = self.second_of(user, &attempt, login.code.as_ref()).await?;
        let (purpose, idle) = match kind {
            SessionKind::Browser => (Purpose::Session, self.settings.session_idle.0),
            SessionKind::Tokens => (Purpose::Refresh, self.settings.session_idle.0.max(ACCESS_LIFETIME)),
        };
        let secret = Secret::draw(purpose)?;
        let session = NewSession {
            id: SessionId(Uuid::now_v7()),
            kind,
            hash: secret.hash(),
            user,
            verified,
            second,
            attempt,
            agent: login.agent.clone(),
            lifetime: self.settings.session.0,
            idle,
        };
        // From now on it is known who gives the order.
        let name = session.attempt.email.as_ref().map(ToString::to_string).unwrap_or_default();
        let theirs = Order { actor: Actor::Caller(Subject::User(user), name), ..order.clone() };
        let store = self.at(&theirs, Action::SessionOpen, user);
        let opened = self.add(&theirs, store.finish_login(&session)).await.map_err(spent)?;
        let session = opened.ok_or(AccountError::WrongPassword)?;
        if let Some(old) = &login.replaces {
            self.end_sessions(&theirs, user, WhichSessions::WithSecret(old.hash())).await?;
        }
        Ok((session, secret))
    }

    /// Hashes a password anew that was hashed with other parameters. One that would not be chosen today stays as it is.
    async fn rehashed(&self, user: UserId, password: &Secret, verified: String) -> Result<String> {
        let Ok(hash) = self.passwords.hash(password, &[]).await else { return Ok(verified) };
        let replaced = self.store().rehash_password(user, &verified, &hash).await?;
        Ok(if replaced { hash } else { verified })
    }

    /// Ends sessions of a user, at once in this process, and within [`KEPT`](super::recognize::KEPT) in others. Returns how
    /// many there were.
    ///
    /// # Errors
    ///
    /// Store errors.
    pub async fn end_sessions(&self, order: &Order, user: UserId, which: WhichSessions) -> Result<u64> {
        let store = self.at(order, Action::SessionEnd, user);
        self.change(order, store.end_sessions(&EndSessions { user, which })).await
    }
}
