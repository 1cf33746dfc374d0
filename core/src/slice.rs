//! Where the items of a chunk are.

use serde::{Deserialize, Serialize};

/// Where a chunk's items are.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Slice {
    /// Bytes `from..to` of a file, after decompression (for a compressed file, of its spool).
    Bytes {
        /// Which of the source's files, counted from 0 in the order of [`crate::chunk::SourceFingerprint::files`].
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
    /// Some items of another slice, which is read as a whole: only its reader knows where records begin in it.
    Part {
        /// The other slice; never itself a part.
        whole: Box<Slice>,
        /// How many items the other slice has.
        items: u64,
        /// How many of them come before these.
        skip: u64,
    },
}
