//! Rayon's threads, which take tasks from one queue of ours, and are replaced when one of them does not come back.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use rayon::{ThreadPool, ThreadPoolBuilder};
use tokio_util::sync::CancellationToken;

use super::stuck::StuckThreads;
use crate::stack;

/// A part of an attempt's work.
pub(super) struct Task {
    /// Fires when no attempt waits for it any more.
    pub(super) stop: CancellationToken,
    pub(super) run: Box<dyn FnOnce() + Send>,
}

/// The threads. Dropping it lets them finish what is queued and end.
#[derive(Debug)]
pub(super) struct Crew(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    /// What waits. Rayon is given one visit to this queue for each task, so that other threads can make the visits of
    /// those that are stuck.
    tasks: Mutex<Tasks>,
    /// The threads of now. Those before them end when they have made their visits.
    threads: Mutex<Arc<ThreadPool>>,
    at_work: Mutex<Vec<Arc<Doing>>>,
    size: usize,
    stack_bytes: usize,
    stuck: StuckThreads,
}

#[derive(Default)]
struct Tasks(VecDeque<Task>);

/// A task that is being done.
#[derive(Debug)]
struct Doing {
    stop: CancellationToken,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// When it was first seen that no attempt waits any more.
    over_since: Option<Instant>,
    /// Other threads have taken the place of its thread.
    replaced: bool,
}

impl std::fmt::Debug for Tasks {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tasks").field("queued", &self.0.len()).finish_non_exhaustive()
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Crew {
    /// Starts the threads. One that is still at its task `patience` after its attempt was over is replaced.
    ///
    /// # Errors
    ///
    /// When the machine does not provide them.
    pub(super) fn new(
        size: usize,
        stack_bytes: usize,
        patience: Duration,
        stuck: StuckThreads,
    ) -> std::io::Result<Self> {
        let threads = Mutex::new(Arc::new(threads(size, stack_bytes)?));
        let (tasks, at_work) = (Mutex::default(), Mutex::default());
        let shared = Arc::new(Shared { tasks, threads, at_work, size, stack_bytes, stuck });
        let watched = Arc::downgrade(&shared);
        std::thread::Builder::new().name("items-watch".to_owned()).spawn(move || watch(&watched, patience))?;
        Ok(Self(shared))
    }

    pub(super) fn submit(&self, tasks: Vec<Task>) {
        let visits = tasks.len();
        locked(&self.0.tasks).0.extend(tasks);
        Shared::visit(&self.0, visits);
    }
}

fn threads(size: usize, stack_bytes: usize) -> std::io::Result<ThreadPool> {
    ThreadPoolBuilder::new()
        .num_threads(size)
        .thread_name(|number| format!("items-{number}"))
        .stack_size(stack_bytes)
        .start_handler(move |_| stack::declare(stack_bytes))
        .build()
        .map_err(std::io::Error::other)
}

impl Shared {
    /// Has the threads of now visit the queue so many times.
    fn visit(shared: &Arc<Self>, times: usize) {
        let threads = Arc::clone(&locked(&shared.threads));
        for _ in 0..times {
            let shared = Arc::clone(shared);
            threads.spawn(move || shared.do_next());
        }
    }

    /// Does the task that waits longest, if any does: other threads may have made this visit.
    fn do_next(&self) {
        let Some(task) = locked(&self.tasks).0.pop_front() else { return };
        if task.stop.is_cancelled() {
            return;
        }
        let doing = Arc::new(Doing { stop: task.stop, state: Mutex::default() });
        locked(&self.at_work).push(Arc::clone(&doing));
        // Tasks handle the panics of items; a defect in the handling must not cost the process.
        let _ = catch_unwind(AssertUnwindSafe(task.run));
        locked(&self.at_work).retain(|other| !Arc::ptr_eq(other, &doing));
        if locked(&doing.state).replaced {
            self.stuck.returned();
        }
    }

    /// When threads have not come back, others take the place of all, and make the visits that are left.
    fn replace_stuck(shared: &Arc<Self>, patience: Duration) {
        let mut gone = 0;
        locked(&shared.at_work).retain(|doing| {
            let is_stuck = doing.is_stuck(patience);
            gone += usize::from(is_stuck);
            !is_stuck
        });
        if gone == 0 {
            return;
        }
        (0..gone).for_each(|_| shared.stuck.add());
        match threads(shared.size, shared.stack_bytes) {
            Ok(fresh) => *locked(&shared.threads) = Arc::new(fresh),
            Err(error) => {
                tracing::error!(%error, "no threads for items can be started in the place of those that are stuck");
                return;
            }
        }
        let left = locked(&shared.tasks).0.len();
        Self::visit(shared, left);
    }
}

impl Doing {
    fn is_stuck(&self, patience: Duration) -> bool {
        if !self.stop.is_cancelled() {
            return false;
        }
        let mut state = locked(&self.state);
        let since = *state.over_since.get_or_insert_with(Instant::now);
        state.replaced = since.elapsed() >= patience;
        state.replaced
    }
}

/// Looks after the threads for as long as anything can be submitted to them.
fn watch(shared: &Weak<Shared>, patience: Duration) {
    loop {
        std::thread::park_timeout(patience / 4);
        match shared.upgrade() {
            Some(shared) => Shared::replace_stuck(&shared, patience),
            None => return,
        }
    }
}
