//! Gathers the endings that come on one way into groups, and has up to two groups written down at once.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::task::{JoinError, JoinSet};
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use crate::attempt::Settled;

/// The most groups that are written down at once: the database works on one while the other is gathered and answered.
/// More would only wait for each other.
const WRITING_MAX: usize = 2;

/// What ends on one way, and how it is gathered.
#[derive(Debug)]
pub(crate) struct Gatherer<'w> {
    pub(crate) ended: mpsc::Receiver<Settled>,
    /// The most attempts in one group.
    pub(crate) group_max: usize,
    /// The longest that a group is gathered while another one is being written down.
    pub(crate) flush: Duration,
    /// How many attempts may still send something.
    pub(crate) active: &'w AtomicUsize,
    /// Fires when no more attempts will end.
    pub(crate) closing: &'w CancellationToken,
}

impl Gatherer<'_> {
    /// Has what comes written down, until `closing` fires and nothing more waits.
    pub(crate) async fn run<W>(mut self, write: impl Fn(Vec<Settled>) -> W)
    where
        W: Future<Output = ()> + Send + 'static,
    {
        let mut writing = JoinSet::new();
        while let Some(first) = self.next(&mut writing).await {
            let group = self.gather(first, &mut writing).await;
            writing.spawn(write(group));
        }
        while let Some(written) = writing.join_next().await {
            finished(written);
        }
    }

    /// The first ending of the next group, once it may be written down.
    async fn next(&mut self, writing: &mut JoinSet<()>) -> Option<Settled> {
        while let Some(written) = writing.try_join_next() {
            finished(written);
        }
        while writing.len() >= WRITING_MAX
            && let Some(written) = writing.join_next().await
        {
            finished(written);
        }
        tokio::select! {
            biased;
            first = self.ended.recv() => first,
            () = self.closing.cancelled() => self.ended.try_recv().ok(),
        }
    }

    /// Lets more endings join the first one. While nothing is being written down none is waited for: light load must
    /// not pay for what only heavy load needs. Under heavy load something is, and the group grows meanwhile.
    async fn gather(&mut self, first: Settled, writing: &mut JoinSet<()>) -> Vec<Settled> {
        let until = Instant::now() + self.flush;
        let mut group = vec![first];
        loop {
            while group.len() < self.group_max
                && let Ok(next) = self.ended.try_recv()
            {
                group.push(next);
            }
            if group.len() >= self.group_max || writing.is_empty() || self.active.load(Ordering::Relaxed) == 0 {
                return group;
            }
            tokio::select! {
                biased;
                next = self.ended.recv() => match next {
                    Some(next) => group.push(next),
                    None => return group,
                },
                Some(written) = writing.join_next() => finished(written),
                () = sleep_until(until) => return group,
            }
        }
    }
}

/// A completer that panics must not go on as if it had written something down.
fn finished(written: Result<(), JoinError>) {
    if let Err(error) = written
        && error.is_panic()
    {
        std::panic::resume_unwind(error.into_panic());
    }
}
