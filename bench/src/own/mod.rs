//! Gristmill, row by row: the shipped program as processes, and the client.

pub mod batch;
pub mod contest;
pub mod drain;
pub mod enqueue;
pub mod idle;
pub mod latency;
pub mod tables;
