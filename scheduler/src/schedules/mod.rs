//! Schedules: from ticks that are due to runs, each at most once, none forgotten.
//!
//! A pass ([`ScheduleRunner::run_once`]) asks the store which schedules have a tick to decide, by the database's clock,
//! and decides them from the last tick that was decided, never from now, so that it sees what was missed. The decision
//! about a tick (run, skip, wait) is a row of the ledger, written in the transaction that creates the batch or the job,
//! and guarded by the schedule's own clock: of any number of schedulers one is first.
//!
//! * [`decide`]: which of the due ticks run, wait or are skipped.
//! * [`turns`]: ticks that waited for their turn, or were made by an event.
//! * [`sync`]: turns the schedules of the configuration into rows of the store.

pub mod decide;
mod planners;
pub mod runner;
pub mod sync;
pub mod turns;

pub use gristmill_service::start::{ConfigSnapshot, RunContext};
pub use runner::{PassReport, ScheduleRunner};
