//! The verbs: what anybody may ask for, whoever asks; and the only place that hands what a commit left behind to the
//! dispatcher.
//!
//! * [`dispatcher`]: publishes what the store has committed.
//! * [`documents`]: what is shown in JSON, one document a noun.
//! * [`failure_budget`]: halts batches that are over their budget.
//! * [`pages`]: whole lists, page by page.
//! * [`poison`]: keeps messages that no worker can act upon.
//! * [`process`]: what a process says of itself when it enters the store.

pub mod documents;
pub mod failure_budget;
pub mod pages;
pub mod poison;
pub mod process;

pub use gristmill_dispatcher as dispatcher;
