//! Why nothing became of a wish about accounts.

use std::borrow::Cow;
use std::time::Duration;

use gristmill_core::Instant;
use gristmill_core::email_address::BadAddress;
use gristmill_store::StoreError;

/// Short for a result with [`AccountError`].
pub type Result<T> = std::result::Result<T, AccountError>;

/// Why nothing became of a wish about accounts.
#[derive(Debug, thiserror::Error)]
pub enum AccountError {
    /// The store refused it, or cannot be reached.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// There is no such account, or its password is another one: the caller does not learn which of them.
    #[error("the address or the password is wrong")]
    WrongPassword,
    /// The password is right, and the account has a second factor, of which nothing was shown.
    #[error("the account has a second factor: log in with `code` as well, a code of it or a recovery code")]
    SecondFactor,
    /// What was shown of a second factor is wrong, or was used already.
    #[error("the code is wrong, or was used already; wait for the next one")]
    WrongCode,
    /// A refresh token that is unknown, over or used already: which of them, the caller does not learn.
    #[error("the refresh token is not valid, or not any more; log in again")]
    BadRefresh,
    /// A login elsewhere that came back with what it should not, or for which its provider does not vouch.
    #[error("the login was refused: {0}")]
    Refused(String),
    /// The provider of logins cannot be asked.
    #[error("the provider of this login cannot be asked: {0}")]
    Away(String),
    /// Too many tries to log in or to register, by account or by address: the caller does not learn whether the account
    /// exists.
    #[error("too many tries; wait {}s", .0.as_secs())]
    Wait(Duration),
    /// The password could not be kept.
    #[error("the password {0}")]
    BadPassword(String),
    /// Passwords cannot be compared with a hash that came with a user.
    #[error("the hash of the password {0}")]
    BadHash(String),
    /// What was given as an address is none.
    #[error(transparent)]
    BadAddress(#[from] BadAddress),
    /// So many passwords are looked at already that this one would have to wait for long.
    #[error("too many passwords are being compared at this moment; try again")]
    Busy,
    /// The system gives no random numbers, or a thread was lost.
    #[error("{0}")]
    Internal(Cow<'static, str>),
}

impl AccountError {
    /// Too many tries: when to come again.
    pub(super) fn wait(until: Instant, now: Instant) -> Self {
        Self::Wait((until - now).to_std().unwrap_or_default().max(Duration::from_secs(1)))
    }
}
