//! Journeys across the rooms, and the rules of the house.
//!
//! * `tests/tidy.rs`: the rules that the source itself must keep.
//! * `tests/journey.rs`: a batch from its input to its result, by the program that people run.
//! * `tests/faults.rs`: the same, while processes are killed.
//! * `tests/model.rs`: every state of the state machine, by the exhaustive [`model`].
//!
//! This library is what they share: [`place`] gives a test its own store and broker, [`program`] runs
//! the program in it, [`orders`] makes input and knows, by other means than the product, what must
//! come of it.

pub mod model;
pub mod orders;
pub mod place;
pub mod program;

use std::path::PathBuf;

/// The root of the workspace.
pub fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).parent().map(PathBuf::from).unwrap_or_default()
}
