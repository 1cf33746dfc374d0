//! Schedules: from ticks that are due to runs, each at most once, none forgotten.
//!
//! A pass ([`ScheduleRunner::run_once`]) asks the store which schedules have a tick to decide, by the database's clock, and
//! decides them from the last tick that was decided, never from now: what was missed is seen. What is decided about a
//! tick (run, skip, wait) is a row of the ledger, written in the transaction that creates the batch or the job, and
//! guarded by the schedule's own clock: of any number of schedulers one is first.
//!
//! * [`decide`]: which of the due ticks run, wait or are skipped.
//! * [`turns`]: what waited for its turn, or was made by an event.
//! * [`sync`]: schedules of the configuration become rows of the store.

pub mod decide;
pub mod runner;
pub mod sync;
pub mod turns;

pub use gristmill_service::start::{ConfigSnapshot, RunContext};
pub use runner::{PassReport, ScheduleRunner};
