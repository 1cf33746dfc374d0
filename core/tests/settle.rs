//! The whole table of `settle`: every ending at the first, a middle and the last attempt.

use std::fmt::Write as _;
use std::time::Duration;

use gristmill_core::duration::Span;
use gristmill_core::retry::RetryPolicy;
use gristmill_core::settle::{Ending, RETRY_AFTER_MAX, SNOOZE_MAX, Verdict, settle, snoozed};

const ENDINGS: [Ending; 11] = [
    Ending::Done,
    Ending::Failed { retry_after: None },
    Ending::Failed { retry_after: Some(Duration::from_secs(42)) },
    Ending::Permanent,
    Ending::Snoozed { wait: Duration::from_secs(42) },
    Ending::Panicked,
    Ending::TimedOut,
    Ending::Interrupted,
    Ending::WorkerLost,
    Ending::Cancelled,
    Ending::LeaseLost,
];

fn fixed() -> RetryPolicy {
    RetryPolicy::Fixed(Span(Duration::from_secs(7)))
}

#[test]
fn the_whole_table_of_endings_and_attempts_is_as_agreed() {
    let mut table = String::from("ending | attempt 1 of 3 | attempt 2 of 3 | attempt 3 of 3\n");
    for ending in ENDINGS {
        let cells: Vec<String> =
            (1..=3).map(|attempt| format!("{:?}", settle(ending, attempt, 3, &fixed(), 1.0))).collect();
        writeln!(table, "{ending:?} | {}", cells.join(" | ")).expect("a string takes everything");
    }
    insta::assert_snapshot!(table);
}

#[test]
fn the_last_failure_makes_a_dead_letter() {
    for ending in [Ending::Failed { retry_after: None }, Ending::Panicked, Ending::TimedOut, Ending::WorkerLost] {
        assert_ne!(settle(ending, 4, 5, &fixed(), 0.5), Verdict::Dead, "{ending:?}");
        assert_eq!(settle(ending, 5, 5, &fixed(), 0.5), Verdict::Dead, "{ending:?}");
        assert_eq!(settle(ending, 1, 1, &fixed(), 0.5), Verdict::Dead, "{ending:?}");
    }
}

#[test]
fn a_graceful_stop_never_spends_an_attempt_not_even_the_last_one() {
    for attempt in 1..=5 {
        assert_eq!(settle(Ending::Interrupted, attempt, 5, &fixed(), 0.5), Verdict::Release);
    }
}

#[test]
fn a_retry_after_is_honoured_up_to_a_day() {
    let asked =
        |seconds| settle(Ending::Failed { retry_after: Some(Duration::from_secs(seconds)) }, 1, 5, &fixed(), 0.5);
    assert_eq!(asked(90), Verdict::Retry { after: Duration::from_secs(90) });
    assert_eq!(asked(1_000_000), Verdict::Retry { after: RETRY_AFTER_MAX });
}

#[test]
#[should_panic(expected = "attempts are counted from one")]
fn an_attempt_that_was_never_claimed_cannot_end() {
    let _ = settle(Ending::Done, 0, 5, &fixed(), 0.5);
}

#[test]
fn a_snooze_never_spends_an_attempt_and_waits_a_week_at_most() {
    let asked = |seconds| settle(Ending::Snoozed { wait: Duration::from_secs(seconds) }, 5, 5, &fixed(), 0.5);
    assert_eq!(asked(90), Verdict::Snooze { after: Duration::from_secs(90) });
    assert_eq!(asked(10_000_000), Verdict::Snooze { after: SNOOZE_MAX });
}

#[test]
fn a_snooze_beyond_the_ceiling_is_a_failure_that_asks_for_the_same_wait() {
    let wait = Duration::from_secs(60);
    assert_eq!(snoozed(wait, 2, 3), Ending::Snoozed { wait });
    assert_eq!(snoozed(wait, 3, 3), Ending::Failed { retry_after: Some(wait) });
    assert_eq!(snoozed(wait, 0, 0), Ending::Failed { retry_after: Some(wait) });
}
