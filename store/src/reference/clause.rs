//! Clauses of the contract that can be removed, to see whether a suite of tests notices.

/// A clause that a [`super::ReferenceStore`] keeps unless it is made without it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Clause {
    /// A completion is recorded only if its fence holds. Without it any completion is, for a job in any state.
    Fence,
    /// The fence names attempt and incarnation. Without it, it is enough that the job is `running`.
    FenceNamesTheAttempt,
    /// The fan-in is in the transaction of the completion. Without it, it comes a millisecond later in a transaction of
    /// its own, and is lost when the process dies between the two.
    FanInWithCompletion,
    /// An incarnation that is over claims nothing.
    ClaimerIsAlive,
    /// Only a job that is `queued` is claimed. Without it a `running` job is claimed again by a second message.
    ClaimOnce,
    /// A rescued attempt stays spent. Without it the attempt is given back, and its fence is used twice.
    RescueSpendsTheAttempt,
    /// What follows from a transition is in the outbox when it commits. Without it, only the caller knows.
    OutboxWithTransition,
    /// A batch ends with its aggregate when that dies. Without it the batch waits for ever.
    DeadAggregateEndsItsBatch,
    /// A delivery of events moves a cursor that is where it begins. Without it any delivery does, and its events start
    /// what they start once more.
    DeliveryGuardedByCursor,
}

impl Clause {
    /// All of them.
    pub const ALL: [Self; 9] = [
        Self::Fence,
        Self::FenceNamesTheAttempt,
        Self::FanInWithCompletion,
        Self::ClaimerIsAlive,
        Self::ClaimOnce,
        Self::RescueSpendsTheAttempt,
        Self::OutboxWithTransition,
        Self::DeadAggregateEndsItsBatch,
        Self::DeliveryGuardedByCursor,
    ];
}
