//! Why a request was not carried out.

use serde::{Deserialize, Serialize};

/// An error.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct ErrorDocument {
    /// What is wrong.
    pub error: ErrorBody,
}

/// What is wrong, and what would be right.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct ErrorBody {
    /// The word for its class, such as `not_found`.
    pub code: String,
    /// The exit code of the command line for that class.
    pub exit: u8,
    /// What is wrong, and where.
    pub message: String,
    /// What would be right.
    pub hint: Option<String>,
    /// Whether trying again may help.
    pub retryable: bool,
}
