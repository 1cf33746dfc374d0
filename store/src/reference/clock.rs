//! The reference store's clock: the test controls it, and may make it leap or stand still.

use std::sync::{Arc, Mutex, PoisonError};

use chrono::{SubsecRound, TimeDelta};
use gristmill_core::Instant;

/// The digits of a second that a database stores: microseconds.
const DIGITS: u16 = 6;

/// A clock that begins at a given instant and runs as tokio's does: with `tokio::time::pause` it moves only when the
/// test lets it. All clones share one clock.
#[derive(Debug, Clone)]
pub struct Clock(Arc<Mutex<Hands>>);

#[derive(Debug)]
struct Hands {
    /// What it showed when it began.
    base: Instant,
    began: tokio::time::Instant,
    /// How far it has leapt since.
    leapt: TimeDelta,
    /// What it shows while it stands still.
    frozen: Option<Instant>,
}

impl Clock {
    /// A clock that shows `base` now.
    pub fn new(base: Instant) -> Self {
        let began = tokio::time::Instant::now();
        Self(Arc::new(Mutex::new(Hands { base, began, leapt: TimeDelta::zero(), frozen: None })))
    }

    /// What it shows, to the microsecond.
    pub fn now(&self) -> Instant {
        self.with(|hands| hands.now())
    }

    /// Moves it forward, or back if `by` is negative.
    pub fn leap(&self, by: TimeDelta) {
        self.with(|hands| {
            hands.leapt += by;
            if let Some(frozen) = &mut hands.frozen {
                *frozen += by;
            }
        });
    }

    /// Stops it.
    pub fn freeze(&self) {
        self.with(|hands| hands.frozen = Some(hands.now()));
    }

    /// Lets it continue from where it stands.
    pub fn thaw(&self) {
        self.with(|hands| {
            if let Some(stood) = hands.frozen.take() {
                hands.leapt += stood - hands.now();
            }
        });
    }

    fn with<T>(&self, look: impl FnOnce(&mut Hands) -> T) -> T {
        look(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Hands {
    fn now(&self) -> Instant {
        if let Some(stands) = self.frozen {
            return stands;
        }
        let elapsed = TimeDelta::from_std(self.began.elapsed()).unwrap_or(TimeDelta::MAX);
        (self.base + elapsed + self.leapt).trunc_subsecs(DIGITS)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_stands_still_leaps_and_goes_on_from_there() {
        let clock = Clock::new(Instant::UNIX_EPOCH);
        let second = clock.clone();
        clock.freeze();
        let stood = second.now();
        assert!(stood >= Instant::UNIX_EPOCH);
        clock.leap(TimeDelta::seconds(-13));
        assert_eq!(second.now(), stood - TimeDelta::seconds(13));
        assert_eq!(second.now(), second.now());
        clock.leap(TimeDelta::hours(5));
        clock.thaw();
        let goes = second.now();
        assert!(goes >= stood + TimeDelta::hours(5) - TimeDelta::seconds(13));
        assert!(second.now() >= goes);
    }
}
