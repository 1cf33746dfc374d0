//! Limits and turns: how many jobs may run at once, how many may begin in a period, and whose turn it is.
//!
//! A queue that has a limit, or whose keys take turns, is *managed*: workers do not take the job that a message names,
//! but ask the store, and the store decides by [`choose()`]. What is running is counted from the running rows; the only
//! additional state is one instant for each rate limit and each of its keys ([`gcra`]).
//!
//! * [`LimitSpec`]: a limit as `[limit.NAME]` spells it, [`QueueSpec`]: a queue as `[queue.NAME]` does.
//! * [`mod@choose`]: how many jobs to take from which waiting ones.
//! * [`gcra`]: when a rate allows the next job.

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
    /// Its name.
    pub name: String,
    /// How many jobs it allows, and of which kind.
    #[serde(flatten)]
    pub spec: LimitSpec,
}

/// Who takes a turn or falls under a limit: a tenant and one of its keys. Jobs without a key share their tenant's empty
/// one.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Key {
    /// The tenant.
    pub tenant: String,
    /// The job's key; empty when it has none.
    pub key: String,
}

impl Key {
    /// The key of a job.
    pub fn of(tenant: &str, key: Option<&str>) -> Self {
        Self { tenant: tenant.to_owned(), key: key.unwrap_or_default().to_owned() }
    }
}

/// The name of a rate limit and the key that it applies to (no key when the limit is shared by all), with the instant
/// up to which it is used up.
pub type Buckets = std::collections::BTreeMap<(String, Key), Instant>;
