//! The scheduler: planning a batch, the duties, and the road.

mod duties;
mod following;
mod ground;
mod plans;
mod roads;
mod schedules;
mod watching;
