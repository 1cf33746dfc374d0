//! One record as it comes out of a source, and why one cannot be read.

use serde_json::Value;

/// The most bytes of an unreadable record that are kept beside its reason.
pub const RAW_BYTES_MAX: usize = 64 * 1024;

/// One record of a chunk.
#[derive(Debug, Clone, PartialEq)]
pub struct Record {
    /// Its position in the whole input, counted from 0.
    pub position: u64,
    /// The line on which it begins, counted from 1, where the source has lines.
    pub line: Option<u64>,
    /// An object; or why there is none, to be set aside with stage `read`.
    pub item: Result<Value, Unreadable>,
}

/// Why a record is not an item.
#[derive(Debug, Clone, PartialEq)]
pub struct Unreadable {
    /// What is wrong and what would be right.
    pub reason: String,
    /// The record as it is in the source, as a text; bytes that are not UTF-8 are shown as `U+FFFD`. At most
    /// [`RAW_BYTES_MAX`] bytes of it.
    pub raw: Value,
}

impl Unreadable {
    pub(super) fn new(reason: impl Into<String>, raw: &[u8]) -> Self {
        let mut reason = reason.into();
        let kept = &raw[..raw.len().min(RAW_BYTES_MAX)];
        if kept.len() < raw.len() {
            reason.push_str(&format!(" (the record has {} bytes; the first {RAW_BYTES_MAX} are kept)", raw.len()));
        }
        Self { reason, raw: Value::String(String::from_utf8_lossy(kept).into_owned()) }
    }

    pub(super) fn not_utf8(error: &std::str::Utf8Error, raw: &[u8]) -> Self {
        Self::new(format!("the record {}", Self::utf8_problem(error, raw)), raw)
    }

    /// Returns the problem as a fragment: "is not UTF-8 …".
    pub(super) fn utf8_problem(error: &std::str::Utf8Error, raw: &[u8]) -> String {
        let at = error.valid_up_to();
        let byte = raw.get(at).copied().unwrap_or_default();
        format!(
            "is not UTF-8: byte 0x{byte:02X} at byte {} of it; mend it, or say how the file is encoded, such as `encoding = \"windows-1252\"`",
            at + 1
        )
    }
}
