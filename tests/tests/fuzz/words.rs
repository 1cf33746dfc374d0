//! Durations, budgets, states and the other words of commands and configuration: each is read or refused, and what
//! was read is written so that it is read the same again.

use std::fmt::{Debug, Display};
use std::str::FromStr;

use gristmill_core::batch::{BatchState, FailureBudget};
use gristmill_core::duration;
use gristmill_core::id::JobId;
use gristmill_core::job::{JobState, Priority};
use gristmill_core::schedule::{Missed, Overlap};
use gristmill_core::unique::{Hold, OnConflict};

use crate::Target;
use crate::mutator::hostile_text;

const PIECES: [&[u8]; 20] = [
    b"0",
    b"-1",
    b".5",
    b"1e9",
    b"99999999999999999999",
    b"ms",
    b"h",
    b"d",
    b"w",
    b"%",
    b",",
    b" ",
    b"=",
    b":",
    b"\x00",
    b"\xef\xbb\xbf",
    b"debounce",
    b"queued,running",
    b"\xe2\x88\x9e",
    b"NaN",
];

const DURATIONS: [&str; 8] = ["250ms", "90s", "5m", "1h30m", "3d", "0", "36500d", "1w"];

const WORDS: [&str; 14] = [
    "5%",
    "0.25%",
    "100",
    "queued",
    "sealed",
    "normal",
    "waiting",
    "scheduled,queued,running,retry",
    "keep",
    "replace",
    "debounce 10s",
    "skip",
    "all",
    "0198f9c1-7f3a-7cc2-9e2b-0123456789ab",
];

#[test]
fn whatever_a_duration_says_it_is_read_as_it_is_written_or_refused() {
    Target { name: "durations", ordinary: 10_000, share: 10 }.feed(|random| {
        let valid = *random.pick(&DURATIONS);
        let text = hostile_text(random, valid, &PIECES);
        match duration::parse(&text) {
            Err(error) => crate::in_words(&error),
            Ok(read) => match duration::parse(&duration::format(read)) {
                Ok(again) if again == read => Ok(true),
                other => Err(format!("`{text}` is {read:?}, written `{}`, and read {other:?}", duration::format(read))),
            },
        }
    });
}

/// Whether it is such a word.
fn read<T>(text: &str, write: impl Fn(&T) -> String) -> Result<bool, String>
where
    T: FromStr + PartialEq + Debug,
    T::Err: Display,
{
    match text.parse::<T>() {
        Err(error) => crate::in_words(&error),
        Ok(read) => match write(&read).parse::<T>() {
            Ok(again) if again == read => Ok(true),
            _ => Err(format!("`{text}` is {read:?} and written `{}`", write(&read))),
        },
    }
}

#[test]
fn whatever_a_word_says_it_is_one_of_ours_or_refused() {
    Target { name: "words", ordinary: 10_000, share: 10 }.feed(|random| {
        let valid = *random.pick(&WORDS);
        let text = hostile_text(random, valid, &PIECES);
        let known = [
            read::<FailureBudget>(&text, ToString::to_string)?,
            read::<JobState>(&text, ToString::to_string)?,
            read::<BatchState>(&text, ToString::to_string)?,
            read::<Priority>(&text, ToString::to_string)?,
            read::<JobId>(&text, ToString::to_string)?,
            read::<Missed>(&text, |missed| missed.as_str().to_owned())?,
            read::<Overlap>(&text, |overlap| overlap.as_str().to_owned())?,
            read::<Hold>(&text, |hold| hold.clone().into())?,
            read::<OnConflict>(&text, |conflict| (*conflict).into())?,
        ];
        Ok(known.contains(&true))
    });
}
