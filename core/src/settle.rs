//! What happens when an attempt ends: the one place that decides done, retry, snooze or dead.
//!
//! There are two callers. The worker calls it when a handler has ended; the store's rescue calls it when a worker's
//! lease has run out or a deadline has passed. Both pass an [`Ending`], and both record the [`Verdict`] in the
//! transaction that closes the attempt. A third case comes too late: when the store has already closed the attempt
//! (cancelled, or given to another worker), nothing is written.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::job_state::JobState;
use crate::retry::RetryPolicy;

/// How one attempt ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Ending {
    /// The handler returned a result.
    Done,
    /// The handler returned an error that may be temporary; it may say how long to wait.
    Failed {
        /// A wait that the other side asked for (`Retry-After`), used instead of the policy's.
        retry_after: Option<Duration>,
    },
    /// The handler returned an error that no retry can fix.
    Permanent,
    /// The handler reports that nothing is wrong, but asks to run later. No attempt is spent. Made by [`snoozed`].
    Snoozed {
        /// How long.
        wait: Duration,
    },
    /// The handler panicked.
    Panicked,
    /// The attempt took longer than its timeout.
    TimedOut,
    /// The worker stopped gracefully before the handler had finished.
    Interrupted,
    /// The worker's lease ran out: it is dead, or cut off.
    WorkerLost,
    /// The job was cancelled while it ran. The cancel itself has closed the attempt.
    Cancelled,
    /// What the worker finds when it wakes: another worker has taken over. The rescue has closed the attempt.
    LeaseLost,
}

impl Ending {
    /// The word for it in the attempt's row, in logs and on pages.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Failed { .. } => "failed",
            Self::Permanent => "permanent",
            Self::Panicked => "panicked",
            Self::TimedOut => "timed_out",
            Self::Snoozed { .. } => "snoozed",
            Self::Interrupted => "interrupted",
            Self::WorkerLost => "worker_lost",
            Self::Cancelled => "cancelled",
            Self::LeaseLost => "lease_lost",
        }
    }
}

/// What happens to the job.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// State `done`.
    Done,
    /// State `retry`, due after the wait by the database's clock.
    Retry {
        /// How long.
        after: Duration,
    },
    /// State `queued` again, at once, and the attempt stays spent.
    Requeue,
    /// State `queued` again, at once, and the attempt is given back.
    Release,
    /// State `retry`, due after the wait, and no attempt is spent: the attempt number stays, since it is part of the
    /// fence, and the limit rises by one.
    Snooze {
        /// How long.
        after: Duration,
    },
    /// State `dead`.
    Dead,
    /// Nothing is written: the store has already closed the attempt.
    Revoked,
}

impl Verdict {
    /// The state that the job enters. For [`Verdict::Revoked`] nothing is written and no caller asks for its state; it
    /// counts as queued.
    pub fn state(self) -> JobState {
        match self {
            Self::Done => JobState::Done,
            Self::Retry { .. } | Self::Snooze { .. } => JobState::Retry,
            Self::Requeue | Self::Release | Self::Revoked => JobState::Queued,
            Self::Dead => JobState::Dead,
        }
    }
}

/// The longest wait that another side's `Retry-After` can ask for: one day.
pub const RETRY_AFTER_MAX: Duration = Duration::from_secs(86_400);

/// The longest wait of one snooze: seven days.
pub const SNOOZE_MAX: Duration = Duration::from_secs(7 * 86_400);

/// How many times a job may be snoozed unless its enqueuer says otherwise.
pub const SNOOZES_MAX: u32 = 100;

/// Decides how an attempt ends that asks to be snoozed, when its job has been snoozed `snoozes` times already and may
/// be snoozed `most` times. Beyond that it has failed; otherwise a job could go on for ever unnoticed.
pub fn snoozed(wait: Duration, snoozes: u32, most: u32) -> Ending {
    if snoozes < most { Ending::Snoozed { wait } } else { Ending::Failed { retry_after: Some(wait) } }
}

/// Decides what happens to a job whose attempt has just ended.
///
/// `attempt` counts from 1; snoozed attempts are excluded both from it and from `max_attempts`. `random` is a uniform
/// draw from 0 to 1 for the policy's jitter.
///
/// # Panics
///
/// When `attempt` is 0: no attempt can end before it was claimed.
pub fn settle(ending: Ending, attempt: u32, max_attempts: u32, policy: &RetryPolicy, random: f64) -> Verdict {
    assert!(attempt >= 1, "attempts are counted from one");
    let spent = attempt >= max_attempts;
    match ending {
        Ending::Done => Verdict::Done,
        Ending::Permanent => Verdict::Dead,
        Ending::Snoozed { wait } => Verdict::Snooze { after: wait.min(SNOOZE_MAX) },
        Ending::Cancelled | Ending::LeaseLost => Verdict::Revoked,
        // A deploy must never spend an attempt, not even the last one.
        Ending::Interrupted => Verdict::Release,
        Ending::Failed { .. } | Ending::Panicked | Ending::TimedOut | Ending::WorkerLost if spent => Verdict::Dead,
        Ending::Failed { retry_after: Some(wait) } => Verdict::Retry { after: wait.min(RETRY_AFTER_MAX) },
        Ending::Failed { retry_after: None } | Ending::Panicked | Ending::TimedOut => {
            Verdict::Retry { after: policy.wait(attempt, random) }
        }
        // Waiting for the lease to expire was delay enough, and the job itself may be innocent.
        Ending::WorkerLost => Verdict::Requeue,
    }
}
