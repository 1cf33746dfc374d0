//! The programs of item steps between two chunks: kept alive for the next one, but not many and not for long.
//!
//! As many programs work at once as there are chunks under way, which the worker's slots bound. Those that wait for
//! their next chunk are bounded here, over all batches of the process, in number and in time: a batch that has ended
//! leaves none behind. Each step has its own: a program that has read a file at its start would give the next batch
//! what was in that file then.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use tokio::io::BufReader;
use tokio::process::{ChildStdin, ChildStdout};
use tokio::time::Instant;

use crate::program::Program;

/// How many programs may wait for their next chunk, of all batches together: as many as a worker has slots by default.
pub(super) const IDLE_MAX: usize = 16;

/// How long a program may wait for its next chunk.
pub(super) const IDLE_TIME: Duration = Duration::from_secs(10);

/// A running program.
#[derive(Debug)]
pub(super) struct Partner {
    pub(super) program: Program,
    pub(super) stdin: ChildStdin,
    pub(super) stdout: BufReader<ChildStdout>,
    /// Whether it has served a chunk before.
    pub(super) rested: bool,
}

/// The programs that wait. Clones share them.
#[derive(Debug, Clone)]
pub(super) struct IdlePrograms(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    bounds: Bounds,
    steps: AtomicU64,
    idle: Mutex<Idle>,
}

/// How many may wait, and for how long.
#[derive(Debug, Clone, Copy)]
struct Bounds {
    most: usize,
    time: Duration,
}

#[derive(Debug, Default)]
struct Idle {
    /// In the order in which they began to wait.
    waiting: VecDeque<Waiting>,
    /// Whether a task ends those whose time is over.
    watched: bool,
}

#[derive(Debug)]
struct Waiting {
    step: u64,
    since: Instant,
    partner: Partner,
}

impl Default for IdlePrograms {
    fn default() -> Self {
        Self::new(Bounds { most: IDLE_MAX, time: IDLE_TIME })
    }
}

impl IdlePrograms {
    fn new(bounds: Bounds) -> Self {
        Self(Arc::new(Inner { bounds, steps: AtomicU64::default(), idle: Mutex::default() }))
    }

    /// The share of one step, whose programs end with it.
    pub(super) fn share(&self) -> Share {
        Share { all: self.clone(), step: self.0.steps.fetch_add(1, Ordering::Relaxed) }
    }
}

/// The waiting programs of one step.
#[derive(Debug)]
pub(super) struct Share {
    all: IdlePrograms,
    step: u64,
}

impl Share {
    /// Takes the one that has waited for the shortest time, so that those that are not needed come of age.
    pub(super) fn take(&self) -> Option<Partner> {
        let mut idle = self.all.0.lock();
        let place = idle.waiting.iter().rposition(|waiting| waiting.step == self.step)?;
        idle.waiting.remove(place).map(|waiting| waiting.partner)
    }

    /// Lets a program wait for its next chunk; the one that has waited for the longest time makes room for it.
    pub(super) fn put(&self, partner: Partner) {
        let inner = &self.all.0;
        let mut idle = inner.lock();
        idle.waiting.push_back(Waiting { step: self.step, since: Instant::now(), partner });
        let surplus = idle.waiting.len().saturating_sub(inner.bounds.most);
        idle.waiting.drain(..surplus);
        if !std::mem::replace(&mut idle.watched, true) {
            tokio::spawn(watch(Watch(Arc::downgrade(inner))));
        }
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.all.0.lock().waiting.retain(|waiting| waiting.step != self.step);
    }
}

impl Inner {
    /// Ends those whose time is over. Returns when the next one's will be.
    fn end_aged(&self, now: Instant) -> Option<Instant> {
        let mut idle = self.lock();
        while let Some(oldest) = idle.waiting.front() {
            let until = oldest.since + self.bounds.time;
            if until > now {
                return Some(until);
            }
            idle.waiting.pop_front();
        }
        idle.watched = false;
        None
    }

    fn lock(&self) -> MutexGuard<'_, Idle> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Ends with its task, whose runtime may end first: then the next program that waits gets another one. Two at once do
/// no harm.
struct Watch(Weak<Inner>);

impl Drop for Watch {
    fn drop(&mut self) {
        if let Some(inner) = self.0.upgrade() {
            inner.lock().watched = false;
        }
    }
}

async fn watch(watch: Watch) {
    while let Some(next) = watch.0.upgrade().and_then(|inner| inner.end_aged(Instant::now())) {
        tokio::time::sleep_until(next).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exec_policy::{ExecPolicy, on_path};
    use crate::program::Pipes;
    use crate::settings::ExecSettings;

    /// A program that waits for ever, and whether it still runs.
    fn sleeper() -> (Partner, impl Fn() -> bool) {
        let sleep = on_path("sleep").expect("it is installed").display().to_string();
        let policy = ExecPolicy::new(&ExecSettings { programs: vec![sleep], ..ExecSettings::default() });
        let command = ["sleep", "600"].map(str::to_owned);
        let launch = policy.launch(&command, &Default::default(), None).expect("allowed");
        let (program, Pipes { stdin, stdout }) = Program::start(&launch).expect("a program");
        let status = format!("/proc/{}/stat", program.id().expect("it runs"));
        // A killed process stays a zombie until it is reaped.
        let runs = move || std::fs::read_to_string(&status).is_ok_and(|stat| !stat.contains(") Z "));
        (Partner { program, stdin, stdout: BufReader::new(stdout), rested: true }, runs)
    }

    async fn until(mut holds: impl FnMut() -> bool) {
        let waited = tokio::time::timeout(Duration::from_secs(60), async {
            while !holds() {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        });
        waited.await.expect("in time");
    }

    #[tokio::test]
    async fn those_that_wait_are_bounded_over_all_steps() {
        let all = IdlePrograms::new(Bounds { most: 2, time: Duration::from_secs(600) });
        let (one, two) = (all.share(), all.share());
        let ((first, first_runs), (second, second_runs), (third, third_runs)) = (sleeper(), sleeper(), sleeper());
        one.put(first);
        two.put(second);
        one.put(third);
        until(|| !first_runs()).await;
        assert!(second_runs() && third_runs());
        assert!(two.take().is_some() && two.take().is_none(), "each step takes its own");
        drop(one);
        until(|| !third_runs()).await;
    }

    #[tokio::test]
    async fn those_that_wait_too_long_are_ended_without_another_chunk() {
        let all = IdlePrograms::new(Bounds { most: 9, time: Duration::from_millis(50) });
        let share = all.share();
        for _ in 0..2 {
            let (partner, runs) = sleeper();
            share.put(partner);
            until(|| !runs()).await;
            assert!(share.take().is_none());
        }
    }
}
