//! The threads that process the items of chunks.
//!
//! A separate rayon pool, so that items never occupy a program that embeds us, nor the runtime's threads, which must
//! stay free to beat and to settle. Its queue has no bound: a semaphore admits two groups for each thread and lets
//! the rest wait without using memory. A thread that does not come back from an item after its attempt is over is
//! counted and replaced; too many of them end the process.

mod crew;
mod stuck;

use std::any::Any;
use std::num::NonZero;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};
use tokio_util::sync::CancellationToken;

use self::crew::{Crew, Task};
pub use self::stuck::StuckThreads;

/// Room for programs that recurse deeply in a transform; only the touched part costs memory.
pub(crate) const STACK_BYTES: usize = 16 * 1024 * 1024;

/// The most items that one thread takes at once: few enough to notice a cancellation soon.
const GROUP_ITEMS_MAX: usize = 64;

/// Into how many parts for each thread the items of a chunk are divided at least.
const GROUPS_A_THREAD: usize = 4;

/// How many chunks, in addition to those on the threads, may be read or written meanwhile.
const CHUNKS_AHEAD: usize = 2;

/// How long a thread may go on with an item after its attempt is over before it counts as stuck.
const PATIENCE: Duration = Duration::from_secs(10);

/// How many stuck threads a process bears, unless it has more threads than that.
const STUCK_MAX: usize = 4;

/// The threads for the items of chunks.
#[derive(Debug, Clone)]
pub struct ItemPool {
    crew: Arc<Crew>,
    threads: usize,
    admission: Arc<Semaphore>,
    room: Arc<Semaphore>,
}

/// The work on one item panicked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("panicked: {0}")]
pub struct Panicked(pub String);

/// The attempt was over before the work was done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the attempt was over before all items were done")]
pub struct Cancelled;

/// The machine does not provide the threads.
#[derive(Debug, thiserror::Error)]
#[error("cannot start the {threads} threads for items: {cause}; lower `worker.item_threads`")]
pub struct NoThreads {
    /// How many.
    pub threads: usize,
    /// Why not.
    pub cause: std::io::Error,
}

impl ItemPool {
    /// Starts the threads; 0 means one for each core.
    ///
    /// # Errors
    ///
    /// When the machine does not provide them.
    pub fn new(threads: usize) -> Result<Self, NoThreads> {
        Self::counting(threads, &StuckThreads::default())
    }

    /// The same, and counts the threads that are stuck where others can see it.
    ///
    /// # Errors
    ///
    /// When the machine does not provide the threads.
    pub fn counting(threads: usize, stuck: &StuckThreads) -> Result<Self, NoThreads> {
        Self::with_patience(threads, PATIENCE, stuck)
    }

    fn with_patience(threads: usize, patience: Duration, stuck: &StuckThreads) -> Result<Self, NoThreads> {
        let threads = if threads > 0 { threads } else { std::thread::available_parallelism().map_or(1, NonZero::get) };
        stuck.bear(threads.max(STUCK_MAX));
        let crew = Crew::new(threads, STACK_BYTES, patience, stuck.clone());
        Ok(Self {
            crew: Arc::new(crew.map_err(|cause| NoThreads { threads, cause })?),
            threads,
            admission: Arc::new(Semaphore::new(threads * 2)),
            room: Arc::new(Semaphore::new(threads + CHUNKS_AHEAD)),
        })
    }

    /// How many threads there are.
    pub fn threads(&self) -> usize {
        self.threads
    }

    /// Waits for room in memory for one more chunk's items: a worker may have many more slots than threads, and chunks
    /// that only wait for a thread need not be read yet. Dropping the permit gives the room back.
    pub async fn room(&self) -> Option<OwnedSemaphorePermit> {
        // It is never closed; without the permit only memory use would suffer.
        Arc::clone(&self.room).acquire_owned().await.ok()
    }

    /// Processes all items and returns the results in the same order. A panic is that item's result and affects no
    /// other. Dropping the future stops the work between two items.
    ///
    /// # Errors
    ///
    /// When `cancel` fired.
    pub async fn map<T, R, F>(
        &self,
        items: Vec<T>,
        cancel: &CancellationToken,
        work: F,
    ) -> Result<Vec<Result<R, Panicked>>, Cancelled>
    where
        T: Send + 'static,
        R: Send + 'static,
        F: Fn(T) -> R + Send + Sync + 'static,
    {
        let stop = cancel.child_token();
        // Whatever ends this future early stops the work, too.
        let guard = stop.clone().drop_guard();
        let _permit = tokio::select! {
            permit = Arc::clone(&self.admission).acquire_owned() => permit.map_err(|_| Cancelled)?,
            () = cancel.cancelled() => return Err(Cancelled),
        };
        if items.is_empty() {
            return Ok(Vec::new());
        }
        let (answer, answered) = oneshot::channel();
        self.crew.submit(tasks(items, self.threads, stop, work, answer));
        // An item that is under way when the attempt is over is not waited for: it may never end.
        let results = tokio::select! {
            results = answered => results.map_err(|_| Cancelled)?,
            () = cancel.cancelled() => return Err(Cancelled),
        };
        guard.disarm();
        Ok(results)
    }
}

/// The items of one call on their way through the threads.
struct Work<R, F> {
    work: F,
    /// That of the attempt: what is logged on a thread is the attempt's.
    span: tracing::Span,
    stop: CancellationToken,
    results: Mutex<Vec<Option<Result<R, Panicked>>>>,
    groups_left: AtomicUsize,
    answer: Mutex<Option<Answer<R>>>,
}

type Answer<R> = oneshot::Sender<Vec<Result<R, Panicked>>>;

/// Divides the items among tasks; the one that ends last answers.
fn tasks<T, R, F>(items: Vec<T>, threads: usize, stop: CancellationToken, work: F, answer: Answer<R>) -> Vec<Task>
where
    T: Send + 'static,
    R: Send + 'static,
    F: Fn(T) -> R + Send + Sync + 'static,
{
    let size = (items.len() / (threads * GROUPS_A_THREAD)).clamp(1, GROUP_ITEMS_MAX);
    let work = Arc::new(Work {
        work,
        span: tracing::Span::current(),
        stop,
        results: Mutex::new(items.iter().map(|_| None).collect()),
        groups_left: AtomicUsize::new(items.len().div_ceil(size)),
        answer: Mutex::new(Some(answer)),
    });
    let (mut tasks, mut items, mut start) = (Vec::new(), items.into_iter(), 0);
    loop {
        let group: Vec<T> = items.by_ref().take(size).collect();
        let (length, work) = (group.len(), Arc::clone(&work));
        if length == 0 {
            return tasks;
        }
        let stop = work.stop.clone();
        tasks.push(Task { stop, run: Box::new(move || work.run(start, group)) });
        start += length;
    }
}

impl<R, F> Work<R, F> {
    /// Works on a group whose first item has this place. Without an answer the attempt is over.
    fn run<T>(&self, start: usize, group: Vec<T>)
    where
        F: Fn(T) -> R,
    {
        let _within = self.span.enter();
        let mut made = Vec::with_capacity(group.len());
        for item in group {
            if self.stop.is_cancelled() {
                return;
            }
            let result = catch_unwind(AssertUnwindSafe(|| (self.work)(item)));
            made.push(result.map_err(|panic| Panicked(panic_text(&*panic))));
        }
        let mut results = self.results.lock().unwrap_or_else(PoisonError::into_inner);
        for (place, result) in results[start..].iter_mut().zip(made) {
            *place = Some(result);
        }
        if self.groups_left.fetch_sub(1, Ordering::AcqRel) > 1 {
            return;
        }
        let all = std::mem::take(&mut *results).into_iter().collect::<Option<Vec<_>>>();
        let answer = self.answer.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let (Some(all), Some(answer)) = (all, answer) {
            // When the attempt was dropped, there is no receiver any more, and the results are not needed.
            let _ = answer.send(all);
        }
    }
}

/// Returns the message of a panic, if it has one.
pub fn panic_text(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_else(|| "without a message".to_owned())
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    #[tokio::test]
    async fn results_keep_the_order_and_a_panic_is_one_items_own() {
        let pool = ItemPool::new(2).expect("threads");
        let results = pool
            .map((0..1000).collect(), &CancellationToken::new(), |number: u32| {
                assert!(number != 500, "five hundred");
                number * 2
            })
            .await
            .expect("not cancelled");
        for (number, result) in results.into_iter().enumerate() {
            if number == 500 {
                assert_eq!(result.expect_err("it panicked").to_string(), "panicked: five hundred");
            } else {
                assert_eq!(result.expect("a number") as usize, number * 2);
            }
        }
    }

    #[tokio::test]
    async fn a_cancellation_is_noticed_between_two_items() {
        let pool = ItemPool::new(1).expect("threads");
        let cancel = CancellationToken::new();
        let (seen, inner) = (Arc::new(AtomicUsize::new(0)), cancel.clone());
        let counter = Arc::clone(&seen);
        let outcome = pool
            .map((0..1000).collect(), &cancel, move |_: u32| {
                counter.fetch_add(1, Ordering::SeqCst);
                inner.cancel();
            })
            .await;
        assert_eq!(outcome.map(|results| results.len()), Err(Cancelled));
        assert_eq!(seen.load(Ordering::SeqCst), 1);
    }

    #[tokio::test]
    async fn a_future_that_is_dropped_stops_its_work() {
        let pool = ItemPool::new(1).expect("threads");
        let cancel = CancellationToken::new();
        let (begun, beginning) = oneshot::channel();
        let (go, wait) = std::sync::mpsc::channel::<()>();
        let first = Mutex::new(Some((begun, wait)));
        let seen = Arc::new(AtomicUsize::new(0));
        let counter = Arc::clone(&seen);
        let group = pool.map((0..100).collect(), &cancel, move |_: u32| {
            counter.fetch_add(1, Ordering::SeqCst);
            if let Some((begun, wait)) = first.lock().expect("no panic").take() {
                let _ = begun.send(());
                let _ = wait.recv();
            }
        });
        tokio::select! {
            _ = group => panic!("the first item still waits"),
            _ = beginning => {}
        }
        drop(go);
        // The one thread takes this item only when it has finished the group that was dropped.
        pool.map(vec![0], &cancel, |_: u32| ()).await.expect("a live pool");
        assert_eq!(seen.load(Ordering::SeqCst), 1);
    }

    /// Occupies a thread of the pool until the sender is dropped, as an attempt that is over.
    async fn get_stuck(pool: &ItemPool) -> std::sync::mpsc::Sender<()> {
        let (begun, beginning) = oneshot::channel();
        let (go, wait) = std::sync::mpsc::channel::<()>();
        let parts = Mutex::new(Some((begun, wait)));
        let cancel = CancellationToken::new();
        let group = pool.map(vec![0], &cancel, move |_: u32| {
            if let Some((begun, wait)) = parts.lock().expect("no panic").take() {
                let _ = begun.send(());
                let _ = wait.recv();
            }
        });
        tokio::select! {
            _ = group => panic!("the item still waits"),
            _ = beginning => {}
        }
        go
    }

    async fn until(what: impl Fn() -> bool) {
        for _ in 0..1_000 {
            if what() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("it did not come to that");
    }

    #[tokio::test]
    async fn a_thread_that_does_not_come_back_is_counted_and_replaced() {
        let stuck = StuckThreads::default();
        let pool = ItemPool::with_patience(1, Duration::from_millis(40), &stuck).expect("threads");
        let go = get_stuck(&pool).await;
        until(|| stuck.count() == 1).await;
        let results = pool.map(vec![1, 2], &CancellationToken::new(), |number: u32| number * 2).await;
        assert_eq!(results, Ok(vec![Ok(2), Ok(4)]));
        assert!(!stuck.is_full());
        drop(go);
        until(|| stuck.count() == 0).await;
        let results = pool.map(vec![3], &CancellationToken::new(), |number: u32| number * 2).await;
        assert_eq!(results, Ok(vec![Ok(6)]));
    }

    #[tokio::test]
    async fn too_many_of_them_are_too_many() {
        let stuck = StuckThreads::default();
        let pool = ItemPool::with_patience(1, Duration::from_millis(40), &stuck).expect("threads");
        let mut held = Vec::new();
        for number in 1..=stuck.most() {
            assert!(!stuck.is_full(), "after {} of {}", number - 1, stuck.most());
            held.push(get_stuck(&pool).await);
            until(|| stuck.count() == number).await;
        }
        tokio::time::timeout(Duration::from_secs(5), stuck.full()).await.expect("full");
    }

    #[tokio::test]
    async fn an_attempt_that_is_over_does_not_wait_for_its_item() {
        let pool = ItemPool::new(1).expect("threads");
        let cancel = CancellationToken::new();
        let (inner, (go, wait)) = (cancel.clone(), std::sync::mpsc::channel::<()>());
        let wait = Mutex::new(wait);
        let over = pool.map(vec![0], &cancel, move |_: u32| {
            inner.cancel();
            let _ = wait.lock().expect("no panic").recv();
        });
        let over = tokio::time::timeout(Duration::from_secs(5), over).await.expect("it ends at once");
        assert_eq!(over.map(|results| results.len()), Err(Cancelled));
        drop(go);
    }
}
