//! Messages over a real RabbitMQ: each test in a namespace of its own.

#![expect(clippy::unwrap_used, reason = "what a test's helpers find missing is a failure of the test")]

mod consume;
mod env;
mod faults;
mod publish;
mod refusals;
mod tls;
