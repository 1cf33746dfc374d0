//! The worker's metrics, named once. `docs/metrics.md` explains each.

use std::collections::BTreeMap;

use gristmill_core::job::ClaimedJob;
use metrics::{Histogram, Unit, counter, describe_counter, describe_gauge, describe_histogram, gauge, histogram};

/// Attempts that were written down, by kind and ending.
const SETTLED: &str = "gristmill_jobs_settled_total";
/// How long attempts took, by kind.
const SECONDS: &str = "gristmill_job_seconds";
/// How long jobs were claimable before they were claimed, by kind.
const WAIT: &str = "gristmill_job_wait_seconds";
/// Attempts that run now.
const BUSY: &str = "gristmill_slots_busy";
/// Attempts that may run at once.
const SLOTS: &str = "gristmill_slots";
/// Attempts that ended after their job had been taken away.
const FENCED: &str = "gristmill_fenced_total";
/// Jobs claimed.
const CLAIMS: &str = "gristmill_claims_total";
/// Items of chunks, by outcome.
const ITEMS: &str = "gristmill_items_total";

/// Gives each name its unit and its line of help. Once for each process is enough.
pub fn describe() {
    describe_counter!(SETTLED, "Attempts that were written down, by kind of job and by ending");
    describe_histogram!(SECONDS, Unit::Seconds, "How long an attempt took, by kind of job");
    describe_histogram!(WAIT, Unit::Seconds, "How long a job was claimable before it was claimed, by kind of job");
    describe_gauge!(BUSY, "Attempts that run just now");
    describe_gauge!(SLOTS, "Attempts that may run at once");
    describe_counter!(FENCED, "Attempts that ended after their job had been rescued, cancelled or completed");
    describe_counter!(CLAIMS, "Jobs claimed");
    describe_counter!(ITEMS, "Items of chunks that are done, by outcome");
}

/// The histograms of each kind, looked up once: a look-up for every job would cost more than a
/// small job does.
#[derive(Debug)]
pub(crate) struct Clocks(BTreeMap<String, Clock>);

#[derive(Debug)]
struct Clock {
    seconds: Histogram,
    wait: Histogram,
}

impl Clocks {
    pub(crate) fn new(kinds: &[String]) -> Self {
        let clock = |kind: &String| Clock {
            seconds: histogram!(SECONDS, "kind" => kind.clone()),
            wait: histogram!(WAIT, "kind" => kind.clone()),
        };
        Self(kinds.iter().map(|kind| (kind.clone(), clock(kind))).collect())
    }

    /// Where the time of an attempt at a job of that kind is recorded.
    pub(crate) fn seconds(&self, kind: &str) -> Option<&Histogram> {
        self.0.get(kind).map(|clock| &clock.seconds)
    }

    #[cfg(test)]
    pub(crate) fn recording<'a>(kinds: impl IntoIterator<Item = (&'a str, Histogram)>) -> Self {
        let clock = |seconds| Clock { seconds, wait: Histogram::noop() };
        Self(kinds.into_iter().map(|(kind, seconds)| (kind.to_owned(), clock(seconds))).collect())
    }

    /// Both ends are by the database's clock.
    pub(crate) fn claimed(&self, job: &ClaimedJob) {
        if let Some(clock) = self.0.get(&job.kind) {
            let waited = (job.started_at - job.queued_at).to_std().unwrap_or_default();
            clock.wait.record(waited.as_secs_f64());
        }
    }
}

pub(crate) fn slots(active: usize, all: u32) {
    #[expect(clippy::cast_precision_loss, reason = "a number of slots beyond 2^52 does not occur")]
    gauge!(BUSY).set(active as f64);
    gauge!(SLOTS).set(f64::from(all));
}

pub(crate) fn claimed(jobs: usize) {
    counter!(CLAIMS).increment(jobs as u64);
}

pub(crate) fn fenced(attempts: u64) {
    counter!(FENCED).increment(attempts);
}

pub(crate) fn settled(kind: &str, ending: &'static str, attempts: u64) {
    counter!(SETTLED, "kind" => kind.to_owned(), "ending" => ending).increment(attempts);
}

pub(crate) fn items(outcome: &'static str, items: u64) {
    if items > 0 {
        counter!(ITEMS, "outcome" => outcome).increment(items);
    }
}
