//! A relay that fails is left alone for a while, and then tried with one message.
//!
//! ```text
//! closed ──► open ──► half_open ──► closed
//!    │        ▲           └──► open (for longer)
//!    └──► suspended, by hand and until it is resumed
//! ```
//!
//! What counts as a failure is that no message got through because of the relay: it cannot be reached, breaks off, sends
//! us away. What it refuses of a message or a recipient says nothing about it.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::Instant;

/// How long failures are counted together.
pub const WINDOW: Duration = Duration::from_secs(60);

/// Fewer failures than this open nothing.
pub const FAILURES_MIN: u32 = 5;

/// The first pause after failures. Each pause that follows without a message between is twice as long.
pub const PAUSE: Duration = Duration::from_secs(30);

/// The longest pause after failures.
pub const PAUSE_MAX: Duration = Duration::from_secs(15 * 60);

/// The first pause when the relay does not let us in: only a person can mend that.
pub const FAULT_PAUSE: Duration = Duration::from_secs(5 * 60);

/// The longest such pause.
pub const FAULT_PAUSE_MAX: Duration = Duration::from_secs(3_600);

/// How long the one that tries has, before another may try.
pub const PROBE: Duration = Duration::from_secs(120);

crate::words! {
    /// Whether a relay is used.
    pub enum BreakerState {
        /// It is used.
        Closed = "closed",
        /// It has failed, and is left alone for a while.
        Open = "open",
        /// One message tries whether it works again.
        HalfOpen = "half_open",
        /// A person has put it out of use.
        Suspended = "suspended",
    }
}

/// What is known of a relay.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct Breaker {
    /// Whether it is used.
    pub state: BreakerState,
    /// Since when.
    #[cfg_attr(feature = "schema", schema(value_type = chrono::DateTime<chrono::Utc>))]
    pub since: Instant,
    /// Until when it is left alone, or until when one may try it.
    #[cfg_attr(feature = "schema", schema(value_type = Option<chrono::DateTime<chrono::Utc>>))]
    pub until: Option<Instant>,
    /// Since when messages and failures are counted.
    #[cfg_attr(feature = "schema", schema(value_type = chrono::DateTime<chrono::Utc>))]
    pub counted_from: Instant,
    /// The messages that it has taken since then.
    pub taken: u32,
    /// The failures since then.
    pub failed: u32,
    /// How many pauses there were without a message between.
    pub pauses: u32,
    /// Whether it does not let us in: its password or its certificate has to be seen to.
    pub fault: bool,
    /// What it failed with last, or why it is suspended.
    pub why: Option<String>,
}

/// What happens to a relay.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RelayEvent {
    /// It is there: noted once by each process that uses it.
    Known,
    /// It has taken so many messages since the last time that this was said.
    Took(u32),
    /// It could not be reached, broke off, or sent us away.
    Failed(String),
    /// It does not let us in, or its certificate is not trusted: no retry mends that.
    Fault(String),
    /// A worker wants to try it with one message.
    Probe,
    /// A person puts it out of use.
    Suspend(String),
    /// A person says that it may be used again.
    Resume,
}

/// Whether a relay can be used now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// It can.
    Usable,
    /// Its pause is over: one worker may try it with one message.
    ToBeTried,
    /// Not before then. `None`: not before a person says so.
    Paused(Option<Instant>),
}

impl Breaker {
    /// One of which nothing is known yet.
    pub fn new(now: Instant) -> Self {
        let state = BreakerState::Closed;
        let (taken, failed, pauses) = (0, 0, 0);
        Self { state, since: now, until: None, counted_from: now, taken, failed, pauses, fault: false, why: None }
    }

    /// Whether it can be used now.
    pub fn standing(&self, now: Instant) -> Standing {
        match (self.state, self.until) {
            (BreakerState::Closed, _) => Standing::Usable,
            (BreakerState::Suspended, _) => Standing::Paused(None),
            (BreakerState::Open | BreakerState::HalfOpen, Some(until)) if now < until => Standing::Paused(Some(until)),
            (BreakerState::Open | BreakerState::HalfOpen, _) => Standing::ToBeTried,
        }
    }

    /// What it becomes by an event. `None` when the event changes nothing, and for a try whose turn it is not.
    #[must_use]
    pub fn after(&self, event: &RelayEvent, now: Instant) -> Option<Self> {
        use BreakerState as S;
        match (event, self.state) {
            (RelayEvent::Known, _) => None,
            (RelayEvent::Resume, S::Closed) if self.failed == 0 => None,
            (RelayEvent::Resume, _) => Some(Self::new(now)),
            (RelayEvent::Suspend(_), S::Suspended) => None,
            (RelayEvent::Suspend(why), _) => {
                Some(Self { state: S::Suspended, since: now, why: Some(why.clone()), ..Self::new(now) })
            }
            // What was under way when it was suspended or left alone ends as it ends.
            (_, S::Suspended) => None,
            (RelayEvent::Took(_) | RelayEvent::Failed(_), S::Open) => None,
            (RelayEvent::Took(0), _) => None,
            (RelayEvent::Took(count), S::Closed) => {
                let counted = self.counted(now);
                Some(Self { taken: counted.taken.saturating_add(*count), pauses: 0, ..counted })
            }
            (RelayEvent::Took(_), S::HalfOpen) => Some(Self::new(now)),
            (RelayEvent::Failed(why), S::Closed) => {
                let counted = self.counted(now);
                let failing = Self { failed: counted.failed.saturating_add(1), why: Some(why.clone()), ..counted };
                Some(if failing.fails() { failing.opened(false, now) } else { failing })
            }
            (RelayEvent::Failed(why), S::HalfOpen) => {
                Some(Self { why: Some(why.clone()), ..self.clone() }.opened(self.fault, now))
            }
            (RelayEvent::Fault(_), S::Open) if self.fault => None,
            (RelayEvent::Fault(why), _) => Some(Self { why: Some(why.clone()), ..self.clone() }.opened(true, now)),
            (RelayEvent::Probe, _) => (self.standing(now) == Standing::ToBeTried).then(|| Self {
                state: S::HalfOpen,
                since: now,
                until: Some(now + PROBE),
                ..self.clone()
            }),
        }
    }

    /// The same with counts that are no older than the window.
    fn counted(&self, now: Instant) -> Self {
        let age = (now - self.counted_from).to_std().unwrap_or_default();
        if age < WINDOW { self.clone() } else { Self { counted_from: now, taken: 0, failed: 0, ..self.clone() } }
    }

    /// At least half of what was tried has failed.
    fn fails(&self) -> bool {
        self.failed >= FAILURES_MIN && self.failed >= self.taken
    }

    fn opened(&self, fault: bool, now: Instant) -> Self {
        let (first, most) = if fault { (FAULT_PAUSE, FAULT_PAUSE_MAX) } else { (PAUSE, PAUSE_MAX) };
        let pause = first.saturating_mul(1 << self.pauses.min(10)).min(most);
        let pauses = self.pauses.saturating_add(1);
        Self { state: BreakerState::Open, since: now, until: Some(now + pause), pauses, fault, ..self.clone() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> Instant {
        Instant::from_timestamp(1_700_000_000 + seconds, 0).expect("an instant")
    }

    fn failed() -> RelayEvent {
        RelayEvent::Failed("gone".to_owned())
    }

    fn all(breaker: Breaker, events: &[RelayEvent], now: Instant) -> Breaker {
        events.iter().fold(breaker, |breaker, event| breaker.after(event, now).unwrap_or(breaker))
    }

    fn open(at: Instant) -> Breaker {
        all(Breaker::new(at), &vec![failed(); 5], at)
    }

    #[test]
    fn it_opens_when_half_of_what_is_tried_fails_and_not_for_less() {
        let few = all(Breaker::new(at(0)), &vec![failed(); 4], at(0));
        assert_eq!((few.state, few.failed), (BreakerState::Closed, 4));
        let mixed = all(Breaker::new(at(0)), &[vec![RelayEvent::Took(6)], vec![failed(); 5]].concat(), at(0));
        assert_eq!(mixed.state, BreakerState::Closed, "five of eleven");
        assert_eq!(all(mixed, &[failed()], at(0)).state, BreakerState::Open, "six of twelve");
        let slow = all(few, &[failed()], at(60));
        assert_eq!((slow.state, slow.failed), (BreakerState::Closed, 1), "the window is over");
    }

    #[test]
    fn one_tries_it_when_the_pause_is_over_and_a_lost_one_is_replaced() {
        let open = open(at(0));
        assert_eq!((open.state, open.standing(at(29))), (BreakerState::Open, Standing::Paused(Some(at(30)))));
        assert_eq!(open.after(&RelayEvent::Probe, at(29)), None);
        let tried = open.after(&RelayEvent::Probe, at(30)).expect("its turn");
        assert_eq!(tried.after(&RelayEvent::Probe, at(149)), None, "another is at it");
        assert!(tried.after(&RelayEvent::Probe, at(150)).is_some(), "that one was lost");
        let well = tried.after(&RelayEvent::Took(1), at(31)).expect("closed");
        assert_eq!((well.state, well.pauses, well.why), (BreakerState::Closed, 0, None));
    }

    #[test]
    fn each_pause_is_twice_as_long_up_to_the_longest() {
        let (mut breaker, mut now, mut pauses) = (open(at(0)), at(0), Vec::new());
        for _ in 0..8 {
            let until = breaker.until.expect("a pause");
            pauses.push((until - now).num_seconds());
            now = until;
            breaker = all(breaker, &[RelayEvent::Probe, failed()], now);
        }
        assert_eq!(pauses, [30, 60, 120, 240, 480, 900, 900, 900]);
    }

    #[test]
    fn a_relay_that_does_not_let_us_in_is_left_alone_at_once_and_says_so() {
        let fault = Breaker::new(at(0)).after(&RelayEvent::Fault("535".to_owned()), at(0)).expect("open");
        assert_eq!((fault.state, fault.fault, fault.until), (BreakerState::Open, true, Some(at(300))));
        let again = all(fault.clone(), &[RelayEvent::Probe, RelayEvent::Fault("535".to_owned())], at(300));
        assert_eq!(again.until, Some(at(900)), "ten minutes");
        let late = all(fault.clone(), &[failed(), RelayEvent::Took(1), RelayEvent::Fault("x".to_owned())], at(1));
        assert_eq!(late, fault, "what was under way changes nothing");
        assert_eq!(fault.after(&RelayEvent::Resume, at(2)), Some(Breaker::new(at(2))));
    }

    #[test]
    fn what_a_person_has_suspended_only_a_person_resumes() {
        let off = Breaker::new(at(0)).after(&RelayEvent::Suspend("moving".to_owned()), at(0)).expect("suspended");
        assert_eq!(off.standing(at(1_000_000)), Standing::Paused(None));
        for event in [RelayEvent::Took(1), failed(), RelayEvent::Fault("x".to_owned()), RelayEvent::Probe] {
            assert_eq!(off.after(&event, at(9)), None, "{event:?}");
        }
        assert_eq!(off.after(&RelayEvent::Resume, at(9)), Some(Breaker::new(at(9))));
        assert_eq!(Breaker::new(at(0)).after(&RelayEvent::Resume, at(9)), None);
    }
}
