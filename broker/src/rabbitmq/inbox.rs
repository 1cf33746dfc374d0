//! The buffer between the priorities of all queues and the consumer that takes from them.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use gristmill_core::job::Priority;
use tokio::sync::{Notify, watch};
use tokio::time::Instant;

/// Holds messages that have arrived and have not been handed out yet. The prefetch bounds it.
#[derive(Debug)]
pub(crate) struct Inbox<T> {
    priorities: Mutex<Priorities<T>>,
    arrived: Notify,
    asked: watch::Sender<Option<Asked>>,
}

/// A caller has asked for messages.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Asked {
    pub(crate) at: Instant,
    /// For how many it has room.
    pub(crate) room: usize,
}

impl<T> Inbox<T> {
    pub(crate) fn new() -> Self {
        Self { priorities: Mutex::new(Priorities::new()), arrived: Notify::new(), asked: watch::Sender::new(None) }
    }

    pub(crate) fn push(&self, priority: Priority, items: impl IntoIterator<Item = T>) {
        self.lock().waiting[priority as usize].extend(items);
        self.arrived.notify_one();
    }

    /// When a caller last had room for messages, and every time that one has.
    pub(crate) fn asked(&self) -> watch::Receiver<Option<Asked>> {
        self.asked.subscribe()
    }

    /// Returns the messages that are there, at most `max`; waits at most `wait` for the first one.
    pub(crate) async fn next(&self, max: usize, wait: Duration) -> Vec<T> {
        if max > 0 {
            self.asked.send_replace(Some(Asked { at: Instant::now(), room: max }));
        }
        let deadline = Instant::now() + wait;
        loop {
            let taken = self.lock().take(max);
            if !taken.is_empty() || max == 0 {
                return taken;
            }
            if tokio::time::timeout_at(deadline, self.arrived.notified()).await.is_err() {
                return self.lock().take(max);
            }
            // Messages seldom come alone: let in those that arrived with it.
            tokio::task::yield_now().await;
        }
    }

    /// Returns what this finds in the first message that it finds something in, in the order of arrival.
    pub(crate) fn first<R>(&self, priority: Priority, find: impl FnMut(&T) -> Option<R>) -> Option<R> {
        self.lock().waiting[priority as usize].iter().find_map(find)
    }

    /// Removes and returns the messages that are to be given back.
    pub(crate) fn remove(&self, priority: Priority, matches: impl FnMut(&T) -> bool) -> Vec<T> {
        let waiting = &mut self.lock().waiting[priority as usize];
        let (removed, kept) = waiting.drain(..).partition::<VecDeque<T>, _>(matches);
        *waiting = kept;
        removed.into()
    }

    fn lock(&self) -> MutexGuard<'_, Priorities<T>> {
        self.priorities.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[derive(Debug)]
struct Priorities<T> {
    waiting: [VecDeque<T>; 3],
    turn: u8,
}

impl<T> Priorities<T> {
    fn new() -> Self {
        Self { waiting: [VecDeque::new(), VecDeque::new(), VecDeque::new()], turn: 0 }
    }

    fn take(&mut self, max: usize) -> Vec<T> {
        let mut taken = Vec::new();
        while taken.len() < max {
            let order = order(self.turn);
            let Some(item) = order.into_iter().find_map(|priority| self.waiting[priority as usize].pop_front()) else {
                break;
            };
            self.turn = self.turn.wrapping_add(1);
            taken.push(item);
        }
        taken
    }
}

/// The order of the priorities in this turn. Of 16 turns, the high priority has 12, the normal priority 3 and the low
/// priority 1: urgent work is hardly slowed down, and nothing starves behind it. A priority that is empty leaves its
/// turn to the most urgent of the others.
fn order(turn: u8) -> [Priority; 3] {
    use Priority::{High, Low, Normal};
    match turn % 16 {
        15 => [Low, High, Normal],
        3 | 7 | 11 => [Normal, High, Low],
        _ => [High, Normal, Low],
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use gristmill_core::job::Priority::{High, Low, Normal};

    fn full(priorities: &[(Priority, usize)]) -> Inbox<Priority> {
        let inbox = Inbox::new();
        for (priority, count) in priorities {
            inbox.push(*priority, vec![*priority; *count]);
        }
        inbox
    }

    #[tokio::test(start_paused = true)]
    async fn urgent_messages_come_first_but_the_low_priority_does_not_starve() {
        let inbox = full(&[(High, 100), (Normal, 100), (Low, 100)]);
        let taken = inbox.next(64, Duration::ZERO).await;
        let count = |wanted| taken.iter().filter(|priority| **priority == wanted).count();
        assert_eq!((count(High), count(Normal), count(Low)), (48, 12, 4));
        assert_eq!(taken[0], High);
    }

    #[tokio::test(start_paused = true)]
    async fn an_empty_priority_leaves_its_turn_to_the_most_urgent() {
        let inbox = full(&[(Normal, 16), (Low, 2)]);
        let taken = inbox.next(16, Duration::ZERO).await;
        assert_eq!(taken.iter().position(|priority| *priority == Low), Some(15));
    }

    #[tokio::test(start_paused = true)]
    async fn an_empty_inbox_makes_wait_and_no_longer_than_asked() {
        let inbox: Inbox<Priority> = Inbox::new();
        let start = Instant::now();
        assert!(inbox.next(10, Duration::from_secs(5)).await.is_empty());
        assert_eq!(start.elapsed(), Duration::from_secs(5));
    }

    #[tokio::test(start_paused = true)]
    async fn an_arrival_ends_the_wait() {
        let inbox = full(&[]);
        let (taken, ()) = tokio::join!(inbox.next(10, Duration::from_secs(3600)), async {
            inbox.push(Low, [Low; 3]);
        });
        assert_eq!(taken.len(), 3);
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_removed_is_not_handed_out() {
        let inbox = full(&[(High, 2), (Low, 3)]);
        assert_eq!(inbox.remove(Low, |_| true).len(), 3);
        assert_eq!(inbox.next(10, Duration::ZERO).await, [High, High]);
    }
}
