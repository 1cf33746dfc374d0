//! The second factor of a user: a secret from which codes are made, and recovery codes.

use gristmill_core::id::UserId;

/// The SHA-256 of a recovery code or of a session's secret.
type Hash = [u8; 32];

/// A second factor, as it is stored.
#[derive(Clone, PartialEq, Eq)]
pub struct Factor {
    /// The secret from which its codes are made, as the service has sealed it.
    pub secret: Vec<u8>,
    /// Whether a code of it was shown, so that a login asks for one.
    pub confirmed: bool,
    /// The last step of time whose code was used.
    pub last_step: u64,
    /// How many recovery codes are left.
    pub recovery_left: u64,
}

impl std::fmt::Debug for Factor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Factor").field("confirmed", &self.confirmed).finish_non_exhaustive()
    }
}

/// A factor that is confirmed by its first code.
#[derive(Clone, PartialEq, Eq)]
pub struct ConfirmFactor {
    /// Whose.
    pub user: UserId,
    /// The secret that the code was made from: nothing is confirmed when it is another by now.
    pub secret: Vec<u8>,
    /// The step of time of the code.
    pub step: u64,
    /// The hashes of its recovery codes.
    pub recovery: Vec<Hash>,
    /// The session that stays; all others of the user end, because they were opened without a second factor.
    pub keep: Option<Hash>,
}

impl std::fmt::Debug for ConfirmFactor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ConfirmFactor").field("user", &self.user).field("step", &self.step).finish_non_exhaustive()
    }
}

/// What is shown of a second factor. It is spent in the transaction that goes by it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Second {
    /// A code of this step of time: neither it nor one of an earlier step is taken again.
    Step(u64),
    /// A recovery code with this hash, which is taken once.
    Recovery(Hash),
}

impl Second {
    /// Which kind it is, for the audit.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Step(_) => "code",
            Self::Recovery(_) => "recovery",
        }
    }
}
