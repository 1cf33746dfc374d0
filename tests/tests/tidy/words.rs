//! Words that say nothing plain, or had two meanings, and what to write instead. Names in the database stay what they
//! are: what stands between quotes does not count, and the columns that `store/` reads into fields of their names do not.

use std::collections::BTreeMap;

use crate::text::parts;
use crate::{rust_files, sources};
use gristmill_tests::root;

/// Where a word counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum In {
    Code,
    Comments,
    Both,
}

/// A word, where it counts, what to write instead, and how often it may stand in the source at most. The number may
/// only fall: when a change takes some away, lower it.
const WORDS: [(&str, In, &str, usize); 13] = [
    ("road", In::Both, "broker, dispatcher, or the messages themselves", 8),
    ("door", In::Both, "the command line, the API, or what was meant", 4),
    ("dice", In::Both, "random, jitter", 0),
    ("astray", In::Both, "misrouted", 6),
    ("unserved", In::Both, "unhandled", 0),
    ("steered", In::Both, "controlled, ControlReport", 4),
    ("stray", In::Both, "mark_misrouted", 2),
    ("bury", In::Both, "record_poison", 4),
    ("lane", In::Both, "priority", 0),
    ("told", In::Code, "notified, reported, or what was said", 293),
    ("whoever", In::Comments, "the worker, the caller, the operator: name the role", 18),
    ("nobody", In::Comments, "no worker, no caller: name the role", 27),
    ("somebody", In::Comments, "another worker, a caller: name the role", 26),
];

/// The words of a text, in lower case: identifiers are taken apart at `_` and at capitals.
fn words(text: &str) -> impl Iterator<Item = String> + '_ {
    text.split(|c: char| !c.is_alphanumeric()).flat_map(|name| {
        let (mut words, mut word, mut previous) = (Vec::new(), String::new(), ' ');
        for c in name.chars() {
            if c.is_uppercase() && previous.is_lowercase() {
                words.push(std::mem::take(&mut word));
            }
            word.extend(c.to_lowercase());
            previous = c;
        }
        words.push(word);
        words.into_iter().filter(|word| !word.is_empty())
    })
}

/// How often each word of a list stands in the code and in the comments of a file, with its plural.
fn count(text: &str, lists: &[(&'static str, In)]) -> BTreeMap<&'static str, usize> {
    let parts = parts(text);
    // A consumer of one of a queue's three queues on the broker: that one is not a priority, but has one.
    let code = parts.code.replace("LaneConsumer", "").replace("lane_consumer", "");
    let comments = parts.comments.replace("LaneConsumer", "").replace("lane_consumer", "");
    let mut found = BTreeMap::new();
    for (place, text) in [(In::Code, &code), (In::Comments, &comments)] {
        for said in words(text) {
            for (word, within) in lists {
                let counts = *within == In::Both || *within == place;
                if counts && (said == *word || said.strip_suffix('s') == Some(*word)) {
                    *found.entry(*word).or_default() += 1;
                }
            }
        }
    }
    found
}

/// Columns of the database that rows are read from by the same name.
fn is_column(file: &str, word: &str) -> bool {
    file.starts_with("store/") && ["lane", "astray", "dice"].contains(&word)
}

#[test]
fn words_that_are_not_plain_become_fewer() {
    let lists = WORDS.map(|(word, within, ..)| (word, within));
    let mut all: BTreeMap<&str, Vec<(String, usize)>> = BTreeMap::new();
    for (name, text) in sources().into_iter().filter(|(name, _)| !name.starts_with("tests/tests/tidy/")) {
        for (word, times) in count(&text, &lists) {
            if !is_column(&name, word) {
                all.entry(word).or_default().push((name.clone(), times));
            }
        }
    }
    let mut wrong = Vec::new();
    for (word, _, instead, most) in WORDS {
        let files = all.remove(word).unwrap_or_default();
        let times: usize = files.iter().map(|(_, times)| times).sum();
        println!("`{word}` stands {times} times, {most} are allowed");
        if times > most {
            let files: Vec<String> = files.iter().map(|(file, times)| format!("{file} ({times})")).collect();
            wrong.push(format!("`{word}` {times} times, {most} at most; write {instead}: {}", files.join(", ")));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn there_is_source_to_count_words_in() {
    assert!(rust_files(&root().join("core")).len() > 20);
}

#[test]
fn a_word_counts_in_identifiers_and_comments_but_not_in_texts() {
    let text = "// Nobody puts it on the road.\nstruct RoadSide { lanes: u8 }\nfn told_of(broad: &str) { f(\"door\") }";
    let lists =
        [("road", In::Both), ("lane", In::Both), ("door", In::Both), ("told", In::Code), ("nobody", In::Comments)];
    let expected = BTreeMap::from([("road", 2), ("lane", 1), ("told", 1), ("nobody", 1)]);
    assert_eq!(count(text, &lists), expected);
    assert_eq!(count("// He is told.\nlet nobody = LaneConsumer;", &lists), BTreeMap::new());
}
