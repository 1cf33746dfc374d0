//! A file that a batch has written.

use serde::{Deserialize, Serialize};

/// A file that a batch has written: one chunk's items.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct OutputDocument {
    /// Its name, by which it is downloaded.
    pub name: String,
    /// The number of the chunk that wrote it; also its key in lists.
    pub chunk: i64,
    /// How many items are in it.
    pub items: u64,
    /// How many bytes it has.
    pub bytes: u64,
    /// SHA-256 of its bytes, in hex.
    pub sha256: String,
}
