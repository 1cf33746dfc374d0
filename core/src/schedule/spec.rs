//! A schedule as `[schedule.NAME]` in `config.toml`, a batch's own `schedule`, and the store spell it.

use std::time::Duration;

use chrono::TimeDelta;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::cron::Pattern;
use super::following::Ending;
use super::missed::{CatchUp, Missed};
use super::overlap::Overlap;
use super::ticks::{EVERY_MIN, Recurrence};
use super::wall;
use super::zone::{self, Zone};
use crate::Instant;
use crate::duration::Span;
use crate::job::Priority;
use crate::one_or_many::OneOrMany;

/// The most missed ticks that may run one after the other.
pub(super) const MISSED_MAX: u32 = 1_000;

/// The most instants that `at` may list.
pub(super) const AT_MAX: usize = 1_000;

/// How late the newest tick may be and still count as on time, by default.
const GRACE: Duration = Duration::from_secs(60);

/// How many missed ticks run with `missed = "all"`, by default.
const MISSED_DEFAULT: u32 = 100;

/// A schedule: when (exactly one of `cron`, `every`, `at` and `after`), and what (a batch, or a job).
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ScheduleSpec {
    /// For people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// The person or team responsible for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner: Option<String>,
    /// Wall-clock times: minute, hour, day of month, month, day of week; seconds may come first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cron: Option<String>,
    /// A fixed interval, at least a second, counted from `start`, or from 1970 in UTC.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub every: Option<Span>,
    /// One instant or several: RFC 3339, or a date and time on the zone's wall clock.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at: Option<OneOrMany>,
    /// Each time a run of this batch has ended, instead of by the clock.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<String>,
    /// With `after`: which endings count; `done` by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ending: Option<Ending>,
    /// The IANA zone of the wall clock; UTC by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timezone: Option<String>,
    /// No tick before this instant.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub start: Option<String>,
    /// No tick after this instant.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub end: Option<String>,
    /// Each run starts up to this long after its tick; the delay is always the same for the same tick.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub jitter: Option<Span>,
    /// What happens to ticks that the scheduler missed.
    #[serde(default)]
    pub missed: Missed,
    /// Missed ticks that are later than this never run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub missed_within: Option<Span>,
    /// How many missed ticks run with `missed = "all"`, the newest: 100 by default, at most 1,000.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub missed_max: Option<u32>,
    /// How late the newest tick may be and still count as on time: a minute by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub grace: Option<Span>,
    /// What a tick does while an earlier run is under way: see [`ScheduleSpec::overlap`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub overlap: Option<Overlap>,
    /// With a batch: the batch is late this long after the start of its run, regardless of the batch's own setting.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub late_after: Option<Span>,
    /// Whether it runs by itself; `true` by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub enabled: Option<bool>,
    /// Parameters for the run.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "crate::json::maybe")]
    pub params: Option<Value>,
    /// The batch definition that it runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub batch: Option<String>,
    /// The job that it enqueues.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub job: Option<JobSpec>,
}

/// The job that a schedule enqueues.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct JobSpec {
    /// Its kind.
    pub kind: String,
    /// Its payload.
    #[serde(default, skip_serializing_if = "Value::is_null", deserialize_with = "crate::json::value")]
    pub payload: Value,
    /// Its queue, instead of its kind's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub queue: Option<String>,
    /// Its priority.
    #[serde(default, alias = "lane", skip_serializing_if = "Option::is_none")]
    pub priority: Option<Priority>,
    /// How many attempts it has.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_attempts: Option<u32>,
    /// How long one attempt may take.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout: Option<Span>,
}

/// What a schedule starts.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Target<'a> {
    /// A run of this batch definition.
    Batch(&'a str),
    /// This job.
    Job(&'a JobSpec),
}

/// What is wrong with a schedule.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{key}`: {message}")]
pub struct ScheduleError {
    /// The key below the schedule; empty for the schedule itself.
    pub key: &'static str,
    /// What is wrong, and what would be right.
    pub message: String,
}

fn wrong<T>(key: &'static str, message: impl Into<String>) -> Result<T, ScheduleError> {
    Err(ScheduleError { key, message: message.into() })
}

impl ScheduleSpec {
    /// The zone of its wall clock.
    ///
    /// # Errors
    ///
    /// When it is not in the time zone database.
    pub fn zone(&self) -> Result<Zone, ScheduleError> {
        let Some(name) = &self.timezone else { return Ok(Zone::UTC) };
        zone::zone(name).ok_or_else(|| ScheduleError {
            key: "timezone",
            message: format!("`{name}` is not a time zone known here"),
        })
    }

    /// What it starts.
    ///
    /// # Errors
    ///
    /// When it names neither a batch nor a job, or both.
    pub fn target(&self) -> Result<Target<'_>, ScheduleError> {
        match (&self.batch, &self.job) {
            (Some(batch), None) => Ok(Target::Batch(batch)),
            (None, Some(job)) => Ok(Target::Job(job)),
            (None, None) => wrong("", "starts nothing; give one of `batch` and `job`"),
            (Some(_), Some(_)) => wrong("", "has batch and job; give only one of them"),
        }
    }

    /// What a tick does while an earlier run is under way: by default it is skipped. After another batch, and where
    /// each missed tick runs, it waits its turn, so that each ending and each tick has its run.
    pub fn overlap(&self) -> Overlap {
        let each_runs = self.after.is_some() || self.missed == Missed::All;
        self.overlap.unwrap_or(if each_runs { Overlap::BufferAll } else { Overlap::Skip })
    }

    /// How missed ticks are handled.
    pub fn catch_up(&self) -> CatchUp {
        CatchUp {
            policy: self.missed,
            within: self.missed_within.map(|within| within.0),
            max: usize::try_from(self.missed_max.unwrap_or(MISSED_DEFAULT)).unwrap_or(usize::MAX),
            grace: self.grace.map_or(GRACE, |grace| grace.0),
        }
    }

    /// Whether both have the same ticks.
    pub fn same_time(&self, other: &Self) -> bool {
        let time = |spec: &Self| {
            let Self { cron, every, at, after, timezone, start, end, .. } = spec.clone();
            (cron, every, at, after, timezone, start, end)
        };
        time(self) == time(other)
    }

    /// Checks everything that can be checked with only the built-in zone database and no clock.
    ///
    /// # Errors
    ///
    /// The first thing that is wrong, and at which key.
    pub fn check(&self) -> Result<(), ScheduleError> {
        super::Timetable::compile("", self)?;
        self.check_after()?;
        self.check_missed()?;
        if self.late_after.is_some_and(|late_after| late_after.0.is_zero()) {
            return wrong("late_after", "is 0; write after how long its batch is late, such as `2h`");
        }
        if self.late_after.is_some() && self.job.is_some() {
            return wrong("late_after", "stands beside `job`; only a batch has somebody to tell that it is late");
        }
        if self.missed_max.is_some_and(|max| !(1..=MISSED_MAX).contains(&max)) {
            return wrong("missed_max", format!("must be 1 to {MISSED_MAX}"));
        }
        if let (Some(every), Some(jitter)) = (self.every, self.jitter)
            && jitter.0 > every.0
        {
            return wrong("jitter", "is longer than `every`; a run would start after the next tick");
        }
        Ok(())
    }

    /// Missed ticks are due at the same moment: what does not let each of them run contradicts `missed = "all"`.
    fn check_missed(&self) -> Result<(), ScheduleError> {
        let loses = |overlap: &Overlap| matches!(overlap, Overlap::Skip | Overlap::BufferOne | Overlap::CancelRunning);
        match self.overlap.filter(loses) {
            Some(overlap) if self.missed == Missed::All => wrong(
                "overlap",
                format!(
                    "is `{overlap}`, by which most missed ticks would not run although `missed` is `all`; write \
                     `buffer_all`, by which each waits its turn, or `allow`, or else `missed = \"latest\"`"
                ),
            ),
            Some(_) | None => Ok(()),
        }
    }

    /// Refuses settings that cannot be combined with following a batch, which has no clock.
    fn check_after(&self) -> Result<(), ScheduleError> {
        let Some(after) = &self.after else {
            return match self.ending {
                Some(_) => wrong("ending", "says which endings of another batch count; name that batch in `after`"),
                None => Ok(()),
            };
        };
        if self.batch.as_ref() == Some(after) {
            return wrong("after", format!("is its own batch `{after}`: each run would start the next, for ever"));
        }
        let schedule_runner = [
            ("start", self.start.is_some()),
            ("end", self.end.is_some()),
            ("jitter", self.jitter.is_some()),
            ("missed", self.missed != Missed::default()),
            ("missed_within", self.missed_within.is_some()),
            ("missed_max", self.missed_max.is_some()),
        ];
        match schedule_runner.into_iter().find(|(_, said)| *said) {
            Some((key, _)) => wrong(key, "is about the clock, and does not go together with `after`"),
            None => Ok(()),
        }
    }

    pub(super) fn start_at(&self, zone: Zone) -> Result<Option<Instant>, ScheduleError> {
        self.start.as_deref().map(|text| read("start", text, zone)).transpose()
    }

    pub(super) fn end_at(&self, zone: Zone) -> Result<Option<Instant>, ScheduleError> {
        let end = self.end.as_deref().map(|text| read("end", text, zone)).transpose()?;
        match (self.start_at(zone)?, end) {
            (Some(start), Some(end)) if end < start => wrong("end", "lies before `start`"),
            _ => Ok(end),
        }
    }

    pub(super) fn recurrence(&self, zone: Zone, start: Option<Instant>) -> Result<Recurrence, ScheduleError> {
        match (&self.cron, self.every, &self.at, &self.after) {
            (Some(cron), None, None, None) => cron_rhythm(cron),
            (None, Some(every), None, None) => every_rhythm(every.0, start),
            (None, None, Some(at), None) => at_rhythm(at.as_slice(), zone),
            (None, None, None, Some(_)) => Ok(Recurrence::At(Vec::new())),
            (None, None, None, None) => wrong("", "says no time; give one of `cron`, `every`, `at` and `after`"),
            _ => wrong("", "says more than one time; give only one of `cron`, `every`, `at` and `after`"),
        }
    }
}

fn read(key: &'static str, text: &str, zone: Zone) -> Result<Instant, ScheduleError> {
    let right = "write one such as `2030-01-31T02:00:00Z`, or `2030-01-31T02:00` on the zone's clock";
    wall::instant(text, zone)
        .ok_or_else(|| ScheduleError { key, message: format!("`{text}` is not an instant; {right}") })
}

fn cron_rhythm(text: &str) -> Result<Recurrence, ScheduleError> {
    let right = "write minute, hour, day of month, month and day of week, such as `0 2 * * *`";
    let pattern = match Pattern::parse(text) {
        Ok(pattern) => pattern,
        Err(error) => return wrong("cron", format!("`{text}` is not a schedule: {error}; {right}")),
    };
    if pattern.next(Instant::UNIX_EPOCH.naive_utc(), true).is_none() {
        return wrong("cron", format!("`{text}` never comes: there is no such day"));
    }
    Ok(Recurrence::Cron(Box::new(pattern)))
}

fn every_rhythm(every: Duration, start: Option<Instant>) -> Result<Recurrence, ScheduleError> {
    let millis = TimeDelta::from_std(every).map_or(i64::MAX, |every| every.num_milliseconds());
    if every < EVERY_MIN {
        return wrong("every", "is shorter than a second; write one such as `15m`");
    }
    Ok(Recurrence::Every { millis, anchor: start.unwrap_or(Instant::UNIX_EPOCH) })
}

fn at_rhythm(texts: &[String], zone: Zone) -> Result<Recurrence, ScheduleError> {
    if texts.is_empty() || texts.len() > AT_MAX {
        return wrong("at", format!("must list 1 to {AT_MAX} instants"));
    }
    let mut instants = texts.iter().map(|text| read("at", text, zone)).collect::<Result<Vec<_>, _>>()?;
    instants.sort_unstable();
    instants.dedup();
    Ok(Recurrence::At(instants))
}
