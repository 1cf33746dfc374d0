//! What keeps the store from working, from the first failed transaction until one succeeds again.

use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use crate::error::StoreError;

/// Something that keeps the store from working.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outage {
    /// The latest error.
    pub reason: String,
    /// What to do about it.
    pub remedy: &'static str,
    /// When it occurred first.
    pub since: Instant,
    /// Whether the disk is full: a successful write clears it, a successful read does not.
    full: bool,
}

/// The store's own condition, as observed in its transactions.
#[derive(Debug, Default)]
pub(crate) struct Condition(Mutex<Option<Outage>>);

impl Condition {
    /// A transaction succeeded. One that changed nothing does not show whether the disk has room.
    pub(crate) fn well(&self, wrote: bool) {
        let mut outage = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if outage.as_ref().is_some_and(|outage| wrote || !outage.full) {
            *outage = None;
        }
    }

    /// A lease was prolonged, on a connection that is not the pool's: the disk has room. Whether the pool has a
    /// connection, this does not show.
    pub(crate) fn has_room(&self) {
        let mut outage = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if outage.as_ref().is_some_and(|outage| outage.full) {
            *outage = None;
        }
    }

    /// A transaction failed. What concerns only the caller is no trouble of the store.
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
    fn a_lease_that_is_prolonged_ends_a_full_disk_and_no_exhausted_pool() {
        let condition = Condition::default();
        condition.failed(&StoreError::Full("disk full".to_owned()));
        condition.has_room();
        assert_eq!(condition.outage(), None);
        condition.failed(&StoreError::Unavailable("all connections are in use".to_owned()));
        condition.has_room();
        assert!(condition.outage().is_some());
    }

    #[test]
    fn what_was_asked_wrongly_is_no_trouble_of_the_store() {
        let condition = Condition::default();
        condition.failed(&StoreError::Conflict("it is complete already".to_owned()));
        assert_eq!(condition.outage(), None);
    }
}
