//! The worker: in single steps, as a process, and with a broker.

mod endings;
mod ground;
mod limits;
mod loops;
mod messages;
mod pausing;
mod poison;
mod steps;
