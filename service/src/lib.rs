//! The verbs: everything that a caller may ask for; and the only place that passes what a commit left behind to the
//! dispatcher.
//!
//! * [`accounts`]: people and programs, and how they are recognized.
//! * [`doctor`]: what is wrong in the store, and how to mend it.
//! * [`documents`]: what is shown in JSON, one document a noun.
//! * [`Service`]: the verbs, in [`control`] and [`start`]. [`order`]: the actor, the tenant and the reason.
//! * [`dispatcher`]: publishes what the store has committed. [`Committed`]: what that is.
//! * [`audit`]: verifies what was written down of orders, signs it, archives it.
//! * [`mod@eta`]: when a batch will have ended.
//! * [`events`]: published as far as they fit their schemas, and routed to what subscribes to them.
//! * [`failure_budget`]: halts batches that are over their budget.
//! * [`key_file`]: keys in files that only their owner may read.
//! * [`job_request`]: from what a caller says about a job to the job.
//! * [`outputs`]: what a batch has written.
//! * [`pages`]: whole lists, page by page.
//! * [`poison`]: keeps messages that no worker can act upon.
//! * [`process`]: what a process reports about itself when it enters the store.
//! * [`quarantine_sheet`]: reading them back, mended. [`suggest`]: what was probably meant.
//! * [`quarantine_table`]: quarantined items as a table, for a spreadsheet.
//! * [`retention`]: deletes what has ended long ago, a step at a time.

pub mod accounts;
pub mod audit;
pub mod control;
pub mod doctor;
pub mod documents;
pub mod eta;
pub mod eta_record;
pub mod events;
pub mod failure_budget;
pub mod history;
pub mod job_request;
pub mod key_file;
pub mod order;
pub mod outputs;
pub mod pages;
pub mod poison;
pub mod process;
pub mod quarantine_sheet;
pub mod quarantine_table;
pub mod retention;
mod service;
pub mod shared;
pub mod start;
pub mod suggest;
pub mod uploads;

pub use gristmill_dispatcher as dispatcher;
pub use gristmill_dispatcher::Committed;
pub use job_request::{JobRequest, WrongField};
pub use order::{Actor, Order, Origin};
pub use service::{Connect, Service};
