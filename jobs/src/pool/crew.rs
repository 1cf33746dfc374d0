//! Threads that take tasks from one queue, and are replaced when they do not come back.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use tokio_util::sync::CancellationToken;

use super::stuck::StuckThreads;
use crate::stack;

/// A part of an attempt's work.
pub(super) struct Task {
    /// Fires when nobody waits for it any more.
    pub(super) stop: CancellationToken,
    pub(super) run: Box<dyn FnOnce() + Send>,
}

/// The threads. Dropping it lets them finish what is queued and end.
#[derive(Debug)]
pub(super) struct Crew(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    tasks: Mutex<Tasks>,
    wake: Condvar,
    members: Mutex<Vec<Arc<Member>>>,
    stack_bytes: usize,
    stuck: StuckThreads,
}

#[derive(Default)]
struct Tasks {
    queue: VecDeque<Task>,
    closed: bool,
}

/// What a thread does.
#[derive(Debug, Default)]
struct Member {
    doing: Mutex<Doing>,
}

#[derive(Debug, Default)]
struct Doing {
    task: Option<CancellationToken>,
    /// When it was first seen that nobody waits any more.
    over_since: Option<Instant>,
    /// Another has taken its place: when it comes back it ends.
    replaced: bool,
}

impl std::fmt::Debug for Tasks {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tasks").field("queued", &self.queue.len()).finish_non_exhaustive()
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
        threads: usize,
        stack_bytes: usize,
        patience: Duration,
        stuck: StuckThreads,
    ) -> std::io::Result<Self> {
        let shared = Arc::new(Shared {
            tasks: Mutex::default(),
            wake: Condvar::new(),
            members: Mutex::default(),
            stack_bytes,
            stuck,
        });
        // From here on dropping it ends those that have been started.
        let crew = Self(shared);
        for _ in 0..threads {
            Shared::hire(&crew.0)?;
        }
        let watched = Arc::downgrade(&crew.0);
        std::thread::Builder::new().name("items-watch".to_owned()).spawn(move || watch(&watched, patience))?;
        Ok(crew)
    }

    pub(super) fn submit(&self, tasks: impl IntoIterator<Item = Task>) {
        locked(&self.0.tasks).queue.extend(tasks);
        self.0.wake.notify_all();
    }
}

impl Drop for Crew {
    fn drop(&mut self) {
        locked(&self.0.tasks).closed = true;
        self.0.wake.notify_all();
    }
}

impl Shared {
    /// Starts one more thread.
    fn hire(shared: &Arc<Self>) -> std::io::Result<()> {
        let member = Arc::new(Member::default());
        let (theirs, at_work) = (Arc::clone(shared), Arc::clone(&member));
        std::thread::Builder::new()
            .name("items".to_owned())
            .stack_size(shared.stack_bytes)
            .spawn(move || theirs.serve(&at_work))?;
        locked(&shared.members).push(member);
        Ok(())
    }

    fn serve(&self, member: &Member) {
        stack::declare(self.stack_bytes);
        while let Some(task) = self.next() {
            if task.stop.is_cancelled() {
                continue;
            }
            locked(&member.doing).task = Some(task.stop.clone());
            // Tasks handle the panics of items; a defect in the handling must not cost the thread.
            let _ = catch_unwind(AssertUnwindSafe(task.run));
            let mut doing = locked(&member.doing);
            if doing.replaced {
                self.stuck.returned();
                return;
            }
            *doing = Doing::default();
        }
    }

    fn next(&self) -> Option<Task> {
        let mut tasks = locked(&self.tasks);
        loop {
            if let Some(task) = tasks.queue.pop_front() {
                return Some(task);
            }
            if tasks.closed {
                return None;
            }
            tasks = self.wake.wait(tasks).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Replaces the threads that have not come back.
    fn replace_stuck(shared: &Arc<Self>, patience: Duration) {
        let mut gone = 0;
        locked(&shared.members).retain(|member| {
            let is_stuck = locked(&member.doing).is_stuck(patience);
            gone += usize::from(is_stuck);
            !is_stuck
        });
        for _ in 0..gone {
            shared.stuck.add();
            if let Err(error) = Self::hire(shared) {
                tracing::error!(%error, "no thread for items can be started in the place of one that is stuck");
            }
        }
    }
}

impl Doing {
    fn is_stuck(&mut self, patience: Duration) -> bool {
        let over = self.task.as_ref().is_some_and(CancellationToken::is_cancelled);
        if !over {
            return false;
        }
        let since = *self.over_since.get_or_insert_with(Instant::now);
        self.replaced = since.elapsed() >= patience;
        self.replaced
    }
}

/// Looks after the threads for as long as there are any.
fn watch(shared: &Weak<Shared>, patience: Duration) {
    loop {
        std::thread::park_timeout(patience / 4);
        match shared.upgrade() {
            Some(shared) if !locked(&shared.tasks).closed => Shared::replace_stuck(&shared, patience),
            _ => return,
        }
    }
}
