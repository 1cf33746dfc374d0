//! The common formats of dates, read without trying what a digit may be.
//!
//! A format of day, month, year and perhaps a time of day, with plain signs between them, is read here as long as the
//! text is plain too. `None` means no more than that: the format itself decides then.

use chrono::format::{Item, Numeric};
use chrono::{DateTime, Datelike, NaiveDate, NaiveDateTime, SecondsFormat, Timelike, Utc};

/// Such a format.
#[derive(Debug, Clone)]
pub(super) struct Quick(Vec<Step>);

#[derive(Debug, Clone)]
enum Step {
    Part(Part),
    Sign(u8),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Part {
    Year,
    Month,
    Day,
    Hour,
    Minute,
    Second,
}

/// Day, month and year, each once.
const DAY: [Part; 3] = [Part::Year, Part::Month, Part::Day];

impl Quick {
    /// `None` when the format has anything else in it, or a part twice.
    pub(super) fn of(items: &[Item<'_>]) -> Option<Self> {
        let mut steps = Vec::new();
        for item in items {
            match item {
                Item::Numeric(number, _) => steps.push(Step::Part(part(number)?)),
                Item::Literal(signs) | Item::Space(signs) => steps.extend(signs.bytes().map(Step::Sign)),
                Item::OwnedLiteral(signs) | Item::OwnedSpace(signs) => steps.extend(signs.bytes().map(Step::Sign)),
                _ => return None,
            }
        }
        let count = |wanted| steps.iter().filter(|step| matches!(step, Step::Part(part) if *part == wanted)).count();
        let once = DAY.into_iter().all(|part| count(part) == 1);
        let plain =
            steps.iter().all(|step| !matches!(step, Step::Sign(sign) if !sign.is_ascii_punctuation() && *sign != b' '));
        let time = [count(Part::Hour), count(Part::Minute), count(Part::Second)];
        (once && plain && matches!(time, [0, 0, 0] | [1, 1, 0] | [1, 1, 1])).then_some(Self(steps))
    }

    /// The time that a text stands for; midnight when the format has none.
    pub(super) fn read(&self, text: &str) -> Option<NaiveDateTime> {
        let bytes = text.as_bytes();
        let (mut at, mut found) = (0, [0_u32; 6]);
        for step in &self.0 {
            match step {
                Step::Sign(sign) => {
                    if bytes.get(at) != Some(sign) {
                        return None;
                    }
                    at += 1;
                }
                Step::Part(part) => {
                    let (number, next) = digits(bytes, at, if *part == Part::Year { 4 } else { 2 })?;
                    if *part == Part::Year && next - at != 4 {
                        return None;
                    }
                    found[*part as usize] = number;
                    at = next;
                }
            }
        }
        let [year, month, day, hour, minute, second] = found;
        let date = NaiveDate::from_ymd_opt(year.cast_signed(), month, day)?;
        (at == bytes.len()).then(|| date.and_hms_opt(hour, minute, second)).flatten()
    }

    /// Whether it reads a time of day.
    pub(super) fn has_time(&self) -> bool {
        self.0.iter().any(|step| matches!(step, Step::Part(Part::Hour)))
    }
}

fn part(number: &Numeric) -> Option<Part> {
    Some(match number {
        Numeric::Year => Part::Year,
        Numeric::Month => Part::Month,
        Numeric::Day => Part::Day,
        Numeric::Hour => Part::Hour,
        Numeric::Minute => Part::Minute,
        Numeric::Second => Part::Second,
        _ => return None,
    })
}

/// At least one digit and at most so many, and where they end.
fn digits(bytes: &[u8], from: usize, most: usize) -> Option<(u32, usize)> {
    let (mut at, mut number) = (from, 0);
    while let Some(byte) = bytes.get(at).filter(|byte| byte.is_ascii_digit() && at - from < most) {
        number = number * 10 + u32::from(byte - b'0');
        at += 1;
    }
    (at > from).then_some((number, at))
}

/// A date as RFC 3339 writes it.
pub(super) fn date_text(date: NaiveDate) -> String {
    let mut text = String::with_capacity(10);
    let year = date.year().unsigned_abs();
    two(&mut text, year / 100);
    two(&mut text, year % 100);
    for part in [date.month(), date.day()] {
        text.push('-');
        two(&mut text, part);
    }
    text
}

/// An instant as RFC 3339 writes it in UTC.
pub(super) fn instant_text(instant: DateTime<Utc>) -> String {
    if instant.nanosecond() != 0 {
        return instant.to_rfc3339_opts(SecondsFormat::AutoSi, true);
    }
    let mut text = date_text(instant.date_naive());
    for (mark, part) in [('T', instant.hour()), (':', instant.minute()), (':', instant.second())] {
        text.push(mark);
        two(&mut text, part);
    }
    text.push('Z');
    text
}

fn two(text: &mut String, number: u32) {
    let digit = |number: u32| char::from_digit(number % 10, 10).unwrap_or('0');
    text.push(digit(number / 10));
    text.push(digit(number));
}
