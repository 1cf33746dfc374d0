//! Limits and turns: how many jobs may run at once, how many may begin in a time, and whose turn it is.
//!
//! A queue on which a limit lies, or whose turns go by key, is *managed*: workers do not take what a message names, but
//! ask the store, and the store decides by [`choose()`]. What runs is counted from the rows that run; the only thing kept
//! beside them is one instant for each limit with a rate and each of its keys ([`gcra`]).
//!
//! * [`LimitSpec`]: a limit as `[limit.NAME]` spells it, [`QueueSpec`]: a queue as `[queue.NAME]` does.
//! * [`mod@choose`]: from which waiting jobs to take how many.
//! * [`gcra`]: when a rate allows the next.

mod choose;
pub mod gcra;
mod spec;

pub use choose::{Blocker, Choice, Facts, Group, Pick, Running, Turn, Turns, choose, hindrances};
pub use spec::{LIMIT_MAX, LimitSpec, QueueSpec, WrongLimit};

use serde::{Deserialize, Serialize};

use crate::Instant;

/// The most bytes of a job's key.
pub const KEY_BYTES_MAX: usize = 200;

/// A limit by its name.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Limit {
    /// What it is called.
    pub name: String,
    /// What it allows, and of what.
    #[serde(flatten)]
    pub spec: LimitSpec,
}

/// Whose turn or limit it is: a tenant and a key of its own. Those without a key share the empty one of their tenant.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Key {
    /// Whose jobs.
    pub tenant: String,
    /// What the job says; empty when it says nothing.
    pub key: String,
}

impl Key {
    /// That of a job.
    pub fn of(tenant: &str, key: Option<&str>) -> Self {
        Self { tenant: tenant.to_owned(), key: key.unwrap_or_default().to_owned() }
    }
}

/// The name of a limit with a rate, and whose rate it is (of no key when the limit is one for all), with the instant up
/// to which it is used up.
pub type Buckets = std::collections::BTreeMap<(String, Key), Instant>;
