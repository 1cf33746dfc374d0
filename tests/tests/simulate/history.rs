//! What happened, written down by the simulation itself: the oracle's only memory.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use gristmill_core::id::{BatchId, JobId, WorkerId};
use gristmill_core::job::{ClaimedJob, Fence};
use gristmill_core::settle::Verdict;
use gristmill_store::Completion;
use gristmill_testkit::random::mix;
use tokio::time::Instant;
use uuid::Uuid;

/// What one attempt at a chunk has told, by the items' positions.
#[derive(Debug, Clone, Default)]
pub(crate) struct Told {
    pub(crate) ok: Vec<u64>,
    pub(crate) skipped: Vec<u64>,
    pub(crate) bad: Vec<u64>,
    /// A number of this attempt alone: each of its items carries it into the aggregate.
    pub(crate) token: u64,
}

/// One claim that was committed, whether its worker learned of it or not.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Claimed {
    pub(crate) fence: Fence,
    pub(crate) at: Instant,
    /// How long the job had been claimable, by the database's clock.
    pub(crate) waited: chrono::TimeDelta,
}

/// Everything that happened in one run.
#[derive(Debug)]
pub(crate) struct History {
    began: Instant,
    names: BTreeMap<Uuid, u64>,
    hash: u64,
    pub(crate) events: u64,
    /// Kept only when somebody wants to read it.
    pub(crate) lines: Option<Vec<String>>,
    pub(crate) claims: BTreeMap<JobId, Vec<Claimed>>,
    pub(crate) runs: BTreeSet<Fence>,
    pub(crate) told: BTreeMap<Fence, Told>,
    /// Attempts whose completion the store has accepted, but for those that were given back.
    pub(crate) settled: BTreeMap<(JobId, u32), Fence>,
    pub(crate) done: BTreeMap<JobId, Fence>,
    /// How often the aggregate of a generation was accepted.
    pub(crate) ends: BTreeMap<(BatchId, u32), u32>,
    pub(crate) violations: Vec<String>,
    /// Nobody is stalled, no call fails and no clock leaps: only a death ends an attempt without a word.
    calm: bool,
    /// Processes that were killed.
    killed: BTreeSet<String>,
    workers: BTreeMap<WorkerId, String>,
}

impl History {
    pub(crate) fn new(told: bool, calm: bool) -> Self {
        Self {
            began: Instant::now(),
            names: BTreeMap::new(),
            hash: 0,
            events: 0,
            lines: told.then(Vec::new),
            claims: BTreeMap::new(),
            runs: BTreeSet::new(),
            told: BTreeMap::new(),
            settled: BTreeMap::new(),
            done: BTreeMap::new(),
            ends: BTreeMap::new(),
            violations: Vec::new(),
            calm,
            killed: BTreeSet::new(),
            workers: BTreeMap::new(),
        }
    }

    /// A number in the place of an id: ids differ from run to run, their order of appearance does not.
    pub(crate) fn name(&mut self, id: Uuid) -> u64 {
        let next = self.names.len() as u64 + 1;
        *self.names.entry(id).or_insert(next)
    }

    /// One event: who, what, and two numbers that belong to it.
    pub(crate) fn note(&mut self, who: &str, what: &str, about: Option<Uuid>, number: u64) {
        let about = about.map_or(0, |id| self.name(id));
        let at = self.began.elapsed().as_millis() as u64;
        self.events += 1;
        for part in [at, about, number] {
            self.hash = mix(self.hash ^ part).wrapping_add(1);
        }
        for byte in who.bytes().chain(what.bytes()) {
            self.hash = self.hash.rotate_left(9) ^ u64::from(byte);
        }
        if let Some(lines) = &mut self.lines {
            let mut line = format!("{:>9.3} {who:<12} {what}", at as f64 / 1_000.0);
            if about > 0 {
                let _ = write!(line, " #{about}");
            }
            if number > 0 {
                let _ = write!(line, " ({number})");
            }
            lines.push(line);
        }
    }

    /// The same for two runs only if the same happened in them, in the same order, at the same time.
    pub(crate) fn hash(&self) -> u64 {
        mix(self.hash ^ self.events)
    }

    pub(crate) fn violation(&mut self, what: String) {
        self.note("oracle", &what, None, 0);
        self.violations.push(what);
    }

    /// What a claim has committed.
    pub(crate) fn claimed(&mut self, who: &str, jobs: &[ClaimedJob]) {
        for job in jobs {
            self.note(who, "claims", Some(job.fence.job.0), u64::from(job.fence.attempt));
            if job.fence.attempt > job.max_attempts {
                let name = self.name(job.fence.job.0);
                self.violation(format!("job #{name} is at attempt {} of {}", job.fence.attempt, job.max_attempts));
            }
            self.alone(job);
            let waited = job.started_at - job.queued_at;
            let claimed = Claimed { fence: job.fence, at: Instant::now(), waited };
            self.claims.entry(job.fence.job).or_default().push(claimed);
        }
    }

    /// Nobody else may have the job when it is claimed.
    fn alone(&mut self, job: &ClaimedJob) {
        let last = self.claims.get(&job.fence.job).and_then(|claims| claims.last());
        let Some(held) = last.map(|claimed| claimed.fence).filter(|_| self.calm) else { return };
        let lives = self.workers.get(&held.worker).is_some_and(|process| !self.killed.contains(process));
        if lives && !self.settled.contains_key(&(held.job, held.attempt)) {
            let name = self.name(held.job.0);
            self.violation(format!("job #{name} was claimed while somebody else ran it"));
        }
    }

    /// A process was killed: what it held may be claimed again.
    pub(crate) fn killed(&mut self, process: &str) {
        self.killed.insert(process.to_owned());
    }

    /// A handler begins with an attempt.
    pub(crate) fn begins(&mut self, who: &str, job: &ClaimedJob) {
        let (fence, name) = (job.fence, self.name(job.fence.job.0));
        self.note(who, &format!("runs {}", job.kind), Some(fence.job.0), u64::from(fence.attempt));
        if !self.runs.insert(fence) {
            self.violation(format!("attempt {} at job #{name} ran twice under the same fence", fence.attempt));
        }
    }

    /// What the store has accepted of a group of completions.
    pub(crate) fn completed(&mut self, who: &str, completions: &[Completion], fenced: &[Fence]) {
        for completion in completions {
            let fence = completion.fence;
            let name = self.name(fence.job.0);
            if fenced.contains(&fence) {
                self.note(who, "is fenced", Some(fence.job.0), u64::from(fence.attempt));
                continue;
            }
            let what = format!("settles {}", completion.ending.as_str());
            self.note(who, &what, Some(fence.job.0), u64::from(fence.attempt));
            let last = self.claims.get(&fence.job).and_then(|claims| claims.last()).map(|claimed| claimed.fence);
            if last != Some(fence) {
                self.violation(format!("a stale completion of attempt {} at job #{name} was accepted", fence.attempt));
            }
            self.accepted(completion, name);
        }
    }

    fn accepted(&mut self, completion: &Completion, name: u64) {
        let fence = completion.fence;
        match completion.verdict {
            Verdict::Release | Verdict::Revoked => return,
            Verdict::Done => {
                if self.done.insert(fence.job, fence).is_some() {
                    self.violation(format!("job #{name} was done twice"));
                }
            }
            Verdict::Retry { .. } | Verdict::Snooze { .. } | Verdict::Requeue | Verdict::Dead => {}
        }
        if self.settled.insert((fence.job, fence.attempt), fence).is_some() {
            self.violation(format!("attempt {} at job #{name} was settled twice", fence.attempt));
        }
        if let Some(end) = &completion.batch_end {
            *self.ends.entry((end.batch, end.generation)).or_default() += 1;
        }
    }

    /// That incarnation works in that process.
    pub(crate) fn works(&mut self, process: &str, worker: WorkerId) {
        self.workers.entry(worker).or_insert_with(|| process.to_owned());
    }

    /// When the job was claimed, by whom it was ever.
    pub(crate) fn claimed_at(&self, job: JobId, after: Instant) -> Option<Instant> {
        self.claims.get(&job)?.iter().map(|claimed| claimed.at).find(|at| *at >= after)
    }

    /// The jobs that run in that process, as far as the store knows.
    pub(crate) fn held_by(&self, process: &str) -> Vec<JobId> {
        let last = self.claims.iter().filter_map(|(job, claims)| Some((*job, claims.last()?.fence)));
        let ours = last.filter(|(_, fence)| self.workers.get(&fence.worker).is_some_and(|name| name == process));
        let open = ours.filter(|(job, fence)| !self.settled.contains_key(&(*job, fence.attempt)));
        open.map(|(job, _)| job).collect()
    }
}
