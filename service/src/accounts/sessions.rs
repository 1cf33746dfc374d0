//! Sessions: log in, log out, end others.

use std::time::Duration;

use gristmill_core::id::{SessionId, UserId};
use gristmill_core::login::{PER_ACCOUNT, PER_ADDRESS};
use gristmill_store::accounts::{EndSessions, LoginStart, LoginTry, NewSession, SessionView, WhichSessions};
use uuid::Uuid;

use super::error::{AccountError, Result};
use super::secret::{Purpose, Secret};
use super::verbs::Accounts;
use crate::order::Order;

/// What is shown to log in.
#[derive(Debug, Clone, PartialEq)]
pub struct Login {
    /// The account, as it was typed.
    pub account: String,
    /// The password.
    pub password: Secret,
    /// Where the try comes from: an address, or the network that is one caller's.
    pub address: String,
    /// With which program, as it says.
    pub agent: Option<String>,
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
    /// `WrongPassword`, `Wait` after too many tries, `Busy`, and store errors.
    pub async fn log_in(&self, order: &Order, login: &Login) -> Result<LoggedIn> {
        let attempt = LoginTry {
            email: login.account.parse().ok(),
            address: login.address.clone(),
            per_account: PER_ACCOUNT,
            per_address: PER_ADDRESS,
        };
        let found = match self.store().begin_login(&attempt).await? {
            LoginStart::Compare(found) => found,
            LoginStart::Wait { until, now } => {
                let wait = (until - now).to_std().unwrap_or_default();
                return Err(AccountError::Wait(wait.max(Duration::from_secs(1))));
            }
        };
        let hash = found.as_ref().map(|(_, hash)| hash.as_str());
        let compared = self.passwords.compare(&login.password, hash).await?;
        let (user, verified) = found.filter(|_| compared.matches).ok_or(AccountError::WrongPassword)?;
        let verified = if compared.outdated { self.rehashed(user, &login.password, verified).await? } else { verified };
        let secret = Secret::draw(Purpose::Session)?;
        let session = NewSession {
            id: SessionId(Uuid::now_v7()),
            hash: secret.hash(),
            user,
            verified,
            attempt,
            agent: login.agent.clone(),
            lifetime: self.settings.session.0,
            idle: self.settings.session_idle.0,
        };
        let opened = self.add(order, self.store().finish_login(&session)).await?;
        let session = opened.ok_or(AccountError::WrongPassword)?;
        Ok(LoggedIn { session, secret, lifetime: self.settings.session.0 })
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
        self.change(order, self.store().end_sessions(&EndSessions { user, which })).await
    }
}
