//! Seeing, and receiving events from outside: what other systems and people reach over HTTP.
//!
//! * [`hooks`]: signed deliveries from elsewhere that start runs.

pub mod hooks;
