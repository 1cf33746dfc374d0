//! The verbs that change what is there, one file for each noun.
//!
//! Each makes one transition of the store, or a few, and passes what the commit left behind to the dispatcher. At a dry
//! run the transition is made and rolled back, or only checked where the store has no rehearsal of it.

pub mod backfill;
pub mod batch;
pub mod chunk;
pub mod dead;
pub mod email;
pub mod enqueue;
pub mod error;
pub mod event;
pub mod job;
pub mod limit;
pub mod mail_flow;
pub mod operation;
pub mod poison;
pub mod quarantine;
pub mod quarantine_import;
pub mod queue;
pub mod retention;
pub mod schedule;
pub mod trigger;
pub mod work;

use gristmill_store::{ControlReport, Pause};

use crate::order::Order;

/// The most samples in a sum of reports, the same as in a single report.
const SAMPLES_MAX: usize = 5;

/// What an order to pause stores with what is paused.
fn pause(order: &Order) -> Pause {
    Pause { by: Some(order.actor.to_string()), reason: order.reason.clone() }
}

/// The target of a step over several things, as the audit has it: the one, or how many.
fn some<T: std::fmt::Display>(group: &[T]) -> String {
    match group {
        [one] => one.to_string(),
        many => format!("{} of them", many.len()),
    }
}

/// Adds up what several verbs did. What they left behind has been published already, and is not added.
pub fn add(total: &mut ControlReport, one: ControlReport) {
    total.affected += one.affected;
    let room = SAMPLES_MAX.saturating_sub(total.samples.len());
    total.samples.extend(one.samples.into_iter().take(room));
    total.generation = one.generation.or(total.generation);
}
