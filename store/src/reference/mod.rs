//! The model: the whole contract in plain maps, one mutex and no database.
//!
//! The two real stores are compared with it, and it is the store under simulation. Hence it has no clock, no random
//! numbers and no threads of its own: the [`Clock`] and the seed belong to the test, every method is one atomic step,
//! and everything is visited in the order of its key. It expresses the contract as plainly as it can; its speed does
//! not matter.
//!
//! A [`Clause`] of the contract can be removed, to see whether the tests notice.

mod accounts;
mod acknowledged;
mod audit;
mod batch_ends;
mod claim;
mod claims;
mod clause;
mod clock;
mod complete;
mod completions;
mod control;
mod create;
mod database;
mod duties;
mod edit;
mod email;
mod events;
mod expiry;
mod fan_in;
mod hints;
mod history;
mod insert;
mod limits;
mod logs;
mod mail_flow;
mod mailing;
mod messages;
mod notify;
mod operated;
mod operation;
mod operations;
mod outbox;
mod patch;
mod poison;
mod promote;
mod reconcile;
mod redrive;
mod redrives;
mod requests;
mod rescue;
mod restart;
mod retention;
mod schedules;
mod settle;
mod split;
mod state;
mod tamper;
mod transition;
mod triggers;
mod view;
mod worker;

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};

pub use clause::Clause;
pub use clock::Clock;
use hints::Hints;
use state::State;

/// The store in memory: see the module's documentation.
#[derive(Debug)]
pub struct ReferenceStore {
    truth: Arc<Mutex<State>>,
    clock: Clock,
    seed: u64,
    /// Whether a broker carries ids: without one nothing is written to the outbox.
    with_outbox: bool,
    /// The clauses that were removed.
    without: BTreeSet<Clause>,
    /// How many times work may have become claimable, counted from 1.
    work: Arc<Hints>,
    /// How many times attempts may have been taken away, counted from 1.
    gone: Arc<Hints>,
    /// How many times events may have been published, counted from 1.
    published: Arc<Hints>,
}

impl ReferenceStore {
    /// An empty store. It judges time by `clock`, and everything that it draws by itself follows from `seed`. With
    /// `with_outbox` it writes an outbox, as if a broker carried ids.
    pub fn new(clock: Clock, seed: u64, with_outbox: bool) -> Self {
        let truth = Arc::new(Mutex::new(State::new(seed)));
        Self {
            truth,
            clock,
            seed,
            with_outbox,
            without: BTreeSet::new(),
            work: Arc::default(),
            gone: Arc::default(),
            published: Arc::default(),
        }
    }

    /// The same store without a clause of the contract.
    #[must_use]
    pub fn without(mut self, clause: Clause) -> Self {
        self.without.insert(clause);
        self
    }

    /// The same store as seen by a program without a broker: nothing is written to the outbox.
    #[must_use]
    pub fn brokerless(&self) -> Self {
        Self {
            truth: Arc::clone(&self.truth),
            clock: self.clock.clone(),
            seed: self.seed,
            with_outbox: false,
            without: self.without.clone(),
            work: Arc::clone(&self.work),
            gone: Arc::clone(&self.gone),
            published: Arc::clone(&self.published),
        }
    }

    /// Its clock, which the test may change.
    pub fn clock(&self) -> &Clock {
        &self.clock
    }

    fn keeps(&self, clause: Clause) -> bool {
        !self.without.contains(&clause)
    }

    /// Wakes all callers that wait for work.
    fn hint(&self) {
        self.work.hint();
    }
}
