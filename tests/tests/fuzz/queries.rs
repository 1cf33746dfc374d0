//! Queries of lists: each is read or refused with a place in it, and what was read is written so that it is read the same
//! again.

use gristmill_core::query::{List, parse};

use crate::Target;
use crate::mutator::hostile_text;

const PIECES: [&[u8]; 22] = [
    b" ",
    b"-",
    b":",
    b",",
    b"\"",
    b"\\",
    b"*",
    b"..",
    b">=",
    b"<",
    b"=",
    b"state:",
    b"kind:",
    b"error:\"",
    b"age>1h",
    b"created:2026-11-19..",
    b"attempts:",
    b"99999999999999999999",
    b"\x00",
    b"\xef\xbb\xbf",
    b"\xe2\x80\xa8",
    b"\xf0\x9f\xa6\x80",
];

/// Queries of jobs.
pub(crate) const VALID: [&str; 10] = [
    "state:retry,dead kind:import* -queue:mail",
    "queue:default",
    "-queue:default kind:*",
    "error:\"no \\\"route\\\"\" attempts>=3",
    "created:2026-11-19.. age>1h",
    "created:2026-11-19..2026-11-20T08:00:00.000001Z",
    "ended:..2026-11-19 attempts:1..5",
    "key:\"a, b\",c* -key:d",
    "batch:0198f9c1-7f3a-7cc2-9e2b-0123456789ab",
    "age<=1h30m attempts:0",
];

#[test]
fn whatever_a_query_says_it_is_read_as_it_is_written_or_refused_with_its_place() {
    Target { name: "queries", ordinary: 20_000, share: 10 }.feed(|random| {
        let list = *random.pick(&List::ALL);
        let valid = if list == List::Jobs || random.one_in(2) { *random.pick(&VALID) } else { "created:2026-11-19" };
        let text = hostile_text(random, valid, &PIECES);
        let query = match parse(list, &text) {
            Ok(query) => query,
            Err(fault) if (1..=text.chars().count() + 1).contains(&fault.at) => return crate::in_words(&fault),
            Err(fault) => return Err(format!("`{text}` has {} letters: {fault}", text.chars().count())),
        };
        let written = query.to_string();
        match parse(list, &written) {
            Ok(again) if again == query => Ok(true),
            other => Err(format!("`{text}` is {query:?}, written `{written}`, and read {other:?}")),
        }
    });
}
