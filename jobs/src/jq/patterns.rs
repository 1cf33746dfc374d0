//! Regular expressions: `test`, `match`, `capture`, `scan`, `split`, `sub`.
//!
//! The dialect is Oniguruma's as far as the engine goes, with Unicode classes throughout. An expression that backtracks
//! too much is an error of the item.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;

use fancy_regex::{Captures, Regex, RegexBuilder};
use jaq_core::box_iter::box_once;
use jaq_core::native::run;
use jaq_core::{Bind, Error, Exn};

use super::meter;
use super::native::{Fun, function2};
use super::texts::string;
use super::value::{Map, Shown, Text, Val};

/// How many compiled expressions a thread keeps. A program whose expressions come from its items makes many.
const KEPT_MAX: usize = 256;

/// The most that an expression may take up when it is compiled.
const COMPILED_BYTES_MAX: usize = 4 * 1024 * 1024;

/// How often an expression may go back and try another way.
const BACKTRACKS_MAX: usize = 200_000;

/// How much of a text a search is counted for.
const SEARCHED_BYTES: usize = 2_048;

type Failure = Error<Val>;

thread_local! {
    static KEPT: RefCell<HashMap<Key, Rc<Regex>>> = RefCell::default();
}

#[derive(PartialEq, Eq, Hash)]
struct Key {
    pattern: String,
    flags: Flags,
    /// Whether the text ends with a line feed, before which `$` matches as well.
    line_feed: bool,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
struct Flags {
    all: bool,
    nonempty: bool,
    any_case: bool,
    extended: bool,
    dot_all: bool,
}

/// One match, in bytes, and its groups.
struct Found<'t> {
    captures: Captures<'t, str>,
    start: usize,
    end: usize,
}

/// All functions of this kind.
pub(super) fn funs() -> Vec<Fun> {
    vec![
        function2!("_test", |value, pattern, flags| {
            matches(string(&value, "test")?, &pattern, &flags, |_| Ok(false)).map(Val::Bool)
        }),
        function2!("_match", |value, pattern, flags| {
            let text = string(&value, "match")?;
            let (mut found, mut letters) = (Vec::new(), Letters::new(text));
            let regex = compiled(text, &pattern, &flags)?.0;
            matches(text, &pattern, &flags, |one| {
                found.push(described(one, &regex, &mut letters));
                Ok(true)
            })?;
            Ok(Val::list(found))
        }),
        function2!("_split", |value, pattern, flags| {
            let text = string(&value, "split")?;
            let (mut parts, mut last) = (Vec::new(), 0);
            matches(text, &pattern, &flags, |one| {
                parts.push(Val::text(&text[last.min(one.start)..one.start]));
                last = one.end;
                Ok(true)
            })?;
            parts.push(Val::text(&text[last..]));
            Ok(Val::list(parts))
        }),
        run(("_sub", Box::new([Bind::Var(()), Bind::Fun(()), Bind::Var(())]), |mut cv| {
            let flags = cv.0.pop_var();
            let (replacement, context) = cv.0.pop_fun();
            let pattern = cv.0.pop_var();
            let replace = move |groups: Val| replacement.run((context.clone(), groups)).collect::<Result<Vec<_>, _>>();
            match substituted(&cv.1, &pattern, &flags, replace) {
                Ok(results) => Box::new(results.into_iter().map(Ok)),
                Err(problem) => box_once(Err(problem)),
            }
        })),
    ]
}

impl Flags {
    fn read(value: &Val) -> Result<Self, Failure> {
        let mut flags = Self::default();
        let text = match value {
            Val::Null => "",
            Val::Str(text) => text,
            other => return Err(Error::str(format_args!("{} is not a string of flags", Shown(other)))),
        };
        for flag in text.chars() {
            match flag {
                'g' => flags.all = true,
                'n' => flags.nonempty = true,
                'i' => flags.any_case = true,
                'x' => flags.extended = true,
                'p' => flags.dot_all = true,
                // `^` and `$` mean the whole text anyway.
                's' => {}
                'l' => return Err(Error::str("the flag l (longest match) is not offered")),
                _ => {
                    return Err(Error::str(format_args!(
                        "{text} is not a valid modifier string: use g, i, n, p, s, x"
                    )));
                }
            }
        }
        Ok(flags)
    }
}

fn compiled(text: &str, pattern: &Val, flags: &Val) -> Result<(Rc<Regex>, Flags), Failure> {
    let Val::Str(pattern) = pattern else {
        return Err(Error::str(format_args!("{} cannot be matched, as it is not a string", Shown(pattern))));
    };
    let flags = Flags::read(flags)?;
    let key = Key { pattern: pattern.to_string(), flags, line_feed: text.ends_with('\n') };
    KEPT.with_borrow_mut(|kept| {
        if let Some(regex) = kept.get(&key) {
            return Ok((Rc::clone(regex), flags));
        }
        // Making one is much more work than using it.
        meter::work(1_000 + 20 * pattern.len());
        let regex = Rc::new(
            built(&key)
                .map_err(|why| Error::str(format_args!("{} is not a valid regex: {why}", super::quoted(pattern))))?,
        );
        if kept.len() >= KEPT_MAX {
            kept.clear();
        }
        kept.insert(key, Rc::clone(&regex));
        Ok((regex, flags))
    })
}

fn built(key: &Key) -> Result<Regex, String> {
    let pattern = translated(&key.pattern, key.line_feed)?;
    let mut builder = RegexBuilder::new(&pattern);
    builder.case_insensitive(key.flags.any_case).ignore_whitespace(key.flags.extended);
    builder.dot_matches_new_line(key.flags.dot_all).backtrack_limit(BACKTRACKS_MAX);
    builder.delegate_size_limit(COMPILED_BYTES_MAX).delegate_dfa_size_limit(COMPILED_BYTES_MAX);
    builder.build().map_err(|problem| problem.to_string())
}

/// Rewrites what Oniguruma means otherwise: `$`, and the classes in double brackets, which are Unicode's there.
fn translated(pattern: &str, line_feed: bool) -> Result<String, String> {
    let (mut out, mut bracket) = (String::with_capacity(pattern.len()), false);
    let mut rest = pattern;
    while let Some(letter) = rest.chars().next() {
        let mut taken = letter.len_utf8();
        match letter {
            '\\' => {
                let escaped = rest[1..].chars().next().ok_or("it ends with a backslash")?;
                if "hHRXGKNO".contains(escaped) {
                    return Err(format!("`\\{escaped}` is not offered"));
                }
                taken += escaped.len_utf8();
                match escaped {
                    'Z' => out.push_str("(?=\\n?\\z)"),
                    _ => out.push_str(&rest[..taken]),
                }
            }
            '[' if bracket && rest.starts_with("[:") => {
                let end = rest.find(":]").ok_or("a class in double brackets is not closed")?;
                out.push_str(named_class(&rest[2..end])?);
                taken = end + 2;
            }
            // Classes are not computed with: these stand for themselves.
            '[' | '&' | '~' if bracket => {
                out.push('\\');
                out.push(letter);
            }
            '-' if bracket && rest.starts_with("--") => out.push_str("\\-"),
            '[' | ']' => {
                bracket = letter == '[';
                out.push(letter);
            }
            '{' if !bracket => {
                check_repetition(rest)?;
                out.push('{');
            }
            '$' if !bracket && line_feed => out.push_str("(?=\\n?\\z)"),
            '$' if !bracket => out.push_str("\\z"),
            other => out.push(other),
        }
        rest = &rest[taken..];
    }
    Ok(out)
}

/// Refuses the repetitions that the two dialects read differently.
fn check_repetition(rest: &str) -> Result<(), String> {
    let Some((inside, _)) = rest[1..].split_once('}') else { return Ok(()) };
    let Some((least, most)) = inside.split_once(',') else { return Ok(()) };
    match (least.parse::<u32>(), most.parse::<u32>()) {
        (Err(_), Ok(_)) if least.is_empty() => Err(format!("`{{,{most}}}` is not offered; write `{{0,{most}}}`")),
        (Ok(least), Ok(most)) if least > most => Err(format!("`{{{least},{most}}}` begins above its end")),
        _ => Ok(()),
    }
}

fn named_class(name: &str) -> Result<&'static str, String> {
    Ok(match name {
        "alpha" => "\\p{Alphabetic}",
        "^alpha" => "\\P{Alphabetic}",
        "digit" => "\\d",
        "^digit" => "\\D",
        "alnum" => "\\p{Alphabetic}\\d",
        "upper" => "\\p{Uppercase}",
        "^upper" => "\\P{Uppercase}",
        "lower" => "\\p{Lowercase}",
        "^lower" => "\\P{Lowercase}",
        "space" => "\\s",
        "^space" => "\\S",
        "blank" => "\\t\\p{Zs}",
        "punct" => "\\p{P}$+<=>^`|~",
        "cntrl" => "\\p{Cc}",
        "xdigit" => "0-9A-Fa-f",
        "word" => "\\w",
        "^word" => "\\W",
        "ascii" => "\\x00-\\x7F",
        _ => return Err(format!("`[:{name}:]` is not offered")),
    })
}

/// Calls `each` for every match, or the first without the flag `g`, until it says no. Returns whether there was one.
fn matches<'t>(
    text: &'t str,
    pattern: &Val,
    flags: &Val,
    mut each: impl FnMut(&Found<'t>) -> Result<bool, Failure>,
) -> Result<bool, Failure> {
    let (regex, flags) = compiled(text, pattern, flags)?;
    let (mut from, mut any) = (0, false);
    while from <= text.len() {
        // A match is seldom far away; what it costs to find is not known.
        meter::work(1);
        meter::touch((text.len() - from).min(SEARCHED_BYTES));
        let captures = regex.captures_from_pos(text, from).map_err(|problem| {
            Error::str(format_args!("the regex cannot be matched with {}: {problem}", super::quoted(text)))
        })?;
        let Some(captures) = captures else { break };
        let Some(whole) = captures.get(0) else { break };
        let (start, end) = (whole.start(), whole.end());
        // After an empty match the search goes on one letter further.
        from = if start == end { end + text[end..].chars().next().map_or(1, char::len_utf8) } else { end };
        if start == end && flags.nonempty {
            continue;
        }
        any = true;
        if !each(&Found { captures, start, end })? || !flags.all {
            break;
        }
    }
    Ok(any)
}

/// Turns places in bytes into places in letters; asked in rising order it walks through the text once.
struct Letters<'t> {
    text: &'t str,
    byte: usize,
    letter: usize,
}

impl<'t> Letters<'t> {
    fn new(text: &'t str) -> Self {
        Self { text, byte: 0, letter: 0 }
    }

    fn at(&mut self, byte: usize) -> usize {
        if byte < self.byte {
            (self.byte, self.letter) = (0, 0);
        }
        meter::touch(byte - self.byte);
        self.letter += self.text[self.byte..byte].chars().count();
        self.byte = byte;
        self.letter
    }
}

/// A match as programs see it.
fn described(found: &Found<'_>, regex: &Regex, letters: &mut Letters<'_>) -> Val {
    let text = letters.text;
    let mut groups = Vec::new();
    for (place, name) in regex.capture_names().enumerate().skip(1) {
        let name = name.map_or(Val::Null, Val::text);
        groups.push(match found.captures.get(place) {
            Some(group) => Val::object([
                ("offset", Val::count(letters.at(group.start()))),
                ("length", Val::count(group.as_str().chars().count())),
                ("string", Val::text(group.as_str())),
                ("name", name),
            ]),
            None => {
                Val::object([("offset", Val::int(-1)), ("string", Val::Null), ("length", Val::int(0)), ("name", name)])
            }
        });
    }
    let string = &text[found.start..found.end];
    Val::object([
        ("offset", Val::count(letters.at(found.start))),
        ("length", Val::count(string.chars().count())),
        ("string", Val::text(string)),
        ("captures", Val::list(groups)),
    ])
}

/// The named groups of a match as an object.
fn named_groups(found: &Found<'_>, regex: &Regex) -> Val {
    let named = regex.capture_names().enumerate().filter_map(|(place, name)| Some((place, name?)));
    let group = |place| found.captures.get(place).map_or(Val::Null, |group| Val::text(group.as_str()));
    Val::dict(named.map(|(place, name)| (Text::new(name), group(place))).collect::<Map>())
}

/// The text with its matches replaced: one result for each result of the replacement.
fn substituted<'a>(
    value: &Val,
    pattern: &Val,
    flags: &Val,
    replace: impl Fn(Val) -> Result<Vec<Val>, Exn<'a, Val>>,
) -> Result<Vec<Val>, Exn<'a, Val>> {
    let text = string(value, "sub")?;
    let regex = compiled(text, pattern, flags)?.0;
    let mut founds = Vec::new();
    matches(text, pattern, flags, |one| {
        founds.push((one.start, one.end, named_groups(one, &regex)));
        Ok(true)
    })?;
    let (mut results, mut last) = (Vec::<Val>::new(), 0);
    for (start, end, groups) in founds {
        let gap = &text[last.min(start)..start];
        for (place, insert) in replace(groups)?.into_iter().enumerate() {
            if place == results.len() {
                results.push(Val::text(""));
            }
            let before = std::mem::take(&mut results[place]);
            results[place] = ((before + Val::text(gap)).and_then(|text| text + insert))?;
        }
        last = end;
    }
    if results.is_empty() {
        return Ok(vec![value.clone()]);
    }
    results.into_iter().map(|result| (result + Val::text(&text[last..])).map_err(Exn::from)).collect()
}
