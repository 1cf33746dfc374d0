//! What programs and services are asked, and what they answer: the same for both.
//!
//! ```text
//! → {"position": 41, "attempt": 1, "idempotency_key": "0198…:41", "item": {"name": "ada"}}
//! ← {"ok": {"name": "ADA"}}                     the item goes on as this
//! ← {"skip": true}                              it is dropped on purpose
//! ← {"error": "no such name", "retry": false}   it failed; `retry`: another try may help
//! ```
//!
//! An answer may repeat the `position`, and then it must be the right one. A program takes and gives one line for each
//! item, a service one body.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use gristmill_core::json::{self, Fault};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::{ItemIn, ItemOut, ProcessContext};

/// The most bytes that all answers for one chunk may have together: 64 MiB, eight times what a chunk of files has.
pub const CHUNK_ANSWER_BYTES_MAX: usize = 64 * 1024 * 1024;

/// What an answer may be, for messages.
pub(crate) const RIGHT: &str =
    "right is one of {\"ok\": {…}}, {\"skip\": true} and {\"error\": \"…\", \"retry\": false}";

#[derive(Serialize)]
struct Question<'a> {
    position: u64,
    attempt: u32,
    idempotency_key: String,
    item: &'a Value,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Answer {
    #[serde(default, deserialize_with = "json::object")]
    ok: Option<Map<String, Value>>,
    skip: Option<bool>,
    error: Option<String>,
    retry: Option<bool>,
    position: Option<u64>,
}

/// The question for an item, without a line end.
pub(super) fn question(item: &ItemIn, context: &ProcessContext) -> serde_json::Result<Vec<u8>> {
    serde_json::to_vec(&Question {
        position: item.position,
        attempt: item.attempt,
        idempotency_key: super::item_key(context, item),
        item: &item.item,
    })
}

/// Reads what was answered for the item at this position.
///
/// # Errors
///
/// A description of what it is instead, to be appended to the answer itself.
pub fn read_answer(answer: &[u8], position: u64) -> Result<ItemOut, String> {
    read_numbered(answer, position).map(|(out, _)| out)
}

/// The same, and whether the answer repeats its position.
pub(super) fn read_numbered(answer: &[u8], position: u64) -> Result<(ItemOut, bool), String> {
    // An item stands one level deep in its answer.
    let answer: Answer = match json::typed_around(answer, 1) {
        Ok(answer) => answer,
        // Valid, and yet nothing that can be kept: another try would bring the same, and other items need not.
        Err(error) if matches!(error.fault, Fault::Number | Fault::Depth) => {
            let reason = format!("the answer {}: {error}", shown(&String::from_utf8_lossy(answer)));
            return Ok((ItemOut::Failed { reason, retry: false }, false));
        }
        Err(error) if error.fault == Fault::Shape => return Err(format!("which is no answer ({error})")),
        Err(_) => return Err("which is not JSON".to_owned()),
    };
    if answer.position.is_some_and(|found| found != position) {
        return Err("which belongs to another item".to_owned());
    }
    let out = match (answer.ok, answer.skip, answer.error) {
        (Some(item), None, None) if answer.retry.is_none() => ItemOut::Ok(Value::Object(item)),
        (None, Some(true), None) if answer.retry.is_none() => ItemOut::Skip,
        (None, None, Some(reason)) => ItemOut::Failed { reason, retry: answer.retry.unwrap_or(false) },
        _ => return Err("which is no answer".to_owned()),
    };
    Ok((out, answer.position.is_some()))
}

/// Returns at most 200 characters of its answer.
pub(super) fn shown(text: &str) -> String {
    let words: String = text.split_whitespace().collect::<Vec<_>>().join(" ").chars().take(200).collect();
    format!("`{words}`")
}

/// How many bytes of answers one attempt at a chunk may still keep. Clones share it.
#[derive(Debug, Clone)]
pub struct Room(Arc<AtomicUsize>);

impl Default for Room {
    fn default() -> Self {
        Self(Arc::new(AtomicUsize::new(CHUNK_ANSWER_BYTES_MAX)))
    }
}

impl Room {
    /// Takes the bytes of an answer. When there are not so many, the item has to do without it, and a smaller one may
    /// still be taken.
    pub(super) fn take(&self, bytes: usize) -> Result<(), ItemOut> {
        let taken = self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(bytes));
        taken.map(drop).map_err(|_| ItemOut::Failed {
            reason: format!(
                "the answers for this chunk have more than {} MiB together; make `chunk` smaller",
                CHUNK_ANSWER_BYTES_MAX / 1024 / 1024
            ),
            retry: false,
        })
    }

    /// Gives back what was taken for answers that are not kept.
    pub(super) fn give_back(&self, bytes: usize) {
        self.0.fetch_add(bytes, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_that_cannot_be_kept_exactly_costs_its_item_and_nothing_else() {
        let deep =
            |levels: usize| format!("{{\"ok\":{{\"a\":{}1{}}}}}", "[".repeat(levels - 1), "]".repeat(levels - 1));
        assert!(matches!(read_answer(deep(64).as_bytes(), 0), Ok(ItemOut::Ok(_))));
        for (line, word) in [
            (deep(65), "nested deeper"),
            ("{\"ok\":{\"id\":123456789012345678901234567890}}".to_owned(), "123456789012345678901234567890"),
        ] {
            match read_answer(line.as_bytes(), 0) {
                Ok(ItemOut::Failed { reason, retry: false }) => assert!(reason.contains(word), "{reason}"),
                other => panic!("{line}: {other:?}"),
            }
        }
        let odd = br#"{"ok":{"a":{"$serde_json::private::RawValue":"[1]"}}}"#;
        let Ok(ItemOut::Ok(item)) = read_answer(odd, 0) else { panic!("an item") };
        assert_eq!(item, serde_json::json!({ "a": { "$serde_json::private::RawValue": "[1]" } }));
    }

    #[test]
    fn the_answers_of_a_chunk_are_bounded_together() {
        let room = Room::default();
        let large = CHUNK_ANSWER_BYTES_MAX / 2;
        assert_eq!((room.take(large), room.take(large - 7)), (Ok(()), Ok(())));
        match room.take(8) {
            Err(ItemOut::Failed { reason, retry: false }) => assert!(reason.contains("64 MiB together"), "{reason}"),
            other => panic!("{other:?}"),
        }
        assert_eq!(room.take(7), Ok(()));
        room.give_back(8);
        assert_eq!(room.take(8), Ok(()));
    }
}
