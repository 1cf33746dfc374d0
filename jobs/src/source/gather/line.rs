//! A record as a line of a spool: its line in its own file, then the item, or why there is none.
//!
//! `12⇥{"id": 1}`, `12⇥!{"reason": "…", "raw": "…"}`; `-` where the source has no lines. The item is not put into anything:
//! it may be nested as deep as items may be.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::super::jsonl;
use super::super::record::Unreadable;
use super::super::stream::Streamed;

#[derive(Serialize, Deserialize)]
struct Refused {
    reason: String,
    #[serde(deserialize_with = "gristmill_core::json::value")]
    raw: Value,
}

/// The line of a record, without its end. An item that is too long for a record is no item.
pub(super) fn written(record: &Streamed) -> Vec<u8> {
    let mut line = record.line.map_or_else(|| "-".to_owned(), |line| line.to_string()).into_bytes();
    line.push(b'\t');
    let begin = line.len();
    match &record.item {
        Ok(item) => {
            // A value has no keys but texts, and memory does not fail.
            let _ = serde_json::to_writer(&mut line, item);
            if line.len() - begin > LONGEST {
                let reason = format!("put together it has {} bytes, and an item at most {LONGEST}", line.len() - begin);
                let refused = Unreadable::new(reason, &line[begin..]);
                line.truncate(begin);
                refuse(&mut line, &refused);
            }
        }
        Err(refused) => refuse(&mut line, refused),
    }
    line
}

/// The most bytes of an item: those of the longest record that any definition may ask for, 16 MiB.
const LONGEST: usize = 16 * 1024 * 1024;

/// How long a line may be.
pub(in super::super) const LINE_BYTES_MAX: usize = LONGEST + 64;

fn refuse(line: &mut Vec<u8>, refused: &Unreadable) {
    line.push(b'!');
    let refused = Refused { reason: refused.reason.clone(), raw: refused.raw.clone() };
    let _ = serde_json::to_writer(line, &refused);
}

/// The record of a line.
pub(in super::super) fn read(line: &[u8]) -> Streamed {
    let damaged = || Unreadable::new("the copy of the source is damaged; start a new batch", line);
    let Some(tab) = memchr::memchr(b'\t', line) else { return Streamed { line: None, item: Err(damaged()) } };
    let (number, rest) = (&line[..tab], &line[tab + 1..]);
    let number = std::str::from_utf8(number).ok().and_then(|number| number.parse().ok());
    let item = match rest.strip_prefix(b"!") {
        None => jsonl::item(rest),
        Some(refused) => match serde_json::from_slice::<Refused>(refused) {
            Ok(Refused { reason, raw }) => Err(Unreadable { reason, raw }),
            Err(_) => Err(damaged()),
        },
    };
    Streamed { line: number, item }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_record_is_read_as_it_was_written() {
        let deep = format!("{}1{}", "{\"a\":".repeat(64), "}".repeat(64));
        let items = [json!({ "id": 1, "t": "a\n\u{2028}\t\"" }), serde_json::from_str(&deep).expect("JSON")];
        let refused = Unreadable::new("no UTF-8\n", b"\xff\n\t!");
        for item in items.into_iter().map(Ok).chain([Err(refused)]) {
            for line in [None, Some(7)] {
                let record = Streamed { line, item: item.clone() };
                let text = written(&record);
                assert!(!text.contains(&b'\n'), "one line");
                let again = read(&text);
                assert_eq!((again.line, again.item), (line, item.clone()));
            }
        }
    }

    #[test]
    fn an_item_may_be_as_long_as_a_record() {
        assert_eq!(u64::try_from(LONGEST), Ok(crate::source::RECORD_BYTES_MAX));
    }

    #[test]
    fn what_got_too_long_is_set_aside_and_says_so() {
        let record = Streamed { line: Some(3), item: Ok(json!({ "a": "x".repeat(LONGEST) })) };
        let text = written(&record);
        assert!(text.len() < LINE_BYTES_MAX);
        let again = read(&text).item.expect_err("too long");
        assert!(
            again.reason.starts_with("put together it has 16777224 bytes, and an item at most 16777216"),
            "{}",
            again.reason
        );
    }
}
