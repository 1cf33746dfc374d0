//! The rules of Gristmill: what jobs and batches are, and what may happen to them.
//!
//! Everything here is pure, with no input or output, clock or randomness of its own: instants, random numbers and
//! results come in as arguments, and decisions go out as values. That is why the worker, the scheduler, a model checker
//! and a simulation can all run the same code.
//!
//! In the order in which the work moves:
//!
//! * [`definition`]: what a batch is asked to do, as `config.toml` spells it.
//! * [`job`]: one unit of work and its fence; [`job_state`]: its states.
//! * [`job_edit`]: what may be changed of a job while it waits.
//! * [`batch`]: one run of a definition, its counts and its failure budget.
//! * [`chunk`]: a slice of a batch's items, and what became of it.
//! * [`causes`]: an error with what has caused it.
//! * [`fingerprint`]: which errors are the same one.
//! * [`formula`]: texts that a spreadsheet would compute.
//! * [`in_order`]: a table of settings that keeps its order.
//! * [`inline`]: items that travel inside a chunk's payload.
//! * [`dispatch`]: ids that may now be published.
//! * [`settle`]: what the end of an attempt means. The only place that decides between retry and dead.
//! * [`split`]: what happens to a chunk whose worker died.
//! * [`retry`]: how long to wait before the next attempt.
//! * [`backoff`]: every other wait that grows, and the curve that they share.
//! * [`letter`]: where an email is for each of its recipients, and which step may follow.
//! * [`mailing`]: a batch of which each item becomes a message, and how far it is.
//! * [`mail_flow`]: through which relay mail is sent, and how fast to which domain.
//! * [`mod@eta`]: when a batch will have ended, as a range.
//! * [`item_patch`]: how a quarantined item is changed before it is redriven.
//! * [`callback`]: whom a batch notifies, and when.
//! * [`query`]: what is asked of a list. [`operation`]: a verb over everything that a query selects.
//! * [`unique`]: how long a job holds its unique key, and what happens to another job with that key.
//! * [`schedule`]: when work starts by itself.
//! * [`limit`]: how many jobs may run at once or begin in a period, and whose turn it is.
//! * [`access`]: the roles of people and programs, and what each may do.
//! * [`linking`]: whether a login elsewhere takes an account by its address.
//! * [`attempt_log`]: what an attempt says while it runs.
//! * [`audit`]: what is written down of each order, and the chain that shows when it was bent.
//! * [`mod@words`]: enums whose values are words.
//! * `schema` (feature): schemas of what is shown and read.
//! * [`json`]: how JSON from others is read: exactly, or not at all.
//! * [`event`]: what has happened, as others learn of it, and to whom it is delivered.
//! * [`aggregate`]: how the chunks' partial results are merged; [`result_table`]: what came of it, as tables, in mails
//!   as [`result_mail`] says.

pub mod access;
pub mod aggregate;
pub mod attempt_log;
pub mod audit;
pub mod backoff;
pub mod batch;
pub mod callback;
pub mod causes;
pub mod chunk;
pub mod definition;
pub mod dispatch;
pub mod duration;
pub mod email_address;
pub mod eta;
pub mod event;
pub mod fingerprint;
pub mod formula;
pub mod history;
pub mod id;
pub mod in_order;
pub mod inline;
pub mod item_patch;
pub mod job;
pub mod job_edit;
pub mod job_state;
pub mod json;
pub mod letter;
pub mod limit;
pub mod linking;
pub mod login;
pub mod mail_flow;
pub mod mailing;
pub mod membership;
pub mod one_or_many;
pub mod operation;
pub mod query;
pub mod result_mail;
pub mod result_table;
pub mod retry;
pub mod schedule;
#[cfg(feature = "schema")]
pub mod schema;
#[cfg(feature = "schema")]
mod schemas;
pub mod settle;
pub mod slice;
pub mod source_spec;
pub mod split;
pub mod trace;
pub mod unfit;
pub mod unique;
pub mod words;

/// An instant, always in UTC.
pub type Instant = chrono::DateTime<chrono::Utc>;
