//! An exhaustive model of the state machine: every state that a batch, its jobs, their messages and two workers can
//! get into, within bounds, is visited and looked at.
//!
//! It shares no code with the product. It says in 200 lines what the SQL of `store/src/` says in 3,000, and so it must
//! be kept like it: whoever changes a transition there changes it here.
//!
//! # What it stands for
//!
//! | | in the model | in the product (`store/src/sqlite/`, mirrored in `store/src/postgres/`) |
//! |---|---|---|
//! | create | `World::add_chunk` | `create::add_chunks`, one chunk at a time |
//! | seal | `World::seal` | `create::seal` |
//! | claim | `World::claim`, asked by `Step::Claim` | `claim::claim`; `worker/src/intake.rs`: claim, commit, acknowledge |
//! | complete | `World::complete`, `settle`, `finish`, `end_batch`, `fan_in` | `complete::complete`, `settle::settle`, `complete::end_batch`, `fan_in::apply`; verdicts of `core/src/settle.rs` |
//! | complete in the user's transaction | none: complete with the user's writes in the same transaction | `postgres/tx.rs` |
//! | rescue | `World::rescue`, `World::time_out` | `duties::rescue`: lost workers, passed deadlines |
//! | redispatch | `World::redispatch` | `duties::redispatch`, `scheduler/src/duties/probe.rs` |
//! | reconcile | [`invariants::wrong`]: it must never find anything, and so it is no step | `reconcile::reconcile` |
//! | promote | `World::promote` | `duties::promote`, `control::retry_job` |
//! | | `World::cancel_batch`, `cancel_chunk`, `redrive`, `restart` | `control::cancel_batch`, `control::cancel_job`, `redrive::dead`, `restart::restart` |
//! | an aggregate dies | `World::die`, `supersede` | `sql/batch_ends.rs` |
//! | a planner dies | `Step::PlannerDies`, `World::take_back` | `create::discard_batch`, `scheduler/src/plan.rs` |
//! | | `World::release` | `worker::retire`, `worker::release_unknown` |
//! | | `Step::Publish`, `PublishUnconfirmed` | `scheduler/src/duties/relay.rs`, `jobs/src/dispatcher.rs`: the row goes when confirmed |
//! | | `Step::Notice`, `Stop`, `Interrupt` | `worker/src/lease.rs`, `worker/src/running.rs` |
//!
//! # What may happen
//!
//! Processes are killed at every step, messages vanish and repeat, connections are cut between a claim's commit and
//! its acknowledgement, a worker that only stalled loses its lease and wakes as a zombie, the answer to a commit is
//! lost, handlers fail or ask to be snoozed, an aggregate fails for good, the planner dies, deadlines pass, workers stop gracefully, people
//! cancel, redrive and restart. Time has no length:
//! whatever may be due at some time may be due now. How often each may happen is in [`Bounds`].
//!
//! # What is shown
//!
//! * **Nothing is wrong** in any state: see [`invariants::wrong`], and that no fence which somebody holds is given
//!   out again and no completion is accepted from anybody else.
//! * **Nothing is stuck.** From every state the *calm way* leads to a quiet, good end: nothing goes wrong any more,
//!   and of the steps that are possible always the first of [`steps::calm`] is taken. The way is followed from each
//!   state that was reached; one that comes back to itself counts as stuck. In the product every one of those steps
//!   is taken sooner or later by somebody who needs to know nothing (a duty on a timer, a worker's loop, a lease that
//!   runs out), no step takes another's possibility away for good, and what goes wrong is finite: so each run gets to
//!   a state after which nothing goes wrong, and from there to its end.
//! * **No clause can be spared**: for each of [`Clause`] the model without it must be wrong or stuck.
//!
//! # What is left out
//!
//! Halting over the failure budget and the quarantine (fan-in and generations work as for cancelled and dead chunks),
//! halves of a chunk (their number has no room in the encoding; the comparison and the simulation have them), pausing, the store's polling without a broker
//! or for a quiet queue (it is the calm way with a shorter way to the claim), dead letters' copies, and effects themselves: they are jobs on which no batch waits, so that the death of one holds up
//! nothing (the simulation lets them die). A worker has one slot.
//!
//! # How to read it
//!
//! [`state`] is what there is; [`transitions`] what the store does; [`steps`] who does it when; [`invariants`] what
//! must hold; [`clauses`] what can be taken away; [`search`] the walk. `make model` runs it within [`Bounds::full`].

pub mod clauses;
pub mod invariants;
pub mod search;
pub mod state;
pub mod steps;
pub mod transitions;

pub use clauses::{Bounds, Clause};
pub use search::{Figures, Found, explore};
