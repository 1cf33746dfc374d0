//! The worker: in single steps, as a process, and with a broker.

mod endings;
mod env;
mod layers;
mod limits;
mod logs;
mod loops;
mod messages;
mod pausing;
mod poison;
mod sinks;
mod steps;
