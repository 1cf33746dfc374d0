//! How a query is written.

use std::fmt;

use super::{Name, Query, Term, Test};
use crate::duration;

impl fmt::Display for Query {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, term) in self.terms.iter().enumerate() {
            if index > 0 {
                f.write_str(" ")?;
            }
            term.fmt(f)?;
        }
        Ok(())
    }
}

impl fmt::Display for Term {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (minus, key) = (if self.negated { "-" } else { "" }, self.key);
        write!(f, "{minus}{key}")?;
        match &self.test {
            Test::Words(words) => write!(f, ":{}", words.join(",")),
            Test::Names(names) => list(f, names.iter().map(named)),
            Test::Texts(texts) => list(f, texts.iter().map(|text| quoted(text))),
            Test::Ids(ids) => list(f, ids.iter().map(ToString::to_string)),
            Test::Numbers { from: Some(from), to: Some(to) } if from == to => write!(f, ":{from}"),
            Test::Numbers { from: Some(from), to: Some(to) } => write!(f, ":{from}..{to}"),
            Test::Numbers { from: Some(from), to: None } => write!(f, ">={from}"),
            Test::Numbers { from: None, to } => write!(f, "<={}", to.unwrap_or(u32::MAX)),
            Test::Times(times) => write!(f, ":{times}"),
            Test::Age(compare, age) => write!(f, "{compare}{}", duration::format(*age)),
        }
    }
}

fn list(f: &mut fmt::Formatter<'_>, values: impl Iterator<Item = String>) -> fmt::Result {
    write!(f, ":{}", values.collect::<Vec<_>>().join(","))
}

fn named(name: &Name) -> String {
    // The beginning of every name is `*` alone.
    let text = if name.prefix && name.text.is_empty() { String::new() } else { quoted(&name.text) };
    if name.prefix { format!("{text}*") } else { text }
}

/// In quotes where it needs them.
fn quoted(text: &str) -> String {
    let plain = !text.is_empty() && !text.chars().any(|letter| letter.is_whitespace() || "\",*\\".contains(letter));
    if plain { text.to_owned() } else { format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\"")) }
}
