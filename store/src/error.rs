//! What can go wrong between us and the database.

use crate::quota::OverQuota;

/// Short for a result with [`StoreError`].
pub type Result<T, E = StoreError> = std::result::Result<T, E>;

/// Why the store did not do it. Nothing is half-done in any case.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The database cannot be reached, or the connection broke: trying again later may help. After a commit whose
    /// result is unknown the same call may be repeated without harm.
    #[error("the store cannot be reached: {0}")]
    Unavailable(String),
    /// It does not exist.
    #[error("{0}")]
    NotFound(String),
    /// Its state does not allow it.
    #[error("{0}")]
    Conflict(String),
    /// The tenant has as much already as its quota allows.
    #[error(transparent)]
    OverQuota(#[from] OverQuota),
    /// The one who asks may not do it.
    #[error("{0}")]
    Denied(String),
    /// The request makes no sense; the text says what would.
    #[error("{0}")]
    Invalid(String),
    /// The database has no schema yet, or an older one.
    #[error("the database lacks {missing} of our migrations; run `gristmill db migrate`")]
    NeedsMigration {
        /// How many are missing.
        missing: usize,
    },
    /// The database has migrations that this program does not know.
    #[error(
        "the database is newer than this program: it has migration {found}, the newest known here is {known}; use a newer gristmill"
    )]
    TooNew {
        /// The newest in the database.
        found: i64,
        /// The newest that this program knows.
        known: i64,
    },
    /// Another process works on this embedded store.
    #[error("{0}")]
    Locked(String),
    /// The user's own table refused a chunk's rows.
    #[error("the output table refused the rows: {0}")]
    Sink(String),
    /// The user's own table is locked by another session: trying again later may help. The store itself is well.
    #[error("the output table is locked: {0}")]
    SinkLocked(String),
    /// The disk or the tablespace is full.
    #[error("the store has no room left ({0}); make room where the database keeps its files")]
    Full(String),
    /// Any other error that the database reported.
    #[error("the database refused: {0}")]
    Database(String),
}

impl StoreError {
    /// What to do about it, when the store itself is in trouble and not the caller's request.
    pub fn remedy(&self) -> Option<&'static str> {
        match self {
            Self::Unavailable(_) => Some(
                "see that the database runs and that this machine may reach it; work goes on by itself when it does",
            ),
            Self::Full(_) => Some("make room where the database keeps its files; work goes on by itself then"),
            Self::NeedsMigration { .. } => Some("run `gristmill db migrate`"),
            Self::TooNew { .. } => Some("use a newer gristmill"),
            _ => None,
        }
    }

    /// Whether the same call may succeed later without any change by an operator.
    pub fn is_transient(&self) -> bool {
        matches!(self, Self::Unavailable(_) | Self::SinkLocked(_) | Self::Full(_))
    }
}
