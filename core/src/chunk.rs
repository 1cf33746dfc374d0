//! A slice of a batch's items: where it lies in the input, and what came of it.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::aggregate::Partial;

/// The payload of a job of kind `chunk`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ChunkPayload {
    /// Where the items are.
    pub slice: Slice,
    /// How many items the plan counted there.
    pub items: u64,
    /// The position in the whole input of the first one, counted from 0.
    pub first: u64,
}

/// Where a chunk's items are.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Slice {
    /// Bytes `from..to` of a file, after decompression (for a compressed file, of its spooled copy).
    Bytes {
        /// Which of the source's files, counted from 0 in the order of [`SourceStamp::files`].
        file: u32,
        /// The first byte.
        from: u64,
        /// One after the last byte.
        to: u64,
        /// The line in the file, counted from 1, on which the first item begins.
        line: u64,
    },
    /// Rows of a SQL query whose key is `> after` and `<= upto`, both as text; `None` is unbounded.
    Keys {
        /// Exclusive lower end.
        after: Option<String>,
        /// Inclusive upper end.
        upto: Option<String>,
    },
    /// The items themselves: JSON lines, compressed with zstd, in base64.
    Inline {
        /// The compressed lines.
        zstd: String,
    },
}

/// What the source looked like when it was planned. A chunk that finds it changed is an error.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SourceStamp {
    /// The files in the order in which they are read. Empty for a SQL source and for inline items.
    pub files: Vec<FileStamp>,
}

/// What one file looked like when it was planned.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileStamp {
    /// Absolute path of the bytes to read: the file itself, or the spooled copy of what was
    /// compressed or came from standard input.
    pub path: String,
    /// What the user called it, for messages.
    pub name: String,
    /// Its length in bytes.
    pub bytes: u64,
    /// Its time of modification, nanoseconds since 1970.
    pub modified_ns: i128,
    /// SHA-256 in hex of the first and the last 64 KiB together.
    pub edges: String,
    /// The names of the columns, where the format has a header.
    pub columns: Vec<String>,
}

/// What came of one chunk: settled in the transaction that completes its job.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct ChunkResult {
    /// Items that went through.
    pub ok: u64,
    /// Items that a transform dropped.
    pub skipped: u64,
    /// Items set aside; as many as `set_aside` has.
    pub quarantined: u64,
    /// The chunk's share of the batch's aggregate.
    pub partial: Partial,
    /// The files that it wrote.
    pub parts: Vec<OutputPart>,
    /// The items that failed, each with its reason. Not kept in the result row: the store writes
    /// them to the quarantine.
    #[serde(skip)]
    pub set_aside: Vec<SetAside>,
}

/// One file that a chunk wrote.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OutputPart {
    /// Path of the file, relative to the output's folder.
    pub path: String,
    /// How many items are in it.
    pub items: u64,
    /// How many bytes it has.
    pub bytes: u64,
    /// SHA-256 of its bytes, in hex.
    pub sha256: String,
}

/// One item that failed inside a chunk that went on without it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SetAside {
    /// Its position in the whole input, counted from 0.
    pub position: u64,
    /// The line on which it begins, counted from 1, where the source has lines.
    pub line: Option<u64>,
    /// The stage that refused it: `read`, `validate`, `sanitize`, `parse`, `transform`, `enrich`, `process`, `format`.
    pub stage: String,
    /// What is wrong, where, and what would be right. No more than 1,000 characters.
    pub reason: String,
    /// The item as it came from the source: an object, or a text where it could not even be read.
    pub item: Value,
}
