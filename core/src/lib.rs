//! The rules of Gristmill: what jobs and batches are, and what may become of them.
//!
//! Everything here is pure. There is no input or output, no clock and no randomness of its own:
//! instants, random numbers and results come in as arguments, decisions go out as values. That is why the
//! same code can be run by the worker, by the scheduler, by a model checker and by a simulation.
//!
//! In the order in which the work moves:
//!
//! * [`definition`]: what a batch is asked to do, as `config.toml` spells it.
//! * [`job`]: one unit of work and its fence; [`job_state`]: its states.
//! * [`batch`]: one run of a definition, its counts and its failure budget.
//! * [`chunk`]: a slice of a batch's items, and what came of it.
//! * [`inline`]: items that travel inside a chunk's payload.
//! * [`dispatch`]: ids that may now be published.
//! * [`settle`]: what an attempt's ending means. The only place that decides retry or dead.
//! * [`split`]: what becomes of a chunk whose worker died.
//! * [`retry`]: how long to wait before the next attempt.
//! * [`backoff`]: every other wait that grows, and the curve of them all.
//! * [`item_patch`]: how a quarantined item is changed before it is redriven.
//! * [`callback`]: whom a batch notifies, and when.
//! * [`unique`]: for how long a job holds its unique key, and what becomes of another.
//! * [`schedule`]: when work starts by itself.
//! * [`limit`]: how many may run at once or begin in a time, and whose turn it is.
//! * [`mod@words`]: enums whose values are words.
//! * [`aggregate`]: how the chunks' partial results are merged.

pub mod aggregate;
pub mod backoff;
pub mod batch;
pub mod callback;
pub mod chunk;
pub mod definition;
pub mod dispatch;
pub mod duration;
pub mod id;
pub mod inline;
pub mod item_patch;
pub mod job;
pub mod job_state;
pub mod limit;
pub mod one_or_many;
pub mod retry;
pub mod schedule;
pub mod settle;
pub mod slice;
pub mod split;
pub mod trace;
pub mod unique;
pub mod words;

/// An instant, always in UTC.
pub type Instant = chrono::DateTime<chrono::Utc>;
