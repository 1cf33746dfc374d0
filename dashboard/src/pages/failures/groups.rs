//! Which jobs have the same error: read within a bound, newest first, and put together by fingerprint.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::time::Duration;

use chrono::TimeDelta;
use gristmill_core::Instant;
use gristmill_core::fingerprint::Fingerprint;
use gristmill_core::id::JobId;
use gristmill_core::job::JobState;
use gristmill_store::{AcknowledgementView, JobFilter, JobView, Page};

use crate::gate::{Caller, Result};
use crate::pages::view::View;

/// How many jobs are read at most, the newest.
pub(super) const LOOKED_AT: usize = 1_000;

/// How many are read at a time: what the store gives at once.
const PAGE_ROWS: u32 = 1_000;

/// Over how many hours a trend goes.
pub(super) const TREND_HOURS: usize = 24;

/// How many queues of a group are named.
const QUEUES_MAX: usize = 5;

/// The jobs with one error.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Group {
    /// What makes them the same.
    pub(super) fingerprint: Fingerprint,
    /// The error of the newest, as it is.
    pub(super) sample: String,
    /// The jobs, newest first.
    pub(super) jobs: Vec<JobId>,
    /// How many of them are dead.
    pub(super) dead: u64,
    /// How many have failed within the last hour, and within the last day.
    pub(super) recent: (u64, u64),
    /// How many have failed in each of the last [`TREND_HOURS`] hours, the newest last.
    pub(super) trend: [u64; TREND_HOURS],
    /// When the first failed, and the last.
    pub(super) seen: (Instant, Instant),
    /// Their queues, a few.
    pub(super) queues: Vec<String>,
}

/// Whether an error has to be looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Standing<'a> {
    /// No operator has said that they have seen it.
    New,
    /// An operator has, and it has not come again.
    Acknowledged(&'a AcknowledgementView),
    /// An operator had, and it has come again.
    Back(&'a AcknowledgementView),
}

impl Group {
    /// How it stands, by what was acknowledged.
    pub(super) fn standing<'a>(&self, acknowledged: &'a [AcknowledgementView]) -> Standing<'a> {
        let id = self.fingerprint.id();
        match acknowledged.iter().find(|one| one.fingerprint == id) {
            None => Standing::New,
            Some(seen) if self.seen.1 > seen.at => Standing::Back(seen),
            Some(seen) => Standing::Acknowledged(seen),
        }
    }

    /// How many wait for another attempt.
    pub(super) fn retrying(&self) -> u64 {
        self.jobs.len() as u64 - self.dead
    }
}

/// What was read, and whether there is more.
#[derive(Debug)]
pub(super) struct Read {
    pub(super) jobs: Vec<JobView>,
    pub(super) more: bool,
}

/// Reads the newest jobs in these states that match a filter, at most [`LOOKED_AT`].
pub(super) async fn read(caller: &Caller, view: &View, filter: &JobFilter) -> Result<Read> {
    let (mut jobs, mut page) = (Vec::new(), Page { after: None, limit: PAGE_ROWS });
    loop {
        let rows = view.read(caller.store().jobs(filter, &page)).await?;
        let full = rows.len() == PAGE_ROWS as usize;
        page.after = rows.last().map(|job| job.id.to_string());
        jobs.extend(rows);
        if !full || jobs.len() >= LOOKED_AT {
            return Ok(Read { jobs, more: full });
        }
    }
}

/// When a job has failed last.
pub(super) fn failed_at(job: &JobView) -> Instant {
    job.finished_at.or(job.started_at).unwrap_or(job.created_at)
}

/// The fingerprint of a job's error. A job without one has lost it with its worker.
pub(super) fn fingerprint(job: &JobView) -> Fingerprint {
    Fingerprint::of(&job.kind, job.error.as_deref().unwrap_or("no error was written down"))
}

/// Jobs by their errors, the most frequent error first.
pub(super) fn grouped(jobs: &[JobView], now: Instant) -> Vec<Group> {
    let mut groups: BTreeMap<Fingerprint, Group> = BTreeMap::new();
    for job in jobs {
        let (key, at) = (fingerprint(job), failed_at(job));
        let group = groups.entry(key.clone()).or_insert_with(|| Group {
            fingerprint: key,
            sample: job.error.clone().unwrap_or_default(),
            jobs: Vec::new(),
            dead: 0,
            recent: (0, 0),
            trend: [0; TREND_HOURS],
            seen: (at, at),
            queues: Vec::new(),
        });
        group.jobs.push(job.id);
        group.dead += u64::from(job.state == JobState::Dead);
        let within = |time: Duration| u64::from(TimeDelta::from_std(time).is_ok_and(|time| at > now - time));
        group.recent.0 += within(Duration::from_secs(3_600));
        group.recent.1 += within(Duration::from_secs(86_400));
        let hours = usize::try_from((now - at).num_hours()).unwrap_or(usize::MAX);
        if at <= now && hours < TREND_HOURS {
            group.trend[TREND_HOURS - 1 - hours] += 1;
        }
        group.seen = (group.seen.0.min(at), group.seen.1.max(at));
        if !group.queues.contains(&job.queue) && group.queues.len() < QUEUES_MAX {
            group.queues.push(job.queue.clone());
        }
    }
    let mut groups: Vec<Group> = groups.into_values().collect();
    groups.sort_by_key(|group| Reverse((group.jobs.len(), group.seen.1)));
    groups
}

#[cfg(test)]
mod tests {
    use gristmill_core::job::Priority;
    use serde_json::Value;
    use uuid::Uuid;

    use super::*;

    fn job(id: u128, state: JobState, error: &str, minutes_ago: i64) -> JobView {
        let at = Instant::UNIX_EPOCH + TimeDelta::days(9) - TimeDelta::minutes(minutes_ago);
        JobView {
            id: JobId(Uuid::from_u128(id)),
            tenant: "main".to_owned(),
            queue: format!("q{}", id % 2),
            priority: Priority::default(),
            key: None,
            kind: "email".to_owned(),
            version: 1,
            state,
            attempt: 1,
            max_attempts: 5,
            snoozes: 0,
            batch: None,
            seq: None,
            generation: 0,
            items: 0,
            payload: Value::Null,
            output: None,
            error: Some(error.to_owned()).filter(|error| !error.is_empty()),
            worker: None,
            created_at: at,
            run_at: None,
            started_at: None,
            finished_at: (state == JobState::Dead).then_some(at),
            attempts: Vec::new(),
        }
    }

    #[test]
    fn an_error_that_was_seen_is_new_again_when_it_comes_again() {
        let now = Instant::UNIX_EPOCH + TimeDelta::days(9);
        let group = grouped(&[job(1, JobState::Dead, "no mailbox", 60)], now).remove(0);
        let seen = |minutes_ago| AcknowledgementView {
            fingerprint: group.fingerprint.id(),
            by: "ada".to_owned(),
            reason: None,
            at: now - TimeDelta::minutes(minutes_ago),
        };
        let other = AcknowledgementView { fingerprint: "abc".to_owned(), ..seen(1) };
        assert_eq!(group.standing(std::slice::from_ref(&other)), Standing::New);
        assert_eq!(group.standing(&[other.clone(), seen(59)]), Standing::Acknowledged(&seen(59)));
        assert_eq!(group.standing(&[other, seen(61)]), Standing::Back(&seen(61)));
    }

    #[test]
    fn jobs_are_put_together_by_what_they_failed_of() {
        let jobs = [
            job(4, JobState::Dead, "timed out after 3 s", 5),
            job(3, JobState::Retry, "timed out after 44 s", 90),
            job(2, JobState::Dead, "no mailbox", 3_000),
            job(1, JobState::Dead, "", 1),
        ];
        let groups = grouped(&jobs, Instant::UNIX_EPOCH + TimeDelta::days(9));
        assert_eq!(groups.len(), 3);
        let first = &groups[0];
        assert_eq!((first.jobs.len(), first.dead, first.retrying(), first.recent), (2, 1, 1, (1, 2)));
        assert_eq!(
            (first.sample.as_str(), first.queues.as_slice()),
            ("timed out after 3 s", ["q0", "q1"].map(str::to_owned).as_slice())
        );
        assert_eq!((first.trend[TREND_HOURS - 1], first.trend[TREND_HOURS - 2]), (1, 1));
        assert!(first.seen.0 < first.seen.1);
        assert_eq!(groups[1].fingerprint.message, "no error was written down", "of the same size the newest first");
        assert_eq!(groups[2].recent, (0, 0));
    }
}
