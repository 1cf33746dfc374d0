//! Items that travel inside a chunk's payload: JSON lines, compressed with zstd, in base64.
//!
//! Each line is an object `{"position": …, "line": …, "item": …}`, so that an item that is redriven from the quarantine
//! keeps its original place in the input.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::io::Read;

use crate::slice::Slice;

/// The most bytes that the lines of one slice may have before compression.
pub const INLINE_BYTES_MAX: u64 = 64 * 1024 * 1024;

/// Fast, and still a good ratio on JSON; the default of the format.
const LEVEL: i32 = 3;

/// One item and its place in the whole input.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct InlineItem {
    /// Its position in the whole input, counted from 0.
    pub position: u64,
    /// The line on which it began, counted from 1, where the source had lines.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub line: Option<u64>,
    /// The item: an object, or a text when it could not even be read.
    #[serde(deserialize_with = "crate::json::value")]
    pub item: Value,
}

/// Why items cannot be put into a payload or taken out of it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InlineError {
    /// Too much for one payload.
    #[error("the items have {bytes} bytes, over the limit of {INLINE_BYTES_MAX} for one chunk; use smaller chunks")]
    TooLarge {
        /// How many bytes there are, or a lower bound.
        bytes: u64,
    },
    /// The payload is not what [`encode`] makes.
    #[error("the inline items cannot be read: {0}; the payload was damaged or was not made by this program")]
    Damaged(String),
}

/// Packs items into a slice.
///
/// # Errors
///
/// [`InlineError::TooLarge`] when the lines have more than [`INLINE_BYTES_MAX`] bytes.
pub fn encode(items: &[InlineItem]) -> Result<Slice, InlineError> {
    let mut lines = Vec::new();
    for item in items {
        serde_json::to_writer(&mut lines, item).map_err(damaged)?;
        lines.push(b'\n');
        if lines.len() as u64 > INLINE_BYTES_MAX {
            return Err(InlineError::TooLarge { bytes: lines.len() as u64 });
        }
    }
    let packed = zstd::bulk::compress(&lines, LEVEL).map_err(damaged)?;
    Ok(Slice::Inline { zstd: STANDARD.encode(packed) })
}

/// Unpacks the output of [`encode`]: the text in [`Slice::Inline`].
///
/// # Errors
///
/// [`InlineError::Damaged`] when it is not base64, not zstd or not such lines, and [`InlineError::TooLarge`] when it
/// holds more than [`INLINE_BYTES_MAX`].
pub fn decode(packed: &str) -> Result<Vec<InlineItem>, InlineError> {
    let packed = STANDARD.decode(packed).map_err(damaged)?;
    let mut lines = Vec::new();
    // One byte over the limit distinguishes a full payload from one that would grow without end.
    let mut reader = zstd::stream::read::Decoder::new(packed.as_slice()).map_err(damaged)?.take(INLINE_BYTES_MAX + 1);
    reader.read_to_end(&mut lines).map_err(damaged)?;
    if lines.len() as u64 > INLINE_BYTES_MAX {
        return Err(InlineError::TooLarge { bytes: lines.len() as u64 });
    }
    lines
        .split(|byte| *byte == b'\n')
        .filter(|line| !line.is_empty())
        .map(|line| serde_json::from_slice(line).map_err(damaged))
        .collect()
}

fn damaged(error: impl std::fmt::Display) -> InlineError {
    InlineError::Damaged(error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn packed(slice: &Slice) -> &str {
        match slice {
            Slice::Inline { zstd } => zstd,
            other => panic!("not inline: {other:?}"),
        }
    }

    #[test]
    fn items_come_back_with_their_positions() {
        let items = vec![
            InlineItem { position: 7, line: Some(9), item: json!({"b": "x\ny", "a": "\u{0}"}) },
            InlineItem { position: 900, line: None, item: json!("not, even, read") },
        ];
        let slice = encode(&items).expect("they fit");
        assert_eq!(decode(packed(&slice)).expect("it is whole"), items);
    }

    #[test]
    fn no_items_are_an_empty_slice() {
        let slice = encode(&[]).expect("nothing fits");
        assert_eq!(decode(packed(&slice)).expect("it is whole"), Vec::new());
    }

    #[test]
    fn a_damaged_payload_is_an_error_and_not_fewer_items() {
        let items = vec![InlineItem { position: 0, line: None, item: json!({"a": 1}) }; 50];
        let slice = encode(&items).expect("they fit");
        let whole = packed(&slice);
        let cut: String = whole.chars().take(whole.len() / 8 * 4).collect();
        assert!(matches!(decode(&cut), Err(InlineError::Damaged(_))));
        assert!(matches!(decode("not base64!"), Err(InlineError::Damaged(_))));
    }

    #[test]
    fn more_than_the_limit_is_refused_on_both_sides() {
        let item = json!("x".repeat(40 * 1024 * 1024));
        let one = InlineItem { position: 0, line: None, item };
        assert!(matches!(encode(&[one.clone(), one]), Err(InlineError::TooLarge { .. })));
        let bomb = zstd::bulk::compress(&vec![b' '; INLINE_BYTES_MAX as usize + 2], 1).expect("it compresses");
        assert!(matches!(decode(&STANDARD.encode(bomb)), Err(InlineError::TooLarge { .. })));
    }
}
