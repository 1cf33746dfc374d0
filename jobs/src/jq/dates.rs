//! Dates: `gmtime`, `mktime`, `strftime`, `strptime`, always in UTC.

use chrono::{DateTime, Datelike, Days, Months, NaiveDate, NaiveDateTime, Timelike, Utc};
use jaq_core::Error;

use super::native::{Fun, function0, function1};
use super::operators::Valued;
use super::texts::string;
use super::value::{Shown, Val};

type Failure = Error<Val>;

/// The directives that both ways of writing a date know, apart from those that `strptime` reads itself.
const DIRECTIVES: &str = "aAbBcCdDeFgGhHIjklmMnprRsStTuUVwWxXyYzZ%";

/// All functions of this kind.
pub(super) fn funs() -> Vec<Fun> {
    vec![
        function0!("gmtime", |value| gmtime(&value)),
        function0!("mktime", |value| Ok(Val::int(instant(&value, "mktime")?.timestamp().into()))),
        function1!("strftime", |value, format| strftime(&value, string(&format, "strftime")?)),
        function1!("strptime", |value, format| strptime(string(&value, "strptime")?, string(&format, "strptime")?)),
    ]
}

fn from_seconds(seconds: f64, value: &Val) -> Result<DateTime<Utc>, Failure> {
    let whole = seconds.floor();
    let found = (whole.abs() < 1e15).then(|| DateTime::from_timestamp(whole as i64, 0)).flatten();
    found.ok_or_else(|| Error::str(format_args!("{} is not an instant that a calendar has", Shown(value))))
}

fn broken_down(instant: NaiveDateTime, fraction: f64) -> Val {
    let second = f64::from(instant.second()) + fraction;
    let whole = |number: u32| Val::int(number.into());
    Val::list(vec![
        Val::int(instant.year().into()),
        whole(instant.month0()),
        whole(instant.day()),
        whole(instant.hour()),
        whole(instant.minute()),
        Val::float(second),
        whole(instant.weekday().num_days_from_sunday()),
        whole(instant.ordinal0()),
    ])
}

fn gmtime(value: &Val) -> Valued {
    let Some(seconds) = value.as_number() else {
        return Err(Error::str(format_args!("gmtime: {} is not a number of seconds", Shown(value))));
    };
    let instant = from_seconds(seconds, value)?;
    Ok(broken_down(instant.naive_utc(), seconds - seconds.floor()))
}

/// The instant of a "broken down time": year, month from 0, day, hour, minute, second. Later ones may lack; a month 12
/// is the January after.
fn instant(value: &Val, name: &str) -> Result<DateTime<Utc>, Failure> {
    let wrong =
        || Error::str(format_args!("{name}: {} is not an array of numbers such as [2024,0,31,12,0,0]", Shown(value)));
    let Val::Arr(list) = value else { return Err(wrong()) };
    let mut parts = [0_i64; 6];
    for (part, value) in parts.iter_mut().zip(list.iter()) {
        let number = value.as_number().filter(|number| number.abs() < 1e12).ok_or_else(wrong)?;
        *part = number.floor() as i64;
    }
    let [year, month, day, hour, minute, second] = parts;
    let year = i32::try_from(year + month.div_euclid(12)).map_err(|_| wrong())?;
    let start = NaiveDate::from_ymd_opt(year, 1, 1).ok_or_else(wrong)?;
    let start = start.checked_add_months(Months::new(month.rem_euclid(12) as u32)).ok_or_else(wrong)?;
    let date = if day > 0 {
        start.checked_add_days(Days::new(day.unsigned_abs() - 1))
    } else {
        start.checked_sub_days(Days::new(day.unsigned_abs() + 1))
    };
    let midnight = date.and_then(|date| date.and_hms_opt(0, 0, 0)).ok_or_else(wrong)?.and_utc().timestamp();
    let seconds = midnight + hour * 3_600 + minute * 60 + second;
    DateTime::from_timestamp(seconds, 0).ok_or_else(wrong)
}

fn strftime(value: &Val, format: &str) -> Valued {
    let instant = match value {
        Val::Num(number) => from_seconds(number.float(), value)?,
        _ => instant(value, "strftime")?,
    };
    if !(0..=9_999).contains(&instant.year()) {
        return Err(Error::str(format_args!("strftime: the year {} has no four digits", instant.year())));
    }
    let mut out = String::new();
    let mut letters = format.chars();
    while let Some(letter) = letters.next() {
        if letter != '%' {
            out.push(letter);
            continue;
        }
        match letters.next() {
            Some('Z') => out.push_str("UTC"),
            Some(directive) if DIRECTIVES.contains(directive) => {
                out.push_str(&instant.format(&format!("%{directive}")).to_string());
            }
            other => return Err(unknown(other)),
        }
    }
    Ok(Val::text(out))
}

fn unknown(directive: Option<char>) -> Failure {
    let shown = directive.map(String::from).unwrap_or_default();
    Error::str(format_args!("`%{shown}` is not a part of a date; use for example %Y, %m, %d, %H, %M, %S"))
}

/// What `strptime` has read so far.
#[derive(Default)]
struct Parts {
    year: Option<i64>,
    month: Option<i64>,
    day: Option<i64>,
    ordinal: Option<i64>,
    hour: i64,
    minute: i64,
    second: i64,
    afternoon: Option<bool>,
    epoch: Option<i64>,
}

fn strptime(text: &str, format: &str) -> Valued {
    let wrong = |why: &str| {
        Error::str(format_args!("date {} does not match format {}: {why}", super::quoted(text), super::quoted(format)))
    };
    let mut parts = Parts::default();
    let rest = parts.read(text, format).map_err(|why| wrong(&why))?;
    if !rest.is_empty() {
        return Err(wrong("more text follows"));
    }
    parts.date().map(|date| broken_down(date, 0.0)).map_err(|why| wrong(&why))
}

impl Parts {
    /// Reads by a format and returns what is left of the text.
    fn read<'t>(&mut self, text: &'t str, format: &str) -> Result<&'t str, String> {
        let (mut rest, mut letters) = (text, format.chars());
        while let Some(letter) = letters.next() {
            rest = if letter.is_whitespace() {
                rest.trim_start()
            } else if letter != '%' {
                rest.strip_prefix(letter).ok_or_else(|| format!("`{letter}` was expected"))?
            } else {
                let directive = letters.next().ok_or("the format ends with `%`")?;
                match shorthand(directive) {
                    Some(format) => self.read(rest, format)?,
                    None => self.directive(rest, directive)?,
                }
            };
        }
        Ok(rest)
    }

    fn directive<'t>(&mut self, text: &'t str, directive: char) -> Result<&'t str, String> {
        let text = if matches!(directive, 'Z' | 'z' | '%') { text } else { text.trim_start() };
        let rest = match directive {
            'Y' => number(text, 4, 0, 9_999).map(|(year, rest)| (self.year = Some(year), rest).1)?,
            'y' => {
                let (year, rest) = number(text, 2, 0, 99)?;
                self.year = Some(if year < 69 { 2_000 + year } else { 1_900 + year });
                rest
            }
            'm' => number(text, 2, 1, 12).map(|(month, rest)| (self.month = Some(month), rest).1)?,
            'd' | 'e' => number(text, 2, 1, 31).map(|(day, rest)| (self.day = Some(day), rest).1)?,
            'j' => number(text, 3, 1, 366).map(|(day, rest)| (self.ordinal = Some(day), rest).1)?,
            'H' | 'k' => number(text, 2, 0, 23).map(|(hour, rest)| (self.hour = hour, rest).1)?,
            'I' | 'l' => number(text, 2, 1, 12).map(|(hour, rest)| (self.hour = hour % 12, rest).1)?,
            'M' => number(text, 2, 0, 59).map(|(minute, rest)| (self.minute = minute, rest).1)?,
            'S' => number(text, 2, 0, 59).map(|(second, rest)| (self.second = second, rest).1)?,
            's' => number(text, 12, 0, i64::MAX).map(|(epoch, rest)| (self.epoch = Some(epoch), rest).1)?,
            'b' | 'B' | 'h' => named(text, &MONTHS).map(|(place, rest)| (self.month = Some(place + 1), rest).1)?,
            'a' | 'A' => named(text, &WEEKDAYS)?.1,
            'p' => named(text, &["am", "pm"]).map(|(half, rest)| (self.afternoon = Some(half == 1), rest).1)?,
            'z' => utc_offset(text)?,
            'Z' => ["UTC", "GMT", "Z"]
                .iter()
                .find_map(|name| text.strip_prefix(name))
                .ok_or("only the zones UTC, GMT and Z are read here; the hours of another would be lost")?,
            '%' => text.strip_prefix('%').ok_or("`%` was expected")?,
            'n' | 't' => text,
            other => return Err(format!("`%{other}` cannot be read from a text")),
        };
        Ok(rest)
    }

    fn date(&self) -> Result<NaiveDateTime, String> {
        if let Some(epoch) = self.epoch {
            let instant = DateTime::from_timestamp(epoch, 0).ok_or("the calendar does not have this instant")?;
            return Ok(instant.naive_utc());
        }
        let small = |part: i64| u32::try_from(part).unwrap_or(u32::MAX);
        let date = match (self.year, self.month, self.day, self.ordinal) {
            (Some(year), Some(month), Some(day), _) => {
                NaiveDate::from_ymd_opt(i32::try_from(year).unwrap_or(i32::MAX), small(month), small(day))
            }
            (Some(year), _, _, Some(ordinal)) => {
                NaiveDate::from_yo_opt(i32::try_from(year).unwrap_or(i32::MAX), small(ordinal))
            }
            _ => return Err("the format must say the year, the month and the day".to_owned()),
        };
        let date = date.ok_or("the calendar does not have this day")?;
        let hour = if self.afternoon == Some(true) { self.hour + 12 } else { self.hour };
        let time = date.and_hms_opt(small(hour), small(self.minute), small(self.second));
        time.ok_or_else(|| "the day does not have this time".to_owned())
    }
}

const MONTHS: [&str; 12] = [
    "january",
    "february",
    "march",
    "april",
    "may",
    "june",
    "july",
    "august",
    "september",
    "october",
    "november",
    "december",
];

const WEEKDAYS: [&str; 7] = ["sunday", "monday", "tuesday", "wednesday", "thursday", "friday", "saturday"];

fn shorthand(directive: char) -> Option<&'static str> {
    match directive {
        'T' => Some("%H:%M:%S"),
        'R' => Some("%H:%M"),
        'D' | 'x' => Some("%m/%d/%y"),
        'F' => Some("%Y-%m-%d"),
        'X' => Some("%H:%M:%S"),
        'r' => Some("%I:%M:%S %p"),
        'c' => Some("%a %b %e %H:%M:%S %Y"),
        _ => None,
    }
}

fn number(text: &str, digits: usize, least: i64, most: i64) -> Result<(i64, &str), String> {
    let length = text.bytes().take(digits).take_while(u8::is_ascii_digit).count();
    let found = text[..length].parse::<i64>().ok().filter(|number| (least..=most).contains(number));
    let found = found.ok_or_else(|| format!("a number from {least} to {most} was expected"))?;
    Ok((found, &text[length..]))
}

/// Reads one of these names, whole or its first three letters, in any case.
fn named<'t>(text: &'t str, names: &[&str]) -> Result<(i64, &'t str), String> {
    for (place, name) in names.iter().enumerate() {
        for candidate in [name, &name[..name.len().min(3)]] {
            if text.get(..candidate.len()).is_some_and(|start| start.eq_ignore_ascii_case(candidate)) {
                return Ok((place as i64, &text[candidate.len()..]));
            }
        }
    }
    Err(format!("a name such as `{}` was expected", names[0]))
}

/// Reads an offset, which must be that of UTC: another would be lost in what `strptime` returns.
fn utc_offset(text: &str) -> Result<&str, String> {
    let rest = ["Z", "+00:00", "-00:00", "+0000", "-0000", "+00"].iter().find_map(|zero| text.strip_prefix(zero));
    rest.ok_or_else(|| "only the offset of UTC is read here; that of another zone would be lost".to_owned())
}
