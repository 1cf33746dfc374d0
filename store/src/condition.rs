//! What the store runs into, from the first failure of its transactions until one goes through again.

use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use crate::error::{Result, StoreError};

/// Something that keeps the store from working.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outage {
    /// What was said last.
    pub reason: String,
    /// What to do about it.
    pub remedy: &'static str,
    /// When it was met first.
    pub since: Instant,
    /// Whether it is want of room, which reading gets over and writing does not.
    full: bool,
}

/// The store's own condition, known by what its transactions experience.
#[derive(Debug, Default)]
pub(crate) struct Condition(Mutex<Option<Outage>>);

impl Condition {
    /// Takes note of how a transaction ended; `wrote` is whether it changed anything.
    pub(crate) fn note<T>(&self, result: &Result<T>, wrote: bool) {
        match result {
            Ok(_) => self.well(wrote),
            Err(error) => self.failed(error),
        }
    }

    /// A transaction went through. One that changed nothing says nothing of the room on the disk.
    pub(crate) fn well(&self, wrote: bool) {
        let mut outage = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if outage.as_ref().is_some_and(|outage| wrote || !outage.full) {
            *outage = None;
        }
    }

    /// A transaction failed. What only concerns whoever asked is no trouble of the store.
    pub(crate) fn failed(&self, error: &StoreError) {
        let Some(remedy) = error.remedy() else { return };
        let mut outage = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let since = outage.as_ref().map_or_else(Instant::now, |outage| outage.since);
        let full = matches!(error, StoreError::Full(_));
        *outage = Some(Outage { reason: error.to_string(), remedy, since, full });
    }

    /// What it is, if anything.
    pub(crate) fn outage(&self) -> Option<Outage> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn trouble_lasts_from_the_first_failure_to_the_first_success() {
        let condition = Condition::default();
        condition.failed(&StoreError::Unavailable("refused".to_owned()));
        let first = condition.outage().expect("outage");
        condition.failed(&StoreError::Unavailable("still refused".to_owned()));
        let second = condition.outage().expect("outage");
        assert_eq!((second.since, second.reason.contains("still refused")), (first.since, true));
        condition.well(false);
        assert_eq!(condition.outage(), None);
    }

    #[test]
    fn a_full_disk_is_over_when_something_was_written_and_not_before() {
        let condition = Condition::default();
        condition.failed(&StoreError::Full("disk full".to_owned()));
        condition.well(false);
        assert!(condition.outage().is_some_and(|outage| outage.remedy.contains("make room")));
        condition.well(true);
        assert_eq!(condition.outage(), None);
    }

    #[test]
    fn what_was_asked_wrongly_is_no_trouble_of_the_store() {
        let condition = Condition::default();
        condition.failed(&StoreError::Conflict("it is complete already".to_owned()));
        assert_eq!(condition.outage(), None);
    }
}
