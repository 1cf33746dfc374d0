//! The real binary, from outside, as a person or a script runs it.

mod accounts;
mod auditing;
mod bad_input;
mod cancelling;
mod commands;
mod culprits;
mod deleting;
mod ending;
mod guards;
mod kinds;
mod limits;
mod operations;
mod place;
mod poison;
mod reconcile;
mod remote;
mod restart;
mod saying;
mod schedules;
mod servers;
mod stopping;
mod surroundings;
mod trace;
mod triggers;
mod values;
mod waiting;
