//! Ranges of time: days and instants, in UTC.

use std::fmt;
use std::time::Duration;

use chrono::{Days, NaiveDate, NaiveTime, SecondsFormat, TimeDelta};

use super::Compare;
use crate::Instant;
use crate::schedule::{Zone, instant};

/// A range of time. The end of a day belongs to it, and an instant at its end does not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Times {
    /// Where it begins.
    pub from: Option<Moment>,
    /// Where it ends.
    pub to: Option<Moment>,
}

/// An end of a range.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Moment {
    /// A whole day.
    Day(NaiveDate),
    /// An instant, to the microsecond.
    At(Instant),
}

impl Moment {
    fn parse(text: &str) -> Result<Self, String> {
        // The reader of instants knows the bounds of years; a day alone has ten signs.
        let Some(at) = instant(text, Zone::UTC) else {
            return Err(format!(
                "`{text}` is neither a day nor an instant; write one such as 2026-11-19 or 2026-11-19T08:00:00Z"
            ));
        };
        Ok(if text.len() == 10 { Self::Day(at.date_naive()) } else { Self::At(at) })
    }

    fn begins(self) -> Instant {
        match self {
            Self::Day(day) => day.and_time(NaiveTime::MIN).and_utc(),
            Self::At(at) => at,
        }
    }

    fn ends(self) -> Instant {
        match self {
            Self::Day(day) => {
                day.checked_add_days(Days::new(1)).map_or(Instant::MAX_UTC, |next| Self::Day(next).begins())
            }
            Self::At(at) => at,
        }
    }
}

impl fmt::Display for Moment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Day(day) => write!(f, "{}", day.format("%Y-%m-%d")),
            Self::At(at) => f.write_str(&at.to_rfc3339_opts(SecondsFormat::AutoSi, true)),
        }
    }
}

impl Times {
    /// Reads `DAY`, `FROM..TO`, `FROM..` or `..TO`.
    ///
    /// # Errors
    ///
    /// What is wrong, and what would be right.
    pub fn parse(text: &str) -> Result<Self, String> {
        let end = |text: &str| if text.is_empty() { Ok(None) } else { Moment::parse(text).map(Some) };
        let Some((from, to)) = text.split_once("..") else {
            return match Moment::parse(text)? {
                day @ Moment::Day(_) => Ok(Self { from: Some(day), to: Some(day) }),
                Moment::At(_) => Err(format!("an instant alone is met by nothing; write a range such as `{text}..`")),
            };
        };
        let times = Self { from: end(from)?, to: end(to)? };
        match (times.begins(), times.ends()) {
            (None, None) => Err("a range has a beginning or an end, such as `2026-11-19..`".to_owned()),
            (Some(begins), Some(ends)) if begins >= ends => {
                Err("the range ends before it begins; write the earlier end first".to_owned())
            }
            _ => Ok(times),
        }
    }

    /// What was created so long before `now`.
    pub fn aged(compare: Compare, age: Duration, now: Instant) -> Self {
        let age = TimeDelta::from_std(age).unwrap_or(TimeDelta::MAX);
        let then = now.checked_sub_signed(age).unwrap_or(Instant::UNIX_EPOCH);
        // The end of a range is outside it, and no store keeps anything finer than a microsecond.
        let next = then.checked_add_signed(TimeDelta::microseconds(1)).unwrap_or(then);
        match compare {
            Compare::Over => Self { from: None, to: Some(Moment::At(then)) },
            Compare::AtLeast => Self { from: None, to: Some(Moment::At(next)) },
            Compare::Under => Self { from: Some(Moment::At(next)), to: None },
            Compare::AtMost => Self { from: Some(Moment::At(then)), to: None },
        }
    }

    /// The first instant of it.
    pub fn begins(&self) -> Option<Instant> {
        self.from.map(Moment::begins)
    }

    /// The first instant behind it.
    pub fn ends(&self) -> Option<Instant> {
        self.to.map(Moment::ends)
    }

    /// Whether an instant is in it.
    pub fn holds(&self, at: Instant) -> bool {
        self.begins().is_none_or(|begins| at >= begins) && self.ends().is_none_or(|ends| at < ends)
    }
}

impl fmt::Display for Times {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.from, self.to) {
            (Some(Moment::Day(from)), Some(Moment::Day(to))) if from == to => Moment::Day(from).fmt(f),
            (from, to) => {
                from.map_or(Ok(()), |from| from.fmt(f))?;
                f.write_str("..")?;
                to.map_or(Ok(()), |to| to.fmt(f))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Instant {
        text.parse().expect("an instant")
    }

    #[test]
    fn a_day_holds_all_of_its_instants_and_no_other() {
        let day = Times::parse("2026-11-19").expect("a day");
        assert!(day.holds(at("2026-11-19T00:00:00Z")) && day.holds(at("2026-11-19T23:59:59.999999Z")));
        assert!(!day.holds(at("2026-11-18T23:59:59.999999Z")) && !day.holds(at("2026-11-20T00:00:00Z")));
        let until = Times::parse("..2026-11-19T08:00:00Z").expect("a range");
        assert!(until.holds(at("2026-11-19T07:59:59Z")) && !until.holds(at("2026-11-19T08:00:00Z")));
    }

    #[test]
    fn an_age_is_counted_back_from_now() {
        let (now, hour) = (at("2026-11-19T08:00:00Z"), Duration::from_secs(3_600));
        let held = |compare, text| Times::aged(compare, hour, now).holds(at(text));
        let just = "2026-11-19T07:00:00Z";
        assert!(!held(Compare::Over, just) && held(Compare::AtLeast, just));
        assert!(!held(Compare::Under, just) && held(Compare::AtMost, just));
        assert!(held(Compare::Over, "2026-11-19T06:59:59Z") && held(Compare::Under, "2026-11-19T07:00:01Z"));
    }
}
