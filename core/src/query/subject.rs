//! Whether something matches a query.

use uuid::Uuid;

use super::{Key, Term, Test};
use crate::Instant;

/// What a key of a subject holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Value<'a> {
    /// Nothing.
    None,
    /// A word, a name or a text.
    Text(&'a str),
    /// An id.
    Id(Uuid),
    /// A number.
    Number(u32),
    /// An instant.
    At(Instant),
}

impl<'a> From<Option<&'a str>> for Value<'a> {
    fn from(text: Option<&'a str>) -> Self {
        text.map_or(Self::None, Self::Text)
    }
}

impl From<Option<Instant>> for Value<'_> {
    fn from(at: Option<Instant>) -> Self {
        at.map_or(Self::None, Self::At)
    }
}

impl From<Option<Uuid>> for Value<'_> {
    fn from(id: Option<Uuid>) -> Self {
        id.map_or(Self::None, Self::Id)
    }
}

/// Something that can be asked about.
pub trait Subject {
    /// What it holds under a key.
    fn value(&self, key: Key) -> Value<'_>;
}

impl Term {
    /// Whether something meets it. What a subject does not have meets no comparison, and so every negated one.
    pub fn matches(&self, subject: &impl Subject) -> bool {
        let met = match (&self.test, subject.value(self.key)) {
            (Test::Words(words), Value::Text(text)) => words.iter().any(|word| word == text),
            (Test::Names(names), Value::Text(text)) => names.iter().any(|name| name.meets(text)),
            (Test::Texts(texts), Value::Text(text)) => {
                let text = text.to_lowercase();
                texts.iter().any(|part| text.contains(&part.to_lowercase()))
            }
            (Test::Ids(ids), Value::Id(id)) => ids.contains(&id),
            (Test::Numbers { from, to }, Value::Number(number)) => {
                from.is_none_or(|from| number >= from) && to.is_none_or(|to| number <= to)
            }
            (Test::Times(times), Value::At(at)) => times.holds(at),
            _ => false,
        };
        met != self.negated
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::query::{List, parse};

    struct Job;

    impl Subject for Job {
        fn value(&self, key: Key) -> Value<'_> {
            match key {
                Key::State => Value::Text("retry"),
                Key::Kind => Value::Text("import.orders"),
                Key::Error => Value::Text("No Route to host"),
                Key::Attempts => Value::Number(3),
                _ => Value::None,
            }
        }
    }

    #[test]
    fn all_terms_must_hold_and_what_is_not_there_meets_only_what_is_negated() {
        for (text, expected) in [
            ("", true),
            ("state:retry,dead", true),
            ("-state:retry", false),
            ("kind:import.*", true),
            ("kind:import", false),
            ("error:\"no route\"", true),
            ("attempts>=3 attempts<4", true),
            ("attempts>3", false),
            ("key:a", false),
            ("-key:a", true),
            ("ended:2026-11-19..", false),
            ("state:retry kind:email", false),
        ] {
            assert_eq!(parse(List::Jobs, text).expect(text).matches(&Job), expected, "{text}");
        }
    }
}
