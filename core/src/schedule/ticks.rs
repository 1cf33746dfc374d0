//! A compiled schedule: its ticks before, after and between instants.

use std::time::Duration;

use chrono::TimeDelta;

use super::cron::Pattern;
use super::wall::{self, Place};
use super::zone::Zone;
use super::{ScheduleError, ScheduleSpec};
use crate::Instant;

/// The shortest interval: a second.
pub(super) const EVERY_MIN: Duration = Duration::from_secs(1);

/// How far back to look for a tick before an instant: a little more than the longest calendar rhythm in practice, the
/// 29th of February.
const BACK_MAX: TimeDelta = TimeDelta::days(9 * 366);

/// The due times of a schedule.
#[derive(Debug, Clone)]
pub struct Timetable {
    name: String,
    recurrence: Recurrence,
    zone: Zone,
    start: Option<Instant>,
    end: Option<Instant>,
    jitter: Duration,
}

#[derive(Debug, Clone)]
pub(super) enum Recurrence {
    Cron(Box<Pattern>),
    /// At every such number of milliseconds, counted from an instant.
    Every {
        millis: i64,
        anchor: Instant,
    },
    /// At these instants, in order.
    At(Vec<Instant>),
}

/// The ticks of a period.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Ticks {
    /// The first of them, in order.
    pub ticks: Vec<Instant>,
    /// Whether there are more.
    pub more: bool,
}

/// How a clock change affected a tick.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Note {
    /// The expression's time falls in an hour that the clocks skip: this is the first instant after it.
    Moved,
    /// The clock shows this time twice: this is the first.
    First,
    /// The clock shows this time twice: this is the second.
    Again,
}

impl Note {
    /// For people.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Moved => "clocks go forward: moved to the first instant after the missing hour",
            Self::First => "clocks go back: the first of two such times",
            Self::Again => "clocks go back: the second of two such times",
        }
    }
}

impl Timetable {
    /// Compiles a schedule. Its jitter depends on the name.
    ///
    /// # Errors
    ///
    /// What is wrong with the schedule, and at which key.
    pub fn compile(name: &str, spec: &ScheduleSpec) -> Result<Self, ScheduleError> {
        let zone = spec.zone()?;
        let (start, end) = (spec.start_at(zone)?, spec.end_at(zone)?);
        let recurrence = spec.recurrence(zone, start)?;
        let jitter = spec.jitter.map(|jitter| jitter.0).unwrap_or_default();
        Ok(Self { name: name.to_owned(), recurrence, zone, start, end, jitter })
    }

    /// The zone of its wall clock.
    pub fn zone(&self) -> Zone {
        self.zone
    }

    /// Returns the first tick after an instant. `None` when there is none.
    pub fn next(&self, after: Instant) -> Option<Instant> {
        // One microsecond before the start, so that a tick at the start itself counts.
        let after = self.start.map_or(after, |start| after.max(start - TimeDelta::microseconds(1)));
        self.ahead(after).filter(|tick| self.end.is_none_or(|end| *tick <= end))
    }

    /// Returns the last tick before an instant. `None` when there is none within nine years.
    pub fn previous(&self, before: Instant) -> Option<Instant> {
        let before = self.end.map_or(before, |end| before.min(end + TimeDelta::microseconds(1)));
        self.behind(before).filter(|tick| self.start.is_none_or(|start| *tick >= start))
    }

    /// Whether an instant is a tick.
    pub fn is_tick(&self, at: Instant) -> bool {
        self.next(at - TimeDelta::microseconds(1)) == Some(at)
    }

    /// Returns the ticks after one instant and not after another, at most `cap` of them.
    pub fn between(&self, after: Instant, until: Instant, cap: usize) -> Ticks {
        let mut found = Ticks::default();
        let mut last = after;
        while let Some(tick) = self.next(last).filter(|tick| *tick <= until) {
            if found.ticks.len() == cap {
                found.more = true;
                break;
            }
            found.ticks.push(tick);
            last = tick;
        }
        found
    }

    /// Returns the logical interval that a tick stands for: from the tick before it, whether that ran or not, to
    /// itself. Empty when there is no tick before it.
    pub fn interval(&self, tick: Instant) -> (Instant, Instant) {
        (self.behind(tick).unwrap_or(tick), tick)
    }

    /// Returns when a tick starts its run: a fixed delay after it, less than the jitter, that depends only on the
    /// schedule's name and the tick, so that every scheduler computes the same.
    pub fn fires_at(&self, tick: Instant) -> Instant {
        let millis = u64::try_from(self.jitter.as_millis()).unwrap_or(u64::MAX);
        if millis == 0 {
            return tick;
        }
        let wait = hash(&self.name, tick.timestamp_millis()) % millis;
        tick + TimeDelta::milliseconds(i64::try_from(wait).unwrap_or(0))
    }

    /// Returns how a clock change affected a tick, if it did.
    pub fn note(&self, tick: Instant) -> Option<Note> {
        let Recurrence::Cron(pattern) = &self.recurrence else { return None };
        let shown = wall::local(self.zone, tick);
        match wall::place(self.zone, shown) {
            Place::Twice(first) => Some(if first == tick { Note::First } else { Note::Again }),
            Place::Once(_) | Place::Never(_) => {
                // A tick at which the expression does not match the clock was moved there.
                let before = shown - TimeDelta::seconds(1);
                (pattern.next(before, false) != Some(shown)).then_some(Note::Moved)
            }
        }
    }

    fn ahead(&self, after: Instant) -> Option<Instant> {
        match &self.recurrence {
            Recurrence::Cron(pattern) => wall::next(self.zone, pattern, after),
            Recurrence::Every { millis, anchor } => {
                let past = (after - *anchor).num_microseconds()?.div_euclid(1_000);
                let count = past.div_euclid(*millis).checked_add(1)?;
                anchor.checked_add_signed(TimeDelta::try_milliseconds(count.checked_mul(*millis)?)?)
            }
            Recurrence::At(instants) => instants.iter().find(|at| **at > after).copied(),
        }
    }

    fn behind(&self, before: Instant) -> Option<Instant> {
        match &self.recurrence {
            Recurrence::Cron(_) => self.cron_behind(before),
            Recurrence::Every { millis, .. } => {
                let next = self.ahead(before - TimeDelta::microseconds(1))?;
                next.checked_sub_signed(TimeDelta::try_milliseconds(*millis)?)
            }
            Recurrence::At(instants) => instants.iter().rev().find(|at| **at < before).copied(),
        }
    }

    /// Searches forwards through windows that reach further and further back, so that there is only one rule for what a
    /// tick is.
    fn cron_behind(&self, before: Instant) -> Option<Instant> {
        let mut reach = TimeDelta::minutes(1);
        loop {
            let mut found = None;
            let mut from = before - reach;
            while let Some(tick) = self.ahead(from).filter(|tick| *tick < before) {
                found = Some(tick);
                from = tick;
            }
            if found.is_some() || reach > BACK_MAX {
                return found;
            }
            reach = reach * 4;
        }
    }
}

/// FNV-1a over the name and the tick, then mixed, so that neighbours are far apart.
fn hash(name: &str, tick: i64) -> u64 {
    let mut state: u64 = 0xcbf2_9ce4_8422_2325;
    for byte in name.bytes().chain(tick.to_be_bytes()) {
        state = (state ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
    }
    state = (state ^ (state >> 33)).wrapping_mul(0xff51_afd7_ed55_8ccd);
    state = (state ^ (state >> 33)).wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    state ^ (state >> 33)
}
