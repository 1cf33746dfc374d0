//! Dates and instants by a format.
//!
//! A year has four digits. chrono alone would take `26` for the year 26, and `+12026` for a year that RFC 3339 cannot
//! write. A name of a zone (`%Z`) would be passed over, and its time taken for UTC: such a format is refused, and so is
//! one that no text can fit. Leap seconds, and instants beyond the years 0000 to 9999, are refused.

use std::fmt::Write;

use chrono::format::{Fixed, Item, Numeric, ParseResult, Parsed, StrftimeItems, parse_and_remainder};
use chrono::{DateTime, Datelike, FixedOffset, NaiveDate, Timelike, Utc};
use gristmill_core::definition::{ParseRule, ParseType};

use super::quick::Quick;

/// The years that RFC 3339 can write.
const YEARS: std::ops::RangeInclusive<i32> = 0..=9999;

/// A nanosecond of a leap second is at least this.
const LEAP: u32 = 1_000_000_000;

/// The first year of the hundred that `%y` stands for, unless said otherwise.
const WINDOW: i32 = 1970;

/// An instant on a day that every year has, with an offset, a time past noon and a fraction.
const SAMPLE: &str = "2026-01-31T15:26:07.123456789+02:00";

/// What two digits stand for where a year is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum TwoDigits {
    /// `%y` by the usual window; a year of four digits needs them all.
    Unsaid,
    /// Nothing at all.
    Refused,
    /// A year of the hundred that begin with this one, `%Y` or `%y`.
    From(i32),
}

/// A checked format.
#[derive(Debug, Clone)]
pub(super) struct DateFormat {
    text: String,
    items: Vec<Item<'static>>,
    two_digits: TwoDigits,
    /// Whether the century is written by itself.
    century: bool,
    quick: Option<Quick>,
}

impl DateFormat {
    /// Returns the formats of a rule.
    pub(super) fn of(rule: &ParseRule) -> Result<Vec<Self>, String> {
        let timely = matches!(rule.kind, ParseType::Date | ParseType::Datetime);
        if rule.two_digit_year.is_some() && (!timely || rule.format.is_none()) {
            return Err("`two_digit_year` belongs to a `format` of the types `date` and `datetime`".to_owned());
        }
        let Some(formats) = &rule.format else { return Ok(Vec::new()) };
        if !timely {
            return Err("`format` belongs to the types `date` and `datetime`".to_owned());
        }
        let two_digits = match &rule.two_digit_year {
            None => TwoDigits::Unsaid,
            Some(text) => window(text)?,
        };
        formats.as_slice().iter().map(|text| Self::new(text, two_digits, rule.kind)).collect()
    }

    fn new(text: &str, two_digits: TwoDigits, kind: ParseType) -> Result<Self, String> {
        let bad = || format!("`{text}` is not a date format; write one such as `%d/%m/%Y %H:%M`");
        let items = StrftimeItems::new(text).parse_to_owned().map_err(|_| bad())?;
        if items.is_empty() {
            return Err(bad());
        }
        let century =
            items.iter().any(|item| matches!(item, Item::Numeric(Numeric::YearDiv100 | Numeric::IsoYearDiv100, _)));
        if items.contains(&Item::Fixed(Fixed::TimezoneName)) {
            return Err(format!(
                "`{text}` has `%Z`: a zone's name does not say its offset for certain (CST has three), so that the time would be a guess; give offsets such as +02:00 and read them by `%:z`"
            ));
        }
        if two_digits == TwoDigits::Refused && !century && items.iter().any(is_short) {
            return Err(format!("`{text}` reads a year of two digits, which `two_digit_year = \"refuse\"` forbids"));
        }
        let quick = Quick::of(&items);
        let format = Self { text: text.to_owned(), items, two_digits, century, quick };
        if format.fits_nothing(kind) {
            let (what, parts, example) = match kind {
                ParseType::Datetime => ("an instant", "a day and a time of day", "%d/%m/%Y %H:%M"),
                _ => ("a date", "year, month and day", "%d/%m/%Y"),
            };
            return Err(format!("no text becomes {what} by `{text}`: it must say {parts}, such as `{example}`"));
        }
        Ok(format)
    }

    /// The format as it is written.
    pub(super) fn text(&self) -> &str {
        &self.text
    }

    /// The date that a text stands for.
    pub(super) fn date(&self, text: &str) -> Option<NaiveDate> {
        if let Some(time) = self.quick.as_ref().and_then(|quick| quick.read(text)) {
            return Some(time.date());
        }
        let parsed = self.parsed(text)?;
        let date = parsed.to_naive_date().ok()?;
        (YEARS.contains(&date.year()) && parsed.second() != Some(60)).then_some(date)
    }

    /// The instant that a text stands for: in UTC when there is no offset in it.
    pub(super) fn instant(&self, text: &str) -> Option<DateTime<Utc>> {
        let quick = self.quick.as_ref().filter(|quick| quick.has_time());
        if let Some(time) = quick.and_then(|quick| quick.read(text)) {
            return Some(time.and_utc());
        }
        let parsed = self.parsed(text)?;
        let instant = match parsed.offset() {
            Some(_) => parsed.to_datetime().ok()?.to_utc(),
            None => parsed.to_naive_datetime_with_offset(0).ok()?.and_utc(),
        };
        ordinary(instant)
    }

    fn parsed(&self, text: &str) -> Option<Parsed> {
        let mut parsed = Parsed::new();
        let mut rest = text;
        for item in &self.items {
            rest = self.item(&mut parsed, rest, item)?;
        }
        rest.is_empty().then_some(parsed)
    }

    /// Reads one item from the beginning of the text, and returns what follows it.
    fn item<'a>(&self, parsed: &mut Parsed, text: &'a str, item: &Item<'static>) -> Option<&'a str> {
        match item {
            Item::Numeric(Numeric::Year, _) => self.year(parsed, text, Parsed::set_year),
            Item::Numeric(Numeric::IsoYear, _) => self.year(parsed, text, Parsed::set_isoyear),
            Item::Numeric(Numeric::YearMod100, _) if !self.century => self.short(parsed, text, Parsed::set_year),
            Item::Numeric(Numeric::IsoYearMod100, _) if !self.century => self.short(parsed, text, Parsed::set_isoyear),
            Item::Numeric(
                Numeric::YearDiv100 | Numeric::YearMod100 | Numeric::IsoYearDiv100 | Numeric::IsoYearMod100,
                _,
            ) => digits(text, 2).and_then(|_| rest(parsed, text, item)),
            Item::Fixed(Fixed::RFC3339) => digits(text, 4).and_then(|_| rest(parsed, text, item)),
            _ => rest(parsed, text, item),
        }
    }

    /// A year of four digits, or of two where they have a meaning.
    fn year<'a>(&self, parsed: &mut Parsed, text: &'a str, set: Set) -> Option<&'a str> {
        match digits(text, 4) {
            Some((year, rest)) => set(parsed, year).ok().map(|()| rest),
            // Three digits are no year of two.
            None if matches!(self.two_digits, TwoDigits::From(_)) && digits(text, 3).is_none() => {
                self.short(parsed, text, set)
            }
            None => None,
        }
    }

    /// A year of two digits.
    fn short<'a>(&self, parsed: &mut Parsed, text: &'a str, set: Set) -> Option<&'a str> {
        let (two, rest) = digits(text, 2)?;
        let first = i64::from(match self.two_digits {
            TwoDigits::From(first) => first,
            TwoDigits::Unsaid | TwoDigits::Refused => WINDOW,
        });
        let year = first - first % 100 + two;
        set(parsed, if year < first { year + 100 } else { year }).ok().map(|()| rest)
    }

    /// Whether not even the text that the format itself makes of an instant can be read.
    fn fits_nothing(&self, kind: ParseType) -> bool {
        let year = match self.two_digits {
            TwoDigits::From(first) if self.items.iter().any(is_short) => first + 50,
            _ => 2026,
        };
        let sample = DateTime::parse_from_rfc3339(SAMPLE).ok();
        let Some(sample) = sample.and_then(|sample: DateTime<FixedOffset>| sample.with_year(year)) else {
            return false;
        };
        let mut shown = String::new();
        // Some items can only be read.
        if write!(shown, "{}", sample.format_with_items(self.items.iter())).is_err() {
            return false;
        }
        let shown = shown.trim();
        match kind {
            ParseType::Datetime => self.instant(shown).is_none(),
            _ => self.date(shown).is_none(),
        }
    }
}

fn is_short(item: &Item<'_>) -> bool {
    matches!(item, Item::Numeric(Numeric::YearMod100 | Numeric::IsoYearMod100, _))
}

type Set = fn(&mut Parsed, i64) -> ParseResult<()>;

/// Reads a date of RFC 3339: `2026-01-31`.
pub(super) fn date(text: &str) -> Option<NaiveDate> {
    let shape = |(place, byte): (usize, u8)| if matches!(place, 4 | 7) { byte == b'-' } else { byte.is_ascii_digit() };
    let fits = text.len() == 10 && text.bytes().enumerate().all(shape);
    fits.then(|| NaiveDate::parse_from_str(text, "%Y-%m-%d").ok()).flatten()
}

/// Reads an instant of RFC 3339: `2026-01-31T08:26:00Z`.
pub(super) fn instant(text: &str) -> Option<DateTime<Utc>> {
    DateTime::parse_from_rfc3339(text).ok().and_then(|instant| ordinary(instant.to_utc()))
}

/// An instant that RFC 3339 can write, and that is no leap second.
fn ordinary(instant: DateTime<Utc>) -> Option<DateTime<Utc>> {
    (YEARS.contains(&instant.year()) && instant.nanosecond() < LEAP).then_some(instant)
}

/// Reads exactly so many digits after blanks, and returns the number and what follows them.
fn digits(text: &str, count: usize) -> Option<(i64, &str)> {
    let text = text.trim_start();
    let (digits, rest) = text.split_at_checked(count)?;
    let all = digits.bytes().all(|byte| byte.is_ascii_digit());
    all.then(|| digits.parse().ok()).flatten().map(|number| (number, rest))
}

fn rest<'a>(parsed: &mut Parsed, text: &'a str, item: &Item<'static>) -> Option<&'a str> {
    parse_and_remainder(parsed, text, std::iter::once(item)).ok()
}

/// Reads `1970-2069`: a hundred years, by their first and their last.
fn window(text: &str) -> Result<TwoDigits, String> {
    if text == "refuse" {
        return Ok(TwoDigits::Refused);
    }
    let year = |digits: &str| (digits.len() == 4).then(|| digits.parse::<u16>().ok()).flatten().map(i32::from);
    let ends = text.split_once('-').and_then(|(first, last)| Some((year(first)?, year(last)?)));
    match ends {
        Some((first, last)) if last - first == 99 => Ok(TwoDigits::From(first)),
        _ => Err(format!(
            "`two_digit_year` is `{text}`; write \"refuse\", or the hundred years that two digits stand for, such as \"1970-2069\""
        )),
    }
}

#[cfg(test)]
mod tests {
    use gristmill_testkit::random::{Random, seed};
    use serde_json::json;

    use super::super::quick;
    use super::*;

    fn format(rule: serde_json::Value) -> Result<DateFormat, String> {
        let rule: ParseRule = serde_json::from_value(rule).expect("a rule");
        DateFormat::of(&rule).map(|formats| formats.into_iter().next().expect("one format"))
    }

    fn date_by(text: &str, policy: Option<&str>, value: &str) -> Option<String> {
        let rule = json!({ "type": "date", "format": text, "two_digit_year": policy });
        format(rule).expect(text).date(value).map(|date| date.to_string())
    }

    fn instant_by(text: &str, value: &str) -> Option<String> {
        let format = format(json!({ "type": "datetime", "format": text })).expect(text);
        format.instant(value).map(|instant| instant.to_rfc3339())
    }

    #[test]
    fn what_is_read_quickly_is_what_the_format_reads() {
        let mut random = Random::new(seed());
        let formats =
            ["%d/%m/%Y %H:%M", "%Y-%m-%d", "%d.%m.%Y", "%m/%d/%Y", "%Y%m%d", "%Y-%m-%d %H:%M:%S", "%d/%m/%Y%H:%M"];
        let mut read = 0;
        for _ in 0..20_000 {
            let text = *random.pick(&formats);
            let kind = if text.contains("%H") && random.one_in(2) { "datetime" } else { "date" };
            let quick = format(json!({ "type": kind, "format": text })).expect(text);
            let slow = DateFormat { quick: None, ..quick.clone() };
            let part = |letter: char, random: &mut Random| match letter {
                'Y' => random.between(0, 10_050).to_string(),
                _ if random.one_in(2) => format!("{:02}", random.below(62)),
                _ => random.below(14).to_string(),
            };
            let mut value = String::new();
            let mut letters = text.chars();
            while let Some(letter) = letters.next() {
                match letter {
                    '%' => value += &part(letters.next().unwrap_or('Y'), &mut random),
                    sign if random.one_in(40) => value += &format!("{sign} "),
                    sign => value.push(sign),
                }
            }
            assert_eq!(quick.date(&value), slow.date(&value), "{text}: {value}");
            assert_eq!(quick.instant(&value), slow.instant(&value), "{text}: {value}");
            read += u64::from(slow.date(&value).is_some());
        }
        assert!(read > 1_000, "{read}");
    }

    #[test]
    fn a_time_is_written_as_the_library_writes_it() {
        for text in ["0000-01-01T00:00:00Z", "2026-11-30T09:07:05Z", "9999-12-31T23:59:59Z", "2026-01-31T08:26:00.5Z"] {
            let instant = instant(text).expect(text);
            assert_eq!(quick::instant_text(instant), instant.to_rfc3339_opts(chrono::SecondsFormat::AutoSi, true));
            assert_eq!(quick::date_text(instant.date_naive()), instant.format("%Y-%m-%d").to_string());
        }
    }

    #[test]
    fn a_year_has_four_digits_unless_a_policy_says_what_two_mean() {
        for (text, policy, value, right) in [
            ("%d/%m/%Y", None, "01/12/2010", Some("2010-12-01")),
            ("%d/%m/%Y", None, "1/2/2010", Some("2010-02-01")),
            ("%d/%m/%Y", None, "01/12/10", None),
            ("%d/%m/%Y", None, "01/12/-10", None),
            ("%d/%m/%Y", None, "01/12/+2010", None),
            ("%d/%m/%Y", None, "01/12/12010", None),
            ("%d/%m/%Y", None, "01/12/201", None),
            ("%Y-%m-%d", None, "30-09-19", None),
            ("%F", None, "-026-01-31", None),
            ("%d-%m-%y", None, "30-09-19", Some("2019-09-30")),
            ("%d-%m-%y", None, "30-09-70", Some("1970-09-30")),
            ("%d-%m-%y", None, "30-09-9", None),
            ("%d-%m-%y", None, "30-09-2019", None),
            ("%d-%m-%y", Some("1930-2029"), "30-09-29", Some("2029-09-30")),
            ("%d-%m-%y", Some("1930-2029"), "30-09-30", Some("1930-09-30")),
            ("%d/%m/%Y", Some("1970-2069"), "01/12/10", Some("2010-12-01")),
            ("%d/%m/%Y", Some("1970-2069"), "01/12/2010", Some("2010-12-01")),
            ("%d/%m/%Y", Some("1970-2069"), "01/12/201", None),
            ("%d/%m/%Y", Some("1970-2069"), "01/12/1", None),
            ("%d/%m/%Y", Some("refuse"), "01/12/10", None),
            ("%Y%m%d", None, "20100131", Some("2010-01-31")),
            ("%C%y-%m-%d", None, "2010-01-31", Some("2010-01-31")),
            ("%G-W%V-%u", None, "2026-W05-6", Some("2026-01-31")),
            ("%G-W%V-%u", None, "26-W05-6", None),
        ] {
            assert_eq!(date_by(text, policy, value).as_deref(), right, "{text} {policy:?} {value}");
        }
        for value in ["2026-01-31", "0000-01-31"] {
            assert_eq!(date(value).map(|date| date.to_string()).as_deref(), Some(value));
        }
        for value in ["+026-01-31", "-026-01-31", "2026- 1-31", "2026-1-031", "26-01-31", "2026-02-30", "2026-01-31Z"] {
            assert_eq!(date(value), None, "{value}");
        }
    }

    #[test]
    fn leap_seconds_and_years_that_rfc_3339_cannot_write_are_refused() {
        for value in [
            "9999-12-31T23:59:59-01:00",
            "0000-01-01T00:00:00+01:00",
            "2016-12-31T23:59:60Z",
            "10000-01-01T00:00:00Z",
            "-001-01-01T00:00:00Z",
            "26-01-31T00:00:00Z",
        ] {
            assert_eq!((instant(value), instant_by("%+", value)), (None, None), "{value}");
        }
        assert_eq!(instant_by("%+", "2026-01-31T08:26:00+02:00").as_deref(), Some("2026-01-31T06:26:00+00:00"));
        assert_eq!(instant_by("%s", "1767225600").as_deref(), Some("2026-01-01T00:00:00+00:00"));
        assert_eq!(instant_by("%s", "1767225600123"), None, "milliseconds");
        assert_eq!(instant_by("%Y-%m-%d %H:%M:%S", "2016-12-31 23:59:60"), None);
        assert_eq!(date_by("%Y-%m-%d %H:%M:%S", None, "2016-12-31 23:59:60"), None);
        assert_eq!(
            instant_by("%d/%b/%Y:%T %z", "31/Jan/2026:08:26:00 +0200").as_deref(),
            Some("2026-01-31T06:26:00+00:00")
        );
    }

    #[test]
    fn a_format_that_no_text_can_fit_or_that_would_guess_is_refused() {
        for (kind, text, word) in [
            ("datetime", "%Y-%m-%d", "time of day"),
            ("datetime", "%H:%M", "time of day"),
            ("datetime", "%d/%m/%Y %I:%M", "time of day"),
            ("date", "%Y-%m", "year, month and day"),
            ("date", "%d/%d/%Y", "year, month and day"),
            ("date", "x", "year, month and day"),
            ("datetime", "%Y-%m-%d %H:%M %Z", "`%Z`"),
            ("date", "%Y-%m-%d %Z", "`%Z`"),
            ("date", "%Q", "not a date format"),
            ("date", "", "not a date format"),
        ] {
            let wrong = format(json!({ "type": kind, "format": text })).expect_err(text);
            assert!(wrong.contains(word), "{text}: {wrong}");
        }
        for (kind, text) in [
            ("datetime", "%c"),
            ("datetime", "%s"),
            ("datetime", "%+"),
            ("datetime", "%Y-%m-%dT%H:%M:%S%.f%:z"),
            ("datetime", "%d.%m.%y %I:%M %p"),
            ("datetime", "%A, %-d %B %Y %R %#z"),
            ("date", "%D"),
            ("date", "%Y-%j"),
            ("date", "%d/%m/%Y %H:%M"),
        ] {
            assert!(format(json!({ "type": kind, "format": text })).is_ok(), "{kind} {text}");
        }
    }

    #[test]
    fn a_policy_for_two_digits_is_a_hundred_years_or_none() {
        for policy in ["2000", "1970-2070", "70-169", "2069-1970", "", "allow"] {
            let rule = json!({ "type": "date", "format": "%d.%m.%y", "two_digit_year": policy });
            assert!(format(rule).expect_err(policy).contains("`two_digit_year` is"), "{policy}");
        }
        let refused = json!({ "type": "date", "format": "%d.%m.%y", "two_digit_year": "refuse" });
        assert!(format(refused).expect_err("two digits").contains("forbids"));
        for rule in [
            json!({ "type": "text", "two_digit_year": "refuse" }),
            json!({ "type": "date", "two_digit_year": "refuse" }),
        ] {
            let rule: ParseRule = serde_json::from_value(rule).expect("a rule");
            assert!(DateFormat::of(&rule).expect_err("no format").contains("belongs to"));
        }
    }
}
