//! How the program ends: the stable exit codes, and the one error type that carries them.

use gristmill_broker::BrokerError;
use gristmill_service::accounts::AccountError;
use gristmill_service::documents::{ErrorBody, ErrorDocument};
use gristmill_store::StoreError;

gristmill_core::words! {
    /// Why the program ends as it does. The numbers and the words are a promise to scripts.
    pub enum Exit {
        /// It succeeded; an empty result is a success too.
        Success = "success",
        /// The operation ran and failed, or the awaited job or batch did.
        Failed = "failed",
        /// The command, a value or the configuration makes no sense.
        Usage = "usage",
        /// There is no such thing.
        NotFound = "not_found",
        /// Not allowed.
        Denied = "denied",
        /// It exists already, is locked, or its state does not allow it.
        Conflict = "conflict",
        /// Some of it failed.
        Partial = "partial",
        /// Nothing is wrong, but the time limit of the wait came first.
        TimedOut = "timed_out",
        /// The store or the broker cannot be reached; trying again may help.
        Unavailable = "unavailable",
        /// A check found problems; the report is on standard output.
        Problems = "problems",
        /// The awaited job or batch was cancelled.
        Cancelled = "cancelled",
        /// A fault of this program.
        Internal = "internal",
        /// Stopped by an interrupt from the keyboard.
        Interrupted = "interrupted",
        /// Stopped by a request to terminate.
        Terminated = "terminated",
    }
}

impl Exit {
    /// The number that the shell sees.
    pub fn code(self) -> u8 {
        match self {
            Self::Success => 0,
            Self::Failed => 1,
            Self::Usage => 2,
            Self::NotFound => 3,
            Self::Denied => 4,
            Self::Conflict => 5,
            Self::Partial => 6,
            Self::TimedOut => 7,
            Self::Unavailable => 8,
            Self::Problems => 9,
            Self::Cancelled => 10,
            Self::Internal => 70,
            Self::Interrupted => 130,
            Self::Terminated => 143,
        }
    }
}

impl From<Exit> for std::process::ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.code())
    }
}

/// Why a command did not do what was asked.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[error("{message}")]
pub struct CommandError {
    /// The exit code.
    pub exit: Exit,
    /// What is wrong, and where.
    pub message: String,
    /// What would be right.
    pub hint: Option<String>,
}

/// Short for a result with [`CommandError`].
pub type Result<T> = std::result::Result<T, CommandError>;

impl CommandError {
    /// An error that ends the program with this code.
    pub fn new(exit: Exit, message: impl Into<String>) -> Self {
        Self { exit, message: message.into(), hint: None }
    }

    /// A value or a combination of flags that makes no sense.
    pub fn usage(message: impl Into<String>) -> Self {
        Self::new(Exit::Usage, message)
    }

    /// An error that only a fault of this program explains.
    pub(crate) fn internal(what: impl std::fmt::Display) -> Self {
        Self::new(Exit::Internal, what.to_string())
    }

    /// There is no such thing.
    pub fn not_found(message: impl Into<String>) -> Self {
        Self::new(Exit::NotFound, message)
    }

    /// Adds what would be right.
    #[must_use]
    pub fn hint(self, hint: impl Into<String>) -> Self {
        Self { hint: Some(hint.into()), ..self }
    }

    /// The document that scripts read.
    pub fn document(&self) -> ErrorDocument {
        ErrorDocument {
            error: ErrorBody {
                code: self.exit.as_str().to_owned(),
                exit: self.exit.code(),
                message: self.message.clone(),
                hint: self.hint.clone(),
                retryable: self.exit == Exit::Unavailable,
            },
        }
    }
}

impl From<StoreError> for CommandError {
    fn from(error: StoreError) -> Self {
        let exit = match &error {
            StoreError::Unavailable(_) | StoreError::SinkLocked(_) | StoreError::Full(_) => Exit::Unavailable,
            StoreError::NotFound(_) => Exit::NotFound,
            StoreError::Conflict(_) | StoreError::Locked(_) | StoreError::OverQuota(_) => Exit::Conflict,
            StoreError::NeedsMigration { .. } | StoreError::TooNew { .. } => Exit::Conflict,
            StoreError::Denied(_) => Exit::Denied,
            StoreError::Invalid(_) => Exit::Usage,
            StoreError::Sink(_) | StoreError::Database(_) => Exit::Failed,
        };
        Self::new(exit, error.to_string())
    }
}

impl From<AccountError> for CommandError {
    fn from(error: AccountError) -> Self {
        let exit = match error {
            AccountError::Store(error) => return error.into(),
            AccountError::WrongPassword
            | AccountError::SecondFactor
            | AccountError::WrongCode
            | AccountError::BadRefresh
            | AccountError::Refused(_)
            | AccountError::Wait(_) => Exit::Denied,
            AccountError::BadPassword(_) | AccountError::BadHash(_) | AccountError::BadAddress(_) => Exit::Usage,
            AccountError::Busy | AccountError::Away(_) => Exit::Unavailable,
            AccountError::Internal(_) => Exit::Internal,
        };
        Self::new(exit, error.to_string())
    }
}

impl From<BrokerError> for CommandError {
    fn from(error: BrokerError) -> Self {
        Self::new(broker_exit(&error), error.to_string())
    }
}

/// The exit code for a broker's refusal.
pub(crate) fn broker_exit(error: &BrokerError) -> Exit {
    match error {
        BrokerError::Unavailable(_) => Exit::Unavailable,
        BrokerError::Login { .. } => Exit::Denied,
        BrokerError::Topology { .. } => Exit::Conflict,
        BrokerError::Invalid(_) => Exit::Usage,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_exit_has_its_own_code_and_word() {
        let mut codes: Vec<u8> = Exit::ALL.map(Exit::code).to_vec();
        let mut words: Vec<&str> = Exit::ALL.map(Exit::as_str).to_vec();
        codes.sort_unstable();
        codes.dedup();
        words.sort_unstable();
        words.dedup();
        assert_eq!((codes.len(), words.len()), (Exit::ALL.len(), Exit::ALL.len()));
    }

    #[test]
    fn a_store_that_is_away_is_worth_another_try() {
        let error = CommandError::from(StoreError::Unavailable("refused".to_owned()));
        assert_eq!(error.exit.code(), 8);
        assert!(error.document().error.retryable);
    }
}
