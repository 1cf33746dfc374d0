//! Unresponsive queues: one caller at a time tries such a queue again, and the others do not wait for it.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// How long a queue is reported after it was last found unresponsive. A process that no longer publishes to it does not
/// learn that it answers again; one that does publish tries more often than this.
const REPORTED_FOR: Duration = Duration::from_secs(60);

/// A queue that does not answer.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct UnresponsiveQueue {
    /// The queue, for people.
    pub place: String,
    /// Since when it has not answered.
    pub since: Instant,
}

/// The queues that did not answer, by their names for people.
#[derive(Debug, Default)]
pub struct CircuitBreaker(Mutex<HashMap<String, Trip>>);

#[derive(Debug)]
struct Trip {
    since: Instant,
    last: Instant,
    /// A caller is trying it now.
    tried: bool,
}

impl CircuitBreaker {
    /// Returns a permit to try it; `None` for an unresponsive queue that another caller is trying.
    pub fn enter(&self, place: &str) -> Option<Permit<'_>> {
        let probes = match self.lock().get_mut(place) {
            None => false,
            Some(trip) if trip.tried => return None,
            Some(trip) => {
                trip.tried = true;
                true
            }
        };
        Some(Permit { breaker: self, place: place.to_owned(), probes })
    }

    /// Returns the queues that were found unresponsive within the last minute.
    pub fn unresponsive(&self) -> Vec<UnresponsiveQueue> {
        let breaker = self.lock();
        let recent = breaker.iter().filter(|(_, trip)| trip.last.elapsed() < REPORTED_FOR);
        recent.map(|(place, trip)| UnresponsiveQueue { place: place.clone(), since: trip.since }).collect()
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Trip>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Permission to try a queue. Dropping it without an outcome changes nothing.
#[derive(Debug)]
pub struct Permit<'a> {
    breaker: &'a CircuitBreaker,
    place: String,
    probes: bool,
}

impl Permit<'_> {
    /// The queue answered.
    pub fn succeed(self) {
        self.breaker.lock().remove(&self.place);
    }

    /// The queue did not answer. Returns whether that is news.
    pub fn fail(self) -> bool {
        let now = Instant::now();
        let mut breaker = self.breaker.lock();
        let known = breaker.len();
        let trip = breaker.entry(self.place.clone()).or_insert(Trip { since: now, last: now, tried: false });
        (trip.last, trip.tried) = (now, false);
        breaker.len() > known
    }
}

impl Drop for Permit<'_> {
    fn drop(&mut self) {
        if self.probes
            && let Some(trip) = self.breaker.lock().get_mut(&self.place)
        {
            trip.tried = false;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_queue_that_answers_is_tried_by_everybody_at_once() {
        let breaker = CircuitBreaker::default();
        let (one, two) = (breaker.enter("a").unwrap(), breaker.enter("a").unwrap());
        one.succeed();
        two.succeed();
        assert!(breaker.enter("a").is_some());
    }

    #[test]
    fn an_unresponsive_queue_is_tried_by_one_at_a_time_and_the_others_by_everybody() {
        let breaker = CircuitBreaker::default();
        assert!(breaker.enter("a").unwrap().fail(), "it is news");
        let probe = breaker.enter("a").unwrap();
        assert!(breaker.enter("a").is_none());
        assert!(breaker.enter("b").is_some());
        assert!(!probe.fail(), "it was known");
        let probe = breaker.enter("a").expect("the next one may try");
        probe.succeed();
        let (one, two) = (breaker.enter("a"), breaker.enter("a"));
        assert!(one.is_some() && two.is_some(), "it has answered");
    }

    #[test]
    fn a_try_that_is_broken_off_leaves_the_next_one_its_turn() {
        let breaker = CircuitBreaker::default();
        breaker.enter("a").unwrap().fail();
        drop(breaker.enter("a").unwrap());
        assert!(breaker.enter("a").is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn a_silence_dates_from_its_beginning_and_is_forgotten_when_nobody_finds_it_again() {
        let (breaker, begun) = (CircuitBreaker::default(), Instant::now());
        breaker.enter("a").unwrap().fail();
        tokio::time::advance(REPORTED_FOR / 2).await;
        breaker.enter("a").unwrap().fail();
        tokio::time::advance(REPORTED_FOR / 2).await;
        assert_eq!(breaker.unresponsive(), [UnresponsiveQueue { place: "a".to_owned(), since: begun }]);
        tokio::time::advance(REPORTED_FOR).await;
        assert_eq!(breaker.unresponsive(), []);
        assert!(breaker.enter("a").is_some());
    }
}
