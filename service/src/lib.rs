//! The verbs: what anybody may ask for, whoever asks; and the only place that hands what a commit left behind to the
//! dispatcher.
//!
//! * [`Service`]: the verbs, in [`control`] and [`start`]. [`order`]: who asks, for whom, why.
//! * [`dispatcher`]: publishes what the store has committed. [`committed`]: what that is.
//! * [`failure_budget`]: halts batches that are over their budget.
//! * [`poison`]: keeps messages that no worker can act upon.
//! * [`process`]: what a process says of itself when it enters the store.

pub mod committed;
pub mod control;
pub mod dispatcher;
pub mod failure_budget;
pub mod order;
pub mod poison;
pub mod process;
mod service;
pub mod start;

pub use committed::Committed;
pub use order::{Actor, Order};
pub use service::{Connect, Service};
