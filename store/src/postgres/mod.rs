//! The store in PostgreSQL: for production, with any number of processes.
//!
//! There is one file for each group of transitions; each step runs in one transaction, records in a ledger what it
//! moved ([`work`]), and is tried again when it collides with another one ([`mod@connect`]). Groups travel as arrays
//! (UNNEST): the number of statements does not depend on the number of jobs.
//!
//! Works behind PgBouncer in transaction mode (1.21 or later, for prepared statements); hints do not arrive there, and
//! callers poll.

mod accounts;
mod acknowledged;
mod audit;
mod chunks;
mod claim;
mod claims;
mod complete;
mod completions;
mod confine;
mod connect;
mod control;
mod create;
mod database;
mod done;
mod duties;
mod edit;
mod email;
mod events;
mod fan_in;
mod fault;
mod guarded;
mod hints;
mod history;
mod job_list;
mod limited;
mod limits;
mod logs;
mod mail_flow;
mod migrate;
mod notifier;
mod notify;
mod operations;
mod outbox;
mod own;
mod patch;
mod poison;
mod promote;
mod reconcile;
mod redrive;
mod redrives;
mod requests;
mod rescue;
mod restart;
mod retention;
mod rows;
mod schedules;
mod session;
mod split;
mod sql;
mod stop;
mod triggers;
mod tx;
mod unique;
mod values;
mod view;
mod work;
mod worker;

pub use self::connect::PostgresStore;
pub use self::session::PLANNER;
