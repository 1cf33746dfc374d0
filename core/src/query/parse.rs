//! From terms to a query.

use std::str::FromStr;
use std::time::Duration;

use uuid::Uuid;

use super::key::{Key, Kind, List};
use super::lexer::{RawTerm, RawValue, terms};
use super::suggest::nearest;
use super::time::Times;
use super::{Compare, Fault, Name, Query, Term, Test};
use crate::duration;

/// Reads a query of a list.
///
/// # Errors
///
/// The first fault, with its position: what is wrong, and what would be right.
pub fn parse(list: List, text: &str) -> Result<Query, Fault> {
    let terms = terms(text)?.into_iter().map(|raw| term(list, &raw)).collect::<Result<_, _>>()?;
    Ok(Query { terms })
}

fn term(list: List, raw: &RawTerm) -> Result<Term, Fault> {
    let Some(known) = list.keys().find(|known| known.key.as_str() == raw.key.text) else {
        return Err(unknown(list, raw));
    };
    let compared = matches!(known.kind, Kind::Number | Kind::Age);
    if raw.compare != ":" && !compared {
        let message = format!("`{}` is not compared by `{}`; write `{}`", known.key, raw.compare, known.example);
        return Err(Fault { at: raw.key.at, message });
    }
    let test = match known.kind {
        Kind::Words => Test::Words(each(raw, |value| word(list, value))?),
        Kind::Name => Test::Names(each(raw, name)?),
        Kind::Text => Test::Texts(each(raw, text)?),
        Kind::Id => Test::Ids(each(raw, id)?),
        Kind::Number => numbers(raw)?,
        Kind::Time => times(known.key, one(raw)?)?,
        Kind::Age => age(raw)?,
    };
    Ok(Term { key: known.key, negated: raw.negated, test })
}

fn unknown(list: List, raw: &RawTerm) -> Fault {
    let (found, keys) = (&raw.key.text, list.keys().map(|known| known.key.as_str()).collect::<Vec<_>>());
    let elsewhere = Key::ALL.into_iter().any(|key| key.as_str() == found);
    let right = match nearest(found, &keys) {
        Some(near) if !elsewhere => format!("did you mean `{near}`?"),
        _ => format!("there are {}", keys.join(", ")),
    };
    Fault { at: raw.key.at, message: format!("`{found}` is no key of {list}; {right}") }
}

fn each<T>(raw: &RawTerm, read: impl Fn(&RawValue) -> Result<T, Fault>) -> Result<Vec<T>, Fault> {
    raw.values.iter().map(read).collect()
}

fn fault(value: &RawValue, message: String) -> Fault {
    Fault { at: value.part.at, message }
}

/// The only value.
fn one(raw: &RawTerm) -> Result<&RawValue, Fault> {
    match raw.values.as_slice() {
        [value] if value.prefix => Err(fault(value, format!("`*` is for names; `{}` has none", raw.key.text))),
        [value] => Ok(value),
        [_, second, ..] => Err(fault(second, format!("`{}` has one value; write another term for more", raw.key.text))),
        [] => Err(Fault { at: raw.key.at, message: "a value is missing".to_owned() }),
    }
}

fn plain(value: &RawValue, what: &str) -> Result<String, Fault> {
    match value.prefix {
        true => Err(fault(value, format!("`*` is for names; {what} is given in full"))),
        false => Ok(value.part.text.clone()),
    }
}

fn word(list: List, value: &RawValue) -> Result<String, Fault> {
    let (text, states) = (plain(value, "a state")?, list.states());
    if states.contains(&text.as_str()) {
        return Ok(text);
    }
    let right = match nearest(&text, &states) {
        Some(near) => format!("did you mean `{near}`?"),
        None => format!("there are {}", states.join(", ")),
    };
    Err(fault(value, format!("`{text}` is no state of {list}; {right}")))
}

fn name(value: &RawValue) -> Result<Name, Fault> {
    Ok(Name { text: value.part.text.clone(), prefix: value.prefix })
}

fn text(value: &RawValue) -> Result<String, Fault> {
    let text = plain(value, "a text")?;
    if text.is_empty() {
        return Err(fault(value, "the empty text is in every text; give the text that is looked for".to_owned()));
    }
    Ok(text)
}

fn id(value: &RawValue) -> Result<Uuid, Fault> {
    let text = plain(value, "an id")?;
    Uuid::from_str(&text).map_err(|_| {
        fault(value, format!("`{text}` is not an id; write one such as 0198f9c1-7f3a-7cc2-9e2b-0123456789ab"))
    })
}

fn number(value: &RawValue, text: &str) -> Result<u32, Fault> {
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let read = text.parse().ok().filter(|_| digits);
    read.ok_or_else(|| fault(value, format!("`{text}` is not a number from 0 to {}; write one such as 3", u32::MAX)))
}

fn numbers(raw: &RawTerm) -> Result<Test, Fault> {
    let value = one(raw)?;
    let text = &value.part.text;
    let (from, to) = match (raw.compare, text.split_once("..")) {
        (":", Some((from, to))) => {
            let end = |text: &str| if text.is_empty() { Ok(None) } else { number(value, text).map(Some) };
            (end(from)?, end(to)?)
        }
        (":", None) => {
            let number = number(value, text)?;
            (Some(number), Some(number))
        }
        (compare, _) => {
            let number = number(value, text)?;
            match compare {
                ">=" => (Some(number), None),
                ">" => (Some(number.checked_add(1).ok_or_else(|| none(value, compare, number))?), None),
                "<=" => (None, Some(number)),
                _ => (None, Some(number.checked_sub(1).ok_or_else(|| none(value, compare, number))?)),
            }
        }
    };
    match (from, to) {
        (None, None) => Err(fault(value, "a range has a beginning or an end, such as `3..` or `3..5`".to_owned())),
        (Some(from), Some(to)) if from > to => Err(fault(value, format!("{from} is above {to}; write `{to}..{from}`"))),
        _ => Ok(Test::Numbers { from, to }),
    }
}

fn none(value: &RawValue, compare: &str, number: u32) -> Fault {
    fault(value, format!("no number is {compare} {number}"))
}

fn times(key: Key, value: &RawValue) -> Result<Test, Fault> {
    Times::parse(&value.part.text).map(Test::Times).map_err(|message| fault(value, format!("`{key}`: {message}")))
}

fn age(raw: &RawTerm) -> Result<Test, Fault> {
    let value = one(raw)?;
    let Ok(compare) = raw.compare.parse::<Compare>() else {
        let message = format!("an age is more or less than a duration; write `age>{}`", value.part.text);
        return Err(Fault { at: raw.key.at, message });
    };
    // Durations are printed in whole milliseconds, and read in no other way.
    let age: Duration = duration::parse(&value.part.text).map_err(|error| fault(value, error.to_string()))?;
    Ok(Test::Age(compare, age))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wrong(list: List, text: &str) -> String {
        parse(list, text).expect_err(text).to_string()
    }

    #[test]
    fn the_parts_of_a_query_are_read() {
        let query =
            parse(List::Jobs, "state:retry,dead -kind:import.*  error:\"no \\\"route\\\"\" attempts>2").expect("read");
        let expected = [
            (Key::State, false, Test::Words(vec!["retry".to_owned(), "dead".to_owned()])),
            (Key::Kind, true, Test::Names(vec![Name { text: "import.".to_owned(), prefix: true }])),
            (Key::Error, false, Test::Texts(vec!["no \"route\"".to_owned()])),
            (Key::Attempts, false, Test::Numbers { from: Some(3), to: None }),
        ];
        let expected = expected.map(|(key, negated, test)| Term { key, negated, test });
        assert_eq!(query.terms, expected);
        assert!(parse(List::Jobs, "  ").expect("nothing").is_empty());
    }

    #[test]
    fn every_fault_says_where_what_is_wrong_and_what_would_be_right() {
        for (text, found) in [
            ("kind:a sate:dead", "at 8: `sate` is no key of jobs; did you mean `state`?"),
            ("stage:parse", "at 1: `stage` is no key of jobs; there are state, queue, kind"),
            ("state:deda", "at 7: `deda` is no state of jobs; did you mean `dead`?"),
            ("import", "at 1: `import` has no key; write one before it, such as `kind:import`"),
            ("kind=a", "at 5: `=` compares nothing here; write `kind:`"),
            ("kind:a*b", "at 8: a `*` stands at the end of a value"),
            ("kind:", "at 6: a value is missing here"),
            ("kind:a,", "at 8: a value is missing here"),
            ("error:\"open", "at 7: this quote is not closed"),
            ("error:\"a\\n\"", "at 10: `\\` stands before"),
            ("error:a\"b", "at 8: a quote stands at the beginning"),
            ("error:\"\"", "at 7: the empty text is in every text"),
            ("batch:7", "at 7: `7` is not an id"),
            ("attempts:x", "at 10: `x` is not a number"),
            ("attempts<0", "at 10: no number is < 0"),
            ("attempts:5..3", "at 10: 5 is above 3"),
            ("attempts:..", "at 10: a range has a beginning or an end"),
            ("age:1h", "at 1: an age is more or less than a duration; write `age>1h`"),
            ("age>1", "at 5: `1` is not a duration: it has no unit"),
            ("kind>3", "at 1: `kind` is not compared by `>`; write `kind:import*`"),
            ("created:tomorrow", "at 9: `created`: `tomorrow` is neither a day nor an instant"),
            ("created:2026-11-19T08:00:00Z", "at 9: `created`: an instant alone is met by nothing"),
            ("created:2026-11-20..2026-11-19", "at 9: `created`: the range ends before it begins"),
            ("created:a,b", "at 11: `created` has one value"),
            ("\"a\"", "at 1: a text in quotes stands behind a key"),
            (",", "at 1: a comma stands between values"),
            ("-", "at 2: a key is missing here"),
        ] {
            let error = wrong(List::Jobs, text);
            assert!(error.starts_with(found), "{text}: {error}");
        }
        assert!(wrong(List::DeadLetters, "state:dead").contains("`state` is no key of dead letters; there are queue"));
    }

    #[test]
    fn what_is_too_much_is_refused() {
        assert!(wrong(List::Jobs, &"kind:a ".repeat(51)).contains("one term too many"));
        assert!(wrong(List::Jobs, &format!("kind:{}", ["a"; 101].join(","))).contains("one value too many"));
        assert!(wrong(List::Jobs, &"a".repeat(5_000)).contains("4000 bytes"));
    }
}
