//! The terms of a query as conditions of a statement: in both databases' words, with the values apart.

use gristmill_core::Instant;
use gristmill_core::query::{Key, Name, Query, Term, Test};
use uuid::Uuid;

/// A part of a statement.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Piece {
    /// Text of the statement itself: nothing of it comes from a query.
    Sql(String),
    /// A value.
    Text(String),
    /// A value.
    Number(i64),
    /// A value.
    At(Instant),
    /// A value.
    Id(Uuid),
}

/// Conditions on the rows of a table under this name, each with `AND` before it. `find` is the function that looks for a
/// text in another. Keys that the statement deals with otherwise are left out.
pub(crate) fn conditions(query: &Query, row: &str, find: &str, without: &[Key]) -> Vec<Piece> {
    let mut pieces = Vec::new();
    for term in query.terms.iter().filter(|term| !without.contains(&term.key)) {
        // What a row does not have meets no comparison, and so every negated one.
        pieces.push(sql(if term.negated { " AND NOT COALESCE((" } else { " AND (" }));
        condition(term, &format!("{row}.{}", column(term.key)), find, &mut pieces);
        pieces.push(sql(if term.negated { "), FALSE)" } else { ")" }));
    }
    pieces
}

fn sql(text: impl Into<String>) -> Piece {
    Piece::Sql(text.into())
}

fn column(key: Key) -> &'static str {
    match key {
        Key::State => "state",
        Key::Queue => "queue",
        Key::Kind => "kind",
        Key::Key => "key",
        Key::Name => "name",
        Key::Batch => "batch_id",
        Key::Stage => "stage",
        Key::Error => "error",
        Key::Reason => "reason",
        Key::Attempts => "attempt",
        Key::Created | Key::Age => "created_at",
        Key::Ended => "finished_at",
    }
}

fn condition(term: &Term, column: &str, find: &str, pieces: &mut Vec<Piece>) {
    match &term.test {
        Test::Words(words) => any(words, pieces, |word, pieces| equals(column, Piece::Text(word.clone()), pieces)),
        Test::Names(names) => any(names, pieces, |name, pieces| named(column, name, pieces)),
        Test::Texts(texts) => any(texts, pieces, |text, pieces| {
            pieces.extend([sql(format!("{find}(lower({column}), lower(")), Piece::Text(text.clone()), sql(")) > 0")]);
        }),
        Test::Ids(ids) => any(ids, pieces, |id, pieces| equals(column, Piece::Id(*id), pieces)),
        Test::Numbers { from, to } => {
            let number = |number: &u32| Piece::Number(i64::from(*number));
            between(column, from.as_ref().map(number), to.as_ref().map(number), " <= ", pieces);
        }
        Test::Times(times) => {
            between(column, times.begins().map(Piece::At), times.ends().map(Piece::At), " < ", pieces);
        }
        // The caller has asked the query as of an instant; without one no age is met.
        Test::Age(..) => pieces.push(sql("1 = 0")),
    }
}

fn any<T>(values: &[T], pieces: &mut Vec<Piece>, mut one: impl FnMut(&T, &mut Vec<Piece>)) {
    for (index, value) in values.iter().enumerate() {
        if index > 0 {
            pieces.push(sql(" OR "));
        }
        one(value, pieces);
    }
}

fn equals(column: &str, value: Piece, pieces: &mut Vec<Piece>) {
    pieces.extend([sql(format!("{column} = ")), value]);
}

fn named(column: &str, name: &Name, pieces: &mut Vec<Piece>) {
    match (name.prefix, name.text.is_empty()) {
        (true, true) => pieces.push(sql(format!("{column} IS NOT NULL"))),
        (true, false) => {
            let letters = name.text.chars().count();
            pieces.extend([sql(format!("substr({column}, 1, {letters}) = ")), Piece::Text(name.text.clone())]);
        }
        (false, _) => equals(column, Piece::Text(name.text.clone()), pieces),
    }
}

fn between(column: &str, from: Option<Piece>, to: Option<Piece>, below: &str, pieces: &mut Vec<Piece>) {
    let both = from.is_some() && to.is_some();
    if let Some(from) = from {
        pieces.extend([sql(format!("{column} >= ")), from]);
    }
    if both {
        pieces.push(sql(" AND "));
    }
    if let Some(to) = to {
        pieces.extend([sql(format!("{column}{below}")), to]);
    }
}

#[cfg(test)]
mod tests {
    use gristmill_core::query::{List, parse};

    use super::*;

    /// The statement with `?` for each value.
    fn statement(text: &str) -> String {
        let query = parse(List::Jobs, text).expect(text);
        let show = |piece: Piece| match piece {
            Piece::Sql(text) => text,
            _ => "?".to_owned(),
        };
        conditions(&query, "j", "instr", &[]).into_iter().map(show).collect()
    }

    #[test]
    fn no_value_is_a_part_of_the_statement() {
        for (text, expected) in [
            ("", ""),
            ("state:dead,retry", " AND (j.state = ? OR j.state = ?)"),
            ("-kind:a*,b", " AND NOT COALESCE((substr(j.kind, 1, 1) = ? OR j.kind = ?), FALSE)"),
            ("key:*", " AND (j.key IS NOT NULL)"),
            ("error:\"') OR 1\"", " AND (instr(lower(j.error), lower(?)) > 0)"),
            ("attempts:2..4", " AND (j.attempt >= ? AND j.attempt <= ?)"),
            ("ended:2026-11-19..", " AND (j.finished_at >= ?)"),
            ("created:2026-11-19", " AND (j.created_at >= ? AND j.created_at < ?)"),
        ] {
            assert_eq!(statement(text), expected, "{text}");
        }
    }
}
