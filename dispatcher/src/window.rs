//! How full the broker's queues are, as far as this process knows: what decides whether a row may be published.
//!
//! The broker is asked beside the publishing, not before it: an answer counts for a second, with the process's own
//! publishes added. Only a queue that nothing is known of, or that seems full, is asked first.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use gristmill_core::dispatch::{Dispatch, Purpose};
use tokio::time::Instant;

/// For how long an answer is enough as it is.
const FRESH_FOR: Duration = Duration::from_millis(200);

/// After this long the broker is asked before the next publish.
const STALE_AFTER: Duration = Duration::from_secs(1);

/// How often a queue that seems full is asked about at most.
const FULL_FOR: Duration = Duration::from_millis(20);

/// The most published but unclaimed messages in each queue, and what is known of it.
#[derive(Debug)]
pub(crate) struct Windows {
    most: u64,
    depths: Mutex<BTreeMap<String, Depth>>,
}

#[derive(Debug, Clone, Copy)]
struct Depth {
    /// `None` when there was no answer, or none yet.
    jobs: Option<u64>,
    /// When the broker answered last.
    answered: Option<Instant>,
    /// How many jobs have ever entered.
    entered: u64,
    /// A question is under way beside the publishing.
    asking: bool,
}

/// Whether the broker is to be asked about a queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ask {
    /// What is known is enough.
    Not,
    /// While the row is published.
    Beside,
    /// Before the row is published.
    First,
}

/// A question to the broker.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Question {
    /// How many jobs had ever entered when it was asked.
    entered: u64,
}

impl Windows {
    pub(crate) fn new(most: u64) -> Self {
        Self { most, depths: Mutex::default() }
    }

    pub(crate) fn most(&self) -> u64 {
        self.most
    }

    /// Whether to ask about a row's queue.
    pub(crate) fn ask(&self, row: &Dispatch) -> Ask {
        if row.purpose != Purpose::Dispatch {
            return Ask::Not;
        }
        let depths = self.lock();
        let Some(depth) = depths.get(&row.queue) else { return Ask::First };
        let Some(age) = depth.answered.map(|answered| answered.elapsed()) else { return Ask::First };
        match depth.jobs {
            _ if age >= STALE_AFTER => Ask::First,
            None if age >= FRESH_FOR => Ask::First,
            None => Ask::Not,
            Some(jobs) if !self.fits(jobs, row) && age >= FULL_FOR => Ask::First,
            Some(_) if age >= FRESH_FOR && !depth.asking => Ask::Beside,
            Some(_) => Ask::Not,
        }
    }

    /// Notes that the broker is asked. The answer goes to [`Windows::answered`].
    pub(crate) fn asking(&self, queue: &str) -> Question {
        let mut depths = self.lock();
        let depth =
            depths.entry(queue.to_owned()).or_insert(Depth { jobs: None, answered: None, entered: 0, asking: false });
        depth.asking = true;
        Question { entered: depth.entered }
    }

    /// Notes the answer. What has entered since the question may be in it or not: it is counted, so that the window is
    /// never exceeded.
    pub(crate) fn answered(&self, queue: &str, question: Question, jobs: Option<u64>) {
        if let Some(depth) = self.lock().get_mut(queue) {
            depth.jobs = jobs.map(|jobs| jobs + depth.entered.saturating_sub(question.entered));
            depth.answered = Some(Instant::now());
            depth.asking = false;
        }
    }

    /// Returns how many messages wait in a queue, as far as is known.
    pub(crate) fn depth(&self, queue: &str) -> Option<u64> {
        self.lock().get(queue)?.jobs
    }

    /// Whether the row's queue has room; if so, takes it. A row larger than the window passes when its queue is empty,
    /// because otherwise it could never pass. Nothing passes to an unresponsive queue: a queue that does not report its
    /// depth will not take our messages either.
    pub(crate) fn enters(&self, row: &Dispatch) -> bool {
        if row.purpose != Purpose::Dispatch {
            return true;
        }
        let mut depths = self.lock();
        // What was never asked about is full until there is an answer.
        let Some(depth) = depths.get_mut(&row.queue) else { return false };
        let Some(before) = depth.jobs.filter(|jobs| self.fits(*jobs, row)) else { return false };
        depth.jobs = Some(before + row.jobs.len() as u64);
        depth.entered += row.jobs.len() as u64;
        true
    }

    fn fits(&self, before: u64, row: &Dispatch) -> bool {
        before == 0 || before + row.jobs.len() as u64 <= self.most
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Depth>> {
        self.depths.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use gristmill_core::id::JobId;
    use gristmill_core::job::Priority;
    use uuid::Uuid;

    use super::*;

    fn row(purpose: Purpose, jobs: usize) -> Dispatch {
        let jobs = (0..jobs).map(|job| JobId(Uuid::from_u128(job as u128))).collect();
        Dispatch { outbox: 1, queue: "mail".to_owned(), priority: Priority::Normal, purpose, jobs }
    }

    fn asked(windows: &Windows, jobs: Option<u64>) {
        let question = windows.asking("mail");
        windows.answered("mail", question, jobs);
    }

    #[tokio::test(start_paused = true)]
    async fn a_queue_is_asked_about_first_when_nothing_is_known_then_beside_and_first_again_after_a_second() {
        let (windows, row) = (Windows::new(100), row(Purpose::Dispatch, 10));
        assert_eq!((windows.ask(&row), windows.enters(&row)), (Ask::First, false));
        asked(&windows, Some(0));
        assert_eq!((windows.ask(&row), windows.enters(&row)), (Ask::Not, true));
        tokio::time::advance(FRESH_FOR).await;
        assert_eq!(windows.ask(&row), Ask::Beside);
        let question = windows.asking("mail");
        assert_eq!(windows.ask(&row), Ask::Not, "one question at a time");
        windows.answered("mail", question, Some(10));
        tokio::time::advance(STALE_AFTER).await;
        assert_eq!(windows.ask(&row), Ask::First);
    }

    #[tokio::test(start_paused = true)]
    async fn a_queue_that_seems_full_is_asked_about_before_a_row_waits() {
        let (windows, row) = (Windows::new(100), row(Purpose::Dispatch, 60));
        asked(&windows, Some(0));
        assert!(windows.enters(&row));
        assert!(!windows.enters(&row), "it is full");
        assert_eq!(windows.ask(&row), Ask::Not, "it was full a moment ago");
        tokio::time::advance(FULL_FOR).await;
        assert_eq!(windows.ask(&row), Ask::First);
        asked(&windows, Some(20));
        assert!(windows.enters(&row));
    }

    #[tokio::test(start_paused = true)]
    async fn what_entered_while_the_broker_was_asked_is_counted() {
        let windows = Windows::new(100);
        asked(&windows, Some(0));
        let question = windows.asking("mail");
        assert!(windows.enters(&row(Purpose::Dispatch, 60)));
        windows.answered("mail", question, Some(0));
        assert!(!windows.enters(&row(Purpose::Dispatch, 60)));
        assert!(windows.enters(&row(Purpose::Dispatch, 40)));
    }

    #[tokio::test(start_paused = true)]
    async fn a_row_that_is_larger_than_the_window_passes_when_its_queue_is_empty() {
        let windows = Windows::new(100);
        asked(&windows, Some(1));
        assert!(!windows.enters(&row(Purpose::Dispatch, 101)));
        asked(&windows, Some(0));
        assert!(windows.enters(&row(Purpose::Dispatch, 101)));
    }

    #[tokio::test(start_paused = true)]
    async fn nothing_passes_to_a_queue_that_gives_no_answer_but_copies_of_dead_letters_do() {
        let (windows, row, copy) = (Windows::new(100), row(Purpose::Dispatch, 1), row(Purpose::DeadLetter, 1));
        asked(&windows, None);
        assert_eq!((windows.ask(&row), windows.enters(&row)), (Ask::Not, false));
        tokio::time::advance(FRESH_FOR).await;
        assert_eq!((windows.ask(&row), windows.enters(&row)), (Ask::First, false));
        assert_eq!((windows.ask(&copy), windows.enters(&copy)), (Ask::Not, true));
    }
}
