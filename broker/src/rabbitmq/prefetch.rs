//! How many messages one priority of one queue holds in advance: as many as find a free slot soon, and none at all
//! while no slot comes free.
//!
//! What a consumer holds, no other consumer can have. A worker that is full must not keep the messages that an idle one
//! could run, and a worker whose jobs are short must not wait for the broker after each of them.

use std::time::Duration;

/// What was seen since the last look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Observed {
    /// How many messages were handed out.
    pub(crate) handed_out: usize,
    /// How long the oldest message that is here has waited. `None` when none waits.
    pub(crate) oldest: Option<Duration>,
    /// How long ago a caller last had room for messages. `None` when none ever had.
    pub(crate) asked: Option<Duration>,
}

/// Returns how many messages to hold from now on, 0 to `most`, when it was `now`. At 0 nothing is consumed until a
/// caller has room again, and `now` is above 0: nothing is observed while nothing is consumed.
///
/// A message that has waited for `hold` shows that too many are held: then those that wait go back, and only as many as
/// were handed out since the last look are taken from now on. When no caller has had room for so long either, none are.
pub(crate) fn adapt(now: u16, most: u16, hold: Duration, observed: Observed) -> u16 {
    let handed_out = u16::try_from(observed.handed_out).unwrap_or(u16::MAX);
    if observed.oldest.is_some_and(|oldest| oldest >= hold) {
        return match observed.asked {
            Some(ago) if ago < hold => handed_out.clamp(1, (now / 2).max(1)),
            Some(_) | None => 0,
        };
    }
    if handed_out >= now { handed_out.max(now.saturating_mul(2)).min(most) } else { now }
}

/// Returns how many messages to hold when consuming begins again for a caller that has room for `room`.
pub(crate) fn resume(room: usize, most: u16) -> u16 {
    u16::try_from(room).unwrap_or(u16::MAX).clamp(1, most)
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOLD: Duration = Duration::from_secs(1);

    fn observed(handed_out: usize, oldest: Option<u64>, asked: Option<u64>) -> Observed {
        let (oldest, asked) = (oldest.map(Duration::from_millis), asked.map(Duration::from_millis));
        Observed { handed_out, oldest, asked }
    }

    #[test]
    fn a_caller_without_room_holds_nothing() {
        assert_eq!(adapt(32, 512, HOLD, observed(0, Some(1_000), Some(1_200))), 0);
        assert_eq!(adapt(32, 512, HOLD, observed(0, Some(1_000), None)), 0);
        assert_eq!(adapt(32, 512, HOLD, observed(0, Some(999), Some(1_200))), 32, "a slot may come free yet");
    }

    #[test]
    fn what_waits_too_long_while_others_are_handed_out_makes_it_hold_what_goes_through_in_a_look() {
        assert_eq!(adapt(512, 512, HOLD, observed(40, Some(1_500), Some(3))), 40);
        assert_eq!(adapt(512, 512, HOLD, observed(500, Some(1_500), Some(3))), 256, "it always holds less than before");
        assert_eq!(adapt(1, 512, HOLD, observed(0, Some(1_500), Some(3))), 1);
    }

    #[test]
    fn what_goes_through_faster_than_it_is_held_is_held_in_greater_number() {
        assert_eq!(adapt(1, 512, HOLD, observed(1, None, Some(3))), 2);
        assert_eq!(adapt(1, 512, HOLD, observed(200, None, Some(3))), 200);
        assert_eq!(adapt(400, 512, HOLD, observed(400, Some(10), Some(3))), 512);
        assert_eq!(adapt(16, 512, HOLD, observed(15, Some(10), Some(3))), 16);
        assert_eq!(adapt(u16::MAX, u16::MAX, HOLD, observed(1_000_000, None, Some(3))), u16::MAX);
    }

    #[test]
    fn consuming_begins_again_with_what_there_is_room_for() {
        assert_eq!((resume(0, 512), resume(3, 512), resume(10_000, 512)), (1, 3, 512));
    }
}
