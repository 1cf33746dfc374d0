//! The scheduler: planning a batch, the duties, and the road.

mod dispatching;
mod duties;
mod env;
mod following;
mod plans;
mod schedules;
mod watching;
