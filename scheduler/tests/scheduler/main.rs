//! The scheduler: planning a batch, the duties, and dispatching.

mod dispatching;
mod duties;
mod env;
mod following;
mod plans;
mod schedules;
mod watching;
