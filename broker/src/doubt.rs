//! Queues that gave no answer: one at a time tries such a queue again, and nobody else waits for it.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// The queues in doubt, by name, and of each whether somebody is trying it just now.
#[derive(Debug, Default)]
pub struct Doubts(Mutex<HashMap<String, bool>>);

impl Doubts {
    /// Leave to try; none for a queue in doubt that somebody else is trying.
    pub fn enter(&self, place: &str) -> Option<Standing<'_>> {
        let probes = match self.lock().get_mut(place) {
            None => false,
            Some(tried) if *tried => return None,
            Some(tried) => {
                *tried = true;
                true
            }
        };
        Some(Standing { doubts: self, place: place.to_owned(), probes })
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, bool>> {
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

    /// It gave no answer.
    pub fn doubt(self) {
        self.doubts.lock().insert(self.place.clone(), false);
    }
}

impl Drop for Standing<'_> {
    fn drop(&mut self) {
        if self.probes
            && let Some(tried) = self.doubts.lock().get_mut(&self.place)
        {
            *tried = false;
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
        doubts.enter("a").unwrap().doubt();
        let probe = doubts.enter("a").unwrap();
        assert!(doubts.enter("a").is_none());
        assert!(doubts.enter("b").is_some());
        probe.doubt();
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
}
