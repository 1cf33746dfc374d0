//! The threads that process the items of chunks.
//!
//! A separate rayon pool, so that items never occupy a program that embeds us, nor the runtime's threads, which must
//! stay free to beat and to settle. Rayon's queue has no bound: a semaphore admits two groups for each thread and lets
//! the rest wait without using memory.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use rayon::iter::{IndexedParallelIterator, IntoParallelIterator, ParallelIterator};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};
use tokio_util::sync::CancellationToken;

/// Room for programs that recurse deeply in a transform; only the touched part costs memory.
pub(crate) const STACK_BYTES: usize = 16 * 1024 * 1024;

/// The most items that one thread takes at once: few enough to notice a cancellation soon.
const GROUP_ITEMS_MAX: usize = 64;

/// How many chunks, in addition to those on the threads, may be read or written meanwhile.
const CHUNKS_AHEAD: usize = 2;

/// The threads for the items of chunks.
#[derive(Debug, Clone)]
pub struct ItemPool {
    threads: Arc<rayon::ThreadPool>,
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
    pub cause: rayon::ThreadPoolBuildError,
}

impl ItemPool {
    /// Starts the threads; 0 means one for each core.
    ///
    /// # Errors
    ///
    /// When the machine does not provide them.
    pub fn new(threads: usize) -> Result<Self, NoThreads> {
        let pool = rayon::ThreadPoolBuilder::new()
            .num_threads(threads)
            .thread_name(|number| format!("items-{number}"))
            .stack_size(STACK_BYTES)
            .build()
            .map_err(|cause| NoThreads { threads, cause })?;
        let admission = Semaphore::new(pool.current_num_threads() * 2);
        let room = Semaphore::new(pool.current_num_threads() + CHUNKS_AHEAD);
        Ok(Self { threads: Arc::new(pool), admission: Arc::new(admission), room: Arc::new(room) })
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
        let guard = stop.clone().drop_guard();
        let permit = tokio::select! {
            permit = Arc::clone(&self.admission).acquire_owned() => permit.map_err(|_| Cancelled)?,
            () = cancel.cancelled() => return Err(Cancelled),
        };
        let (answer, answered) = oneshot::channel();
        self.threads.spawn(move || {
            let results = work_on_all(items, &stop, &work);
            drop(permit);
            // When the attempt was dropped, there is no receiver any more, and the results are not needed.
            let _ = answer.send(results);
        });
        let results = answered.await.ok().flatten().ok_or(Cancelled);
        guard.disarm();
        results
    }
}

fn work_on_all<T: Send, R: Send>(
    items: Vec<T>,
    stop: &CancellationToken,
    work: &(impl Fn(T) -> R + Sync),
) -> Option<Vec<Result<R, Panicked>>> {
    items
        .into_par_iter()
        .with_max_len(GROUP_ITEMS_MAX)
        .map(|item| {
            let live = !stop.is_cancelled();
            live.then(|| catch_unwind(AssertUnwindSafe(|| work(item))).map_err(|panic| Panicked(panic_text(&*panic))))
        })
        .collect()
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
        let first = std::sync::Mutex::new(Some((begun, wait)));
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
}
