//! When a batch will have ended.

use std::time::Duration;

use chrono::TimeDelta;
use gristmill_core::Instant;
use gristmill_core::eta::Estimate;
use serde::{Deserialize, Serialize};

gristmill_core::words! {
    /// Whether it is known when a batch will have ended.
    pub enum EtaState {
        /// Between two instants, in four of five cases.
        Between = "between",
        /// Not before an instant: a few chunks take so much longer than the others that no later end is known.
        AtLeast = "at_least",
        /// Too few chunks have finished.
        TooEarly = "too_early",
        /// No chunk has finished for longer than nearly all of them took.
        Stalled = "stalled",
        /// No chunk runs: what they wait for decides.
        Idle = "idle",
    }
}

/// When a batch will have ended, if things stay as they are.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct EtaDocument {
    /// Whether that is known.
    pub state: EtaState,
    /// Not before this instant; `null` unless `between` or `at_least`.
    #[schema(value_type = Option<chrono::DateTime<chrono::Utc>>)]
    pub soonest: Option<Instant>,
    /// As likely before as after it; `null` unless `between`, as the next one.
    #[schema(value_type = Option<chrono::DateTime<chrono::Utc>>)]
    pub likely: Option<Instant>,
    /// Not after this instant.
    #[schema(value_type = Option<chrono::DateTime<chrono::Utc>>)]
    pub latest: Option<Instant>,
}

impl EtaDocument {
    /// An estimate that was made at an instant.
    pub fn new(estimate: Estimate, now: Instant) -> Self {
        let none = |state| Self { state, soonest: None, likely: None, latest: None };
        let after = |time: Duration| TimeDelta::from_std(time).ok().and_then(|time| now.checked_add_signed(time));
        match estimate {
            Estimate::Early { .. } => none(EtaState::TooEarly),
            Estimate::Stalled { .. } => none(EtaState::Stalled),
            Estimate::Idle | Estimate::Over => none(EtaState::Idle),
            Estimate::AtLeast(soonest) => Self { soonest: after(soonest), ..none(EtaState::AtLeast) },
            Estimate::Between { soonest, likely, latest } => {
                Self { state: EtaState::Between, soonest: after(soonest), likely: after(likely), latest: after(latest) }
            }
        }
    }
}

/// What was said of a batch's end before, and how well it held: from its chunks, by the estimator as it is now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct EtaRecordDocument {
    /// By how many seconds its end is later than it was first said to be, if that was said; negative when it is earlier.
    pub slipped_seconds: Option<i64>,
    /// When the last of its chunks ended; `null` while any has not.
    #[schema(value_type = Option<chrono::DateTime<chrono::Utc>>)]
    pub ended_at: Option<Instant>,
    /// In how many of these a range was given; 0 while it has not ended.
    pub ranges: u64,
    /// How many of these ranges its end was within.
    pub held: u64,
    /// What was said, oldest first, at up to twelve moments.
    pub said: Vec<EtaSaidDocument>,
}

/// What was said at a moment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct EtaSaidDocument {
    /// When.
    #[schema(value_type = chrono::DateTime<chrono::Utc>)]
    pub at: Instant,
    /// What.
    pub eta: EtaDocument,
}
