//! What a seed means: how many processes, how much work, what goes wrong how often.

use std::time::Duration;

use gristmill_broker::testing::simulated::{Vices, Weather};
use gristmill_store::reference::Clause;
use gristmill_testkit::Random;

use crate::faulty::FaultRates;

/// What a run is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Story {
    /// Everything at once.
    Storm,
    /// Everything at once, and the database's clock leaps, goes back and stands still.
    Clocks,
    /// One worker is killed, and nothing else happens.
    Kill,
    /// The broker loses all that waits, and nothing else happens.
    Purge,
    /// The broker is away for a while, and nothing else happens.
    FaultRates,
    /// More work than the window lets through, and a worker is killed every five seconds.
    Backlog,
}

impl Story {
    /// The story that a seed tells when nobody asks for another.
    pub(crate) fn of(seed: u64) -> Self {
        match seed % 20 {
            0..=12 => Self::Storm,
            13..=15 => Self::Clocks,
            16 | 17 => Self::Kill,
            18 => Self::Purge,
            _ => Self::FaultRates,
        }
    }

    /// Whether nothing but one thing goes wrong, so that it can be said how soon it is over.
    pub(crate) fn is_calm(self) -> bool {
        matches!(self, Self::Kill | Self::Purge | Self::FaultRates)
    }
}

/// What is taken away, to see whether the oracle notices.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mutant {
    /// A clause of the store's contract.
    Without(Clause),
    /// Messages are gone as soon as they are handed out.
    AckBeforeTheClaim,
    /// Outbox rows are deleted whether the broker has the messages or not.
    NoConfirms,
    /// Nobody looks for lost messages.
    NoProbe,
    /// Nobody takes jobs from lost workers.
    NoRescue,
    /// Nobody publishes what its creator did not.
    NoRelay,
    /// Nobody asks the store for what the broker gave up on.
    NoReturned,
}

impl Mutant {
    /// Whether workers do not look at quiet queues either: that would heal what is let through without it.
    pub(crate) fn takes_the_second_look_along(self) -> bool {
        matches!(
            self,
            Self::Without(Clause::OutboxWithTransition)
                | Self::AckBeforeTheClaim
                | Self::NoConfirms
                | Self::NoProbe
                | Self::NoRelay
                | Self::NoReturned
        )
    }
}

/// One run.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Case {
    pub(crate) seed: u64,
    pub(crate) story: Story,
    pub(crate) mutant: Option<Mutant>,
    /// Whether every event is kept as a line.
    pub(crate) told: bool,
}

impl Case {
    /// What that seed means.
    pub(crate) fn of(seed: u64) -> Self {
        Self { seed, story: Story::of(seed), mutant: None, told: false }
    }
}

/// How often what happens, decided once for a run.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Plan {
    pub(crate) workers: u64,
    pub(crate) schedulers: u64,
    pub(crate) slots: u32,
    pub(crate) window: u32,
    /// `false`: no broker carries ids.
    pub(crate) dispatcher: bool,
    /// Whether workers serve named queues or all that they find.
    pub(crate) named_queues: bool,
    pub(crate) batches: u64,
    pub(crate) jobs: u64,
    /// How long things go wrong.
    pub(crate) storm: Duration,
    pub(crate) trouble: FaultRates,
    pub(crate) weather: Weather,
    pub(crate) vices: Vices,
    /// What handlers do, in a thousand runs.
    pub(crate) hands: Hands,
    /// Whether a client publishes events, and a subscription hears them.
    pub(crate) events: bool,
    /// Whether somebody cancels, pauses and redrives.
    pub(crate) operator: bool,
    pub(crate) leaps: bool,
    /// How often a process that is struck is killed, stalled, or asked to stop, each as a share.
    pub(crate) blades: [u64; 3],
    /// The shortest and the longest stall, in milliseconds.
    pub(crate) stalls: [(u64, u64); 5],
}

/// Shorter than a job's timeout, a little longer, a little longer than a lease, and much longer.
const STALLS: [(u64, u64); 5] = [(500, 8_000), (8_000, 14_000), (15_000, 22_000), (15_000, 22_000), (22_000, 60_000)];

/// What handlers do instead of ending well, in a thousand runs.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Hands {
    pub(crate) fail: u64,
    pub(crate) give_up: u64,
    pub(crate) panic: u64,
    /// Longer than the job's timeout.
    pub(crate) hang: u64,
    /// In a thousand jobs: each attempt kills its process.
    pub(crate) murder: u64,
    /// The longest run that goes well, in milliseconds.
    pub(crate) longest: u64,
}

impl Plan {
    pub(crate) fn of(case: &Case, random: &mut Random) -> Self {
        let mut plan = match case.story {
            Story::Storm | Story::Clocks => Self::stormy(random),
            Story::Kill | Story::Purge | Story::FaultRates => Self::calm(case.story, random),
            Story::Backlog => Self::backlog(),
        };
        plan.leaps = case.story == Story::Clocks;
        plan.vices = Vices {
            acks_by_itself: case.mutant == Some(Mutant::AckBeforeTheClaim),
            confirms_blindly: case.mutant == Some(Mutant::NoConfirms),
        };
        if let Some(mutant) = case.mutant {
            plan.provoke(mutant);
        }
        plan
    }

    /// What a mutant does wrong must come to pass: the weather in which it hurts.
    fn provoke(&mut self, mutant: Mutant) {
        self.dispatcher = true;
        match mutant {
            Mutant::Without(Clause::Fence | Clause::FenceNamesTheAttempt | Clause::ClaimerIsAlive) => {
                self.blades = [1, 10, 0];
                self.stalls = [(15_500, 19_500); 5];
                self.workers = 3;
                self.hands = Hands { longest: 6_000, ..Hands::default() };
            }
            Mutant::Without(Clause::FanInWithCompletion) => self.trouble.dies_completing = 150,
            Mutant::Without(Clause::RescueSpendsTheAttempt) => self.hands.murder = 150,
            Mutant::Without(Clause::OutboxWithTransition) | Mutant::NoConfirms => {
                self.weather.refused = 300;
                self.hands.give_up = 200;
            }
            Mutant::Without(Clause::DeadAggregateEndsItsBatch) => self.hands.give_up = 300,
            Mutant::Without(Clause::DeliveryGuardedByCursor) => {
                (self.schedulers, self.trouble.slow, self.trouble.forgotten) = (2, 700, 100);
            }
            Mutant::Without(_) => self.weather.doubled = 300,
            Mutant::NoReturned => self.weather.gives_up = 0,
            Mutant::AckBeforeTheClaim | Mutant::NoProbe | Mutant::NoRescue | Mutant::NoRelay => {}
        }
    }

    fn stormy(random: &mut Random) -> Self {
        // Some runs are rough, some nearly calm: bugs hide in both.
        let rough = random.between(0, 3);
        let often = |random: &mut Random, most: u64| random.below(most * rough + 1);
        Self {
            workers: random.between(1, 4),
            schedulers: random.between(1, 2),
            slots: random.between(1, 4) as u32,
            window: random.between(2, 40) as u32,
            dispatcher: !random.happens(120),
            named_queues: random.happens(700),
            batches: random.between(1, 3),
            jobs: random.between(0, 8),
            storm: random.millis(8_000, 30_000),
            trouble: FaultRates {
                dies: often(random, 6),
                dies_completing: often(random, 20),
                refused: often(random, 15),
                forgotten: often(random, 15),
                slow: random.between(0, 250),
            },
            weather: Weather {
                refused: often(random, 60),
                unresponsive: often(random, 30),
                lost: often(random, 40),
                doubled: often(random, 100),
                late: often(random, 60),
                overtakes: often(random, 100),
                poison: often(random, 20),
                gives_up: 2,
            },
            vices: Vices::default(),
            hands: Hands {
                fail: often(random, 100),
                give_up: often(random, 50),
                panic: often(random, 20),
                hang: often(random, 20),
                murder: often(random, 25),
                longest: random.between(10, 6_000),
            },
            events: true,
            operator: random.happens(600),
            leaps: false,
            blades: [30, 20, 10],
            stalls: STALLS,
        }
    }

    fn calm(story: Story, random: &mut Random) -> Self {
        Self {
            workers: if story == Story::Purge { 2 } else { random.between(2, 4) },
            schedulers: random.between(1, 2),
            slots: if story == Story::Purge { 1 } else { random.between(2, 4) as u32 },
            window: 200,
            dispatcher: true,
            named_queues: true,
            batches: 1,
            jobs: random.between(4, 10),
            storm: Duration::from_secs(20),
            trouble: FaultRates { slow: 50, ..FaultRates::default() },
            weather: Weather::default(),
            vices: Vices::default(),
            hands: Hands { longest: if story == Story::Purge { 2_500 } else { 400 }, ..Hands::default() },
            events: false,
            operator: false,
            leaps: false,
            blades: [30, 20, 10],
            stalls: STALLS,
        }
    }

    fn backlog() -> Self {
        Self {
            workers: 3,
            schedulers: 1,
            slots: 8,
            window: 50,
            dispatcher: true,
            named_queues: true,
            batches: 0,
            jobs: 1_000,
            storm: Duration::from_secs(60),
            trouble: FaultRates { slow: 20, ..FaultRates::default() },
            weather: Weather::default(),
            vices: Vices::default(),
            hands: Hands { longest: 900, ..Hands::default() },
            events: false,
            operator: false,
            leaps: false,
            blades: [30, 20, 10],
            stalls: STALLS,
        }
    }
}
