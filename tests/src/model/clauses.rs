//! What can be taken away from the model, to see that it is needed, and how much may happen in one exploration.

use super::state::{CHUNKS, Left};

/// A clause of the design that can be taken away.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Clause {
    /// A completion asks nothing at all of the row that it changes.
    Fence,
    /// A completion asks for the state `running` only, neither for the attempt nor for the worker.
    FenceOnAttemptAndWorker,
    /// A completion asks for state and attempt, not for the worker's incarnation.
    FenceOnWorker,
    /// A completion does not ask whether the job has been cancelled meanwhile.
    FenceOnCancelled,
    /// The fan-in has the completion's own transaction.
    FanInWithCompletion,
    /// The probe.
    Probe,
    /// A rescue changes what it finds in the same transaction, guarded by the state `running`.
    RescueGuarded,
    /// `remaining` falls by the rows that moved.
    DecrementByMovedRows,
    /// The message is acknowledged after the claim's commit. Taken away together with the probe, which heals it.
    AckAfterClaim,
    /// Sealing looks whether nothing remains.
    SealFires,
    /// A redrive of a batch that has ended opens the next generation.
    RedriveOpensGeneration,
    /// What a worker knows to run is not released with what it does not know.
    ReleaseSparesKnown,
    /// Effects are enqueued in the aggregate's own transaction.
    EffectsWithCompletion,
    /// What must be published is in an outbox row, not in a process's memory. Taken away together with the probe.
    Outbox,
    /// A claim asks for the state `queued`.
    ClaimGuarded,
    /// A rescue asks whether the attempts are spent.
    RescueSettles,
    /// A snooze leaves the attempt's number as it is, and raises the limit instead.
    SnoozeKeepsItsNumber,
    /// A restart opens the next generation.
    RestartOpensGeneration,
    /// A batch ends with its aggregate when that dies.
    DeadAggregateEndsItsBatch,
    /// What a dead planner leaves is taken back.
    PlansAreTakenBack,
}

impl Clause {
    /// All of them.
    pub const ALL: [Self; 20] = [
        Self::Fence,
        Self::FenceOnAttemptAndWorker,
        Self::FenceOnWorker,
        Self::FenceOnCancelled,
        Self::FanInWithCompletion,
        Self::Probe,
        Self::RescueGuarded,
        Self::DecrementByMovedRows,
        Self::AckAfterClaim,
        Self::SealFires,
        Self::RedriveOpensGeneration,
        Self::ReleaseSparesKnown,
        Self::EffectsWithCompletion,
        Self::Outbox,
        Self::ClaimGuarded,
        Self::RescueSettles,
        Self::SnoozeKeepsItsNumber,
        Self::RestartOpensGeneration,
        Self::DeadAggregateEndsItsBatch,
        Self::PlansAreTakenBack,
    ];

    /// Whether the probe goes with it: a second line of defence would heal what the first lets through.
    pub fn takes_the_probe_along(self) -> bool {
        matches!(self, Self::Probe | Self::AckAfterClaim | Self::Outbox)
    }
}

/// How much may happen in one exploration.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bounds {
    /// How many chunks the batch has, at most [`CHUNKS`].
    pub chunks: usize,
    /// How often each thing may go wrong or be asked for.
    pub left: Left,
    /// How many mishaps there are in all at most, of whichever kinds.
    pub mishaps: u8,
    /// Whether a worker takes the next message while its completer still writes.
    pub completer_beside: bool,
    /// How many messages of one job may be under way at once; more wait in the outbox, as the window wants it.
    pub window: u8,
}

impl Bounds {
    /// What the ordinary tests explore, in seconds: two chunks, and any one mishap.
    pub fn small() -> Self {
        Self { chunks: 2, left: Self::ANYTHING, mishaps: 1, completer_beside: true, window: 2 }
    }

    /// What `make model` explores, in minutes, one after the other. With three chunks any two mishaps, with two any
    /// three, with one any four: each pair and triple of them meets at every moment at which it can.
    pub fn full() -> [Self; 3] {
        let of = |chunks, mishaps, completer_beside| Self {
            chunks,
            left: Self::ANYTHING,
            mishaps,
            completer_beside,
            window: 2,
        };
        [of(CHUNKS, 2, false), of(2, 3, false), of(1, 4, true)]
    }

    /// Everything that may go wrong or be asked for.
    const ANYTHING: Left = Left {
        crashes: 2,
        losses: 1,
        duplicates: 1,
        stalls: 1,
        unknown: 1,
        cancels: 1,
        redrives: 1,
        failures: 2,
        stops: 1,
        timeouts: 1,
    };

    /// What is explored with one clause taken away: a few things that go wrong are enough to find it, if they are
    /// the right ones.
    pub fn without(clause: Clause) -> Self {
        let zero = Left::NOTHING;
        let left = match clause {
            Clause::Fence | Clause::FenceOnAttemptAndWorker => Left { stalls: 1, timeouts: 1, ..zero },
            Clause::FenceOnWorker => Left { stops: 1, unknown: 1, ..zero },
            Clause::FenceOnCancelled => Left { cancels: 1, ..zero },
            Clause::FanInWithCompletion | Clause::EffectsWithCompletion | Clause::AckAfterClaim | Clause::Outbox => {
                Left { crashes: 1, ..zero }
            }
            Clause::Probe => Left { losses: 1, ..zero },
            Clause::RescueGuarded => Left { stalls: 1, crashes: 1, ..zero },
            Clause::DecrementByMovedRows => Left { unknown: 1, ..zero },
            Clause::SealFires => zero,
            Clause::RedriveOpensGeneration => Left { redrives: 1, failures: 2, ..zero },
            Clause::ReleaseSparesKnown => Left { unknown: 1, ..zero },
            Clause::ClaimGuarded => Left { duplicates: 1, ..zero },
            Clause::RescueSettles => Left { crashes: 2, ..zero },
            Clause::SnoozeKeepsItsNumber => Left { failures: 1, unknown: 1, ..zero },
            Clause::RestartOpensGeneration => Left { cancels: 1, redrives: 1, ..zero },
            Clause::DeadAggregateEndsItsBatch | Clause::PlansAreTakenBack => Left { failures: 1, ..zero },
        };
        Self { chunks: 2, left, mishaps: 3, completer_beside: true, window: 2 }
    }
}
