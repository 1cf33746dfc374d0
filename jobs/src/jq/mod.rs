//! jq programs.
//!
//! The grammar and the evaluation are the crate jaq-core's; the values, the functions and a few meanings are ours, so
//! that a program gives what jq 1.8 gives, numbers stay exact, and nothing that a stranger's item or a slip in a
//! program brings about costs more than that item: steps, memory and stack are metered, paths and values have a greatest depth.
//! `docs/jq.md` says what is different.
//!
//! Not offered, because the same item must give the same result at each attempt and on each machine, and because items
//! come from strangers: `env`, `$ENV`, `now`, `input`, local time; `debug` is silent.

mod access;
mod dates;
mod decimals;
mod json;
#[cfg(test)]
mod limits;
mod lists;
mod math;
mod meter;
mod native;
mod number;
mod operators;
mod order;
mod patterns;
mod program;
mod rewrite;
#[cfg(test)]
mod table;
mod texts;
mod value;

pub(crate) use program::{Output, Program, Tree, with_term};

/// The most characters of a text that a message shows.
const BRIEF_CHARS: usize = 60;

/// The text, or its beginning and an ellipsis.
fn brief(text: &str) -> String {
    match text.char_indices().nth(BRIEF_CHARS) {
        Some(_) => text.chars().take(BRIEF_CHARS - 1).chain(['…']).collect(),
        None => text.to_owned(),
    }
}

/// The beginning of a text in double quotes.
fn quoted(text: &str) -> String {
    format!("\"{}\"", brief(text))
}
