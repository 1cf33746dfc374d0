//! Clauses of the contract that can be taken away, to see whether a suite of tests has teeth.

/// A clause that a [`super::ReferenceStore`] keeps unless it is told otherwise.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Clause {
    /// A completion is written down only where its fence holds. Without it any completion is, of a job in
    /// whatever state.
    Fence,
    /// The fence names attempt and incarnation. Without it, it is enough that the job is `running`.
    FenceNamesTheAttempt,
    /// The fan-in is in the transaction of the completion. Without it, it comes a millisecond later in a
    /// transaction of its own, and is lost when the process dies between the two.
    FanInWithCompletion,
    /// An incarnation that is over claims nothing.
    ClaimerIsAlive,
    /// Only a job that is `queued` is claimed. Without it one that is `running` is claimed again by a second message.
    ClaimOnce,
    /// What a rescue takes back keeps its attempt spent. Without it the attempt is given back, and its fence is
    /// used twice.
    RescueSpendsTheAttempt,
    /// What follows from a transition is in the outbox when it commits. Without it, only the caller knows.
    OutboxWithTransition,
}

impl Clause {
    /// Each of them.
    pub const ALL: [Self; 7] = [
        Self::Fence,
        Self::FenceNamesTheAttempt,
        Self::FanInWithCompletion,
        Self::ClaimerIsAlive,
        Self::ClaimOnce,
        Self::RescueSpendsTheAttempt,
        Self::OutboxWithTransition,
    ];
}
