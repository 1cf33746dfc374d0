//! The wall clock of a zone, and what happens to a time that it shows twice or never.
//!
//! **The rule.** A time in the missing hour of spring stands for the first instant after it. A time in the
//! repeated hour of autumn stands for the first of the two. Each happens once.
//!
//! An expression that is the same for every hour of the day (`*/15 * * * *`, `0 * * * *`) counts minutes, not hours: it
//! follows elapsed time, as Vixie's cron does, so that a repeated hour has its ticks again and a missing one leaves no
//! gap. Fixed intervals (`every`) follow UTC and never use a wall clock.

use chrono::{DateTime, Datelike, LocalResult, NaiveDateTime, Offset, SubsecRound, TimeDelta, TimeZone, Timelike, Utc};

use super::cron::Pattern;
use super::zone::Zone;
use crate::Instant;

/// Two changes of a zone's offset are never closer together than this.
const STEP: TimeDelta = TimeDelta::hours(12);

/// The years in which an instant may lie.
const YEARS: std::ops::RangeInclusive<i32> = 1..=9999;

/// A nanosecond of a leap second is at least this.
const LEAP: u32 = 1_000_000_000;

/// No clock is put forward by more than a day (Samoa, 2011), and no offset is beyond 15 hours.
const REACH: TimeDelta = TimeDelta::hours(48);

/// Reads an instant of the years 1 to 9999: RFC 3339 with its offset, or a date and time (or a date alone) on the
/// zone's wall clock. A year has four digits, and there are no leap seconds. Beyond
/// those years there is no room for the days around it in which a clock change is looked for.
pub fn instant(text: &str, zone: Zone) -> Option<Instant> {
    let text = text.trim();
    // chrono takes `26` for the year 26.
    let year = text.split_once('-').map(|(year, _)| year);
    if !year.is_some_and(|year| year.len() == 4 && year.bytes().all(|byte| byte.is_ascii_digit())) {
        return None;
    }
    if let Ok(at) = DateTime::parse_from_rfc3339(text) {
        // No store keeps anything finer than a microsecond.
        let ordinary = at.nanosecond() < LEAP;
        return Some(at.to_utc().trunc_subsecs(6)).filter(|at| ordinary && YEARS.contains(&at.year()));
    }
    let text = text.replacen(' ', "T", 1);
    let wall = ["%Y-%m-%dT%H:%M:%S%.f", "%Y-%m-%dT%H:%M"]
        .iter()
        .find_map(|format| NaiveDateTime::parse_from_str(&text, format).ok())
        .or_else(|| NaiveDateTime::parse_from_str(&format!("{text}T00:00"), "%Y-%m-%dT%H:%M").ok())?;
    let ordinary = wall.nanosecond() < LEAP;
    (ordinary && YEARS.contains(&wall.year())).then(|| place(zone, wall).instant().trunc_subsecs(6))
}

/// Where a wall-clock time lies on the line of instants.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    /// The clock shows it once.
    Once(Instant),
    /// The clock shows it twice; this is the first time.
    Twice(Instant),
    /// The clock never shows it; this is the first instant after the gap.
    Never(Instant),
}

impl Place {
    /// The one instant that it stands for.
    pub(super) fn instant(self) -> Instant {
        match self {
            Self::Once(at) | Self::Twice(at) | Self::Never(at) => at,
        }
    }
}

/// Where a wall-clock time of a zone lies.
pub(super) fn place(zone: Zone, wall: NaiveDateTime) -> Place {
    match zone.from_local_datetime(&wall) {
        LocalResult::Single(at) => Place::Once(at.to_utc()),
        LocalResult::Ambiguous(one, other) => Place::Twice(one.min(other).to_utc()),
        LocalResult::None => Place::Never(after_gap(zone, wall)),
    }
}

/// What the clock of the zone shows.
pub(super) fn local(zone: Zone, at: Instant) -> NaiveDateTime {
    at.with_timezone(&zone).naive_local()
}

/// The first tick after an instant.
pub(super) fn next(zone: Zone, pattern: &Pattern, after: Instant) -> Option<Instant> {
    let after = after.trunc_subsecs(0);
    if pattern.every_hour() {
        return next_elapsed(zone, pattern, after);
    }
    let mut wall = local(zone, after);
    loop {
        wall = pattern.next(wall, false)?;
        // During the second pass of a repeated hour, the times ahead on the clock stand for the first pass.
        let at = place(zone, wall).instant();
        if at > after {
            return Some(at);
        }
    }
}

/// The same between changes of the offset, one stretch at a time.
fn next_elapsed(zone: Zone, pattern: &Pattern, after: Instant) -> Option<Instant> {
    let (mut from, mut inclusive) = (after, false);
    loop {
        let offset = offset(zone, from);
        let wall = pattern.next(from.naive_utc().checked_add_signed(offset)?, inclusive)?;
        let at = wall.checked_sub_signed(offset)?.and_utc();
        match first_change(zone, from, at) {
            None => return Some(at),
            Some(change) => (from, inclusive) = (change, true),
        }
    }
}

fn offset(zone: Zone, at: Instant) -> TimeDelta {
    TimeDelta::seconds(i64::from(zone.offset_from_utc_datetime(&at.naive_utc()).fix().local_minus_utc()))
}

/// Returns the first instant after `from`, and not after `to`, at which the offset differs from that at `from`.
fn first_change(zone: Zone, from: Instant, to: Instant) -> Option<Instant> {
    let before = offset(zone, from);
    let mut same = from;
    while same < to {
        let ahead = (same + STEP).min(to);
        if offset(zone, ahead) != before {
            return Some(first(same, ahead, |at| offset(zone, at) != before));
        }
        same = ahead;
    }
    None
}

/// Returns the first instant that the clock shows after the gap in which a time lies.
fn after_gap(zone: Zone, wall: NaiveDateTime) -> Instant {
    let about = wall.and_utc();
    first(about - REACH, about + REACH, |at| local(zone, at) > wall)
}

/// Returns the first whole second after `not` at which `holds` is true, found by bisection; it is true at `yes`.
fn first(not: Instant, yes: Instant, holds: impl Fn(DateTime<Utc>) -> bool) -> Instant {
    let (mut not, mut yes) = (not, yes);
    while (yes - not).num_seconds() > 1 {
        let middle = not + TimeDelta::seconds((yes - not).num_seconds() / 2);
        if holds(middle) {
            yes = middle;
        } else {
            not = middle;
        }
    }
    yes
}
