//! Queues that gave no answer: one at a time tries such a queue again, and nobody else waits for it.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// A queue is told of for so long after it was last found silent. Whoever does not publish to it any more does not
/// learn that it answers again; whoever does tries more often than this.
const TOLD_FOR: Duration = Duration::from_secs(60);

/// A queue that gives no answer.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Silence {
    /// The queue, for people.
    pub place: String,
    /// Since when.
    pub since: Instant,
}

/// The queues in doubt, by what people call them.
#[derive(Debug, Default)]
pub struct Doubts(Mutex<HashMap<String, Doubt>>);

#[derive(Debug)]
struct Doubt {
    since: Instant,
    last: Instant,
    /// Somebody is trying it just now.
    tried: bool,
}

impl Doubts {
    /// Leave to try; none for a queue in doubt that somebody else is trying.
    pub fn enter(&self, place: &str) -> Option<Standing<'_>> {
        let probes = match self.lock().get_mut(place) {
            None => false,
            Some(doubt) if doubt.tried => return None,
            Some(doubt) => {
                doubt.tried = true;
                true
            }
        };
        Some(Standing { doubts: self, place: place.to_owned(), probes })
    }

    /// Those that were found silent within the last minute.
    pub fn silent(&self) -> Vec<Silence> {
        let doubts = self.lock();
        let told = doubts.iter().filter(|(_, doubt)| doubt.last.elapsed() < TOLD_FOR);
        told.map(|(place, doubt)| Silence { place: place.clone(), since: doubt.since }).collect()
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Doubt>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Leave to try a queue. Dropped without a word, it leaves things as they were.
#[derive(Debug)]
pub struct Standing<'a> {
    doubts: &'a Doubts,
    place: String,
    probes: bool,
}

impl Standing<'_> {
    /// It answers.
    pub fn trust(self) {
        self.doubts.lock().remove(&self.place);
    }

    /// It gave no answer: whether that is news.
    pub fn doubt(self) -> bool {
        let now = Instant::now();
        let mut doubts = self.doubts.lock();
        let known = doubts.len();
        let doubt = doubts.entry(self.place.clone()).or_insert(Doubt { since: now, last: now, tried: false });
        (doubt.last, doubt.tried) = (now, false);
        doubts.len() > known
    }
}

impl Drop for Standing<'_> {
    fn drop(&mut self) {
        if self.probes
            && let Some(doubt) = self.doubts.lock().get_mut(&self.place)
        {
            doubt.tried = false;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_queue_that_answers_is_tried_by_everybody_at_once() {
        let doubts = Doubts::default();
        let (one, two) = (doubts.enter("a").unwrap(), doubts.enter("a").unwrap());
        one.trust();
        two.trust();
        assert!(doubts.enter("a").is_some());
    }

    #[test]
    fn a_queue_in_doubt_is_tried_by_one_at_a_time_and_the_others_by_everybody() {
        let doubts = Doubts::default();
        assert!(doubts.enter("a").unwrap().doubt(), "it is news");
        let probe = doubts.enter("a").unwrap();
        assert!(doubts.enter("a").is_none());
        assert!(doubts.enter("b").is_some());
        assert!(!probe.doubt(), "it was known");
        let probe = doubts.enter("a").expect("the next one may try");
        probe.trust();
        let (one, two) = (doubts.enter("a"), doubts.enter("a"));
        assert!(one.is_some() && two.is_some(), "it has answered");
    }

    #[test]
    fn a_try_that_is_broken_off_leaves_the_next_one_its_turn() {
        let doubts = Doubts::default();
        doubts.enter("a").unwrap().doubt();
        drop(doubts.enter("a").unwrap());
        assert!(doubts.enter("a").is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn a_silence_dates_from_its_beginning_and_is_forgotten_when_nobody_finds_it_again() {
        let (doubts, begun) = (Doubts::default(), Instant::now());
        doubts.enter("a").unwrap().doubt();
        tokio::time::advance(TOLD_FOR / 2).await;
        doubts.enter("a").unwrap().doubt();
        tokio::time::advance(TOLD_FOR / 2).await;
        assert_eq!(doubts.silent(), [Silence { place: "a".to_owned(), since: begun }]);
        tokio::time::advance(TOLD_FOR).await;
        assert_eq!(doubts.silent(), []);
        assert!(doubts.enter("a").is_some());
    }
}
