//! The states of a job. [`crate::job`] draws how they follow each other.

crate::words! {
    /// Where a job is in its life cycle. Each state says how a job enters and leaves it.
    #[derive(PartialOrd, Ord)]
    pub enum JobState {
        /// Enqueued for a later time. Leaves by promotion when `run_at` has come, or by cancelling.
        Scheduled = "scheduled",
        /// May be claimed now. Leaves by a claim, or by cancelling.
        Queued = "queued",
        /// Claimed by a worker whose lease is alive. Leaves by settling, rescue, release or cancelling.
        Running = "running",
        /// Failed or snoozed, and waits for `run_at`. Leaves by promotion, by hand, or by cancelling.
        Retry = "retry",
        /// Finished well. Final.
        Done = "done",
        /// A dead letter: attempts spent, or the error is permanent. Final, until it is redriven.
        Dead = "dead",
        /// Called off. Final.
        Cancelled = "cancelled",
    }
}

impl JobState {
    /// Whether only a manual redrive can still change the job.
    pub fn is_final(self) -> bool {
        match self {
            Self::Done | Self::Dead | Self::Cancelled => true,
            Self::Scheduled | Self::Queued | Self::Running | Self::Retry => false,
        }
    }
}
