//! The truth: jobs, batches, results, quarantine and outbox in PostgreSQL or SQLite.
//!
//! There is a trait for each noun, in a file of its own with its transitions and what goes into them and comes out;
//! [`Store`] is their sum. There is no other way to change anything. A method is a transition is a transaction: it does
//! all of its work or none, it checks the state that it starts from, and repeating it after an unknown commit result
//! does no harm. The outcome does not depend on the database behind it; one conformance suite runs on both.
//!
//! | what is done | traits |
//! |---|---|
//! | work is created | [`Jobs`], [`Batches`] |
//! | work is done | [`Claims`], [`Completions`], [`Workers`], [`Emails`] |
//! | work continues by itself | [`Duties`], [`Outbox`], [`Poison`] |
//! | work is started by the clock or by an event | [`Schedules`], [`Ticks`], [`Backfills`], [`Triggers`] |
//! | an operator steps in | [`Control`], [`Redrives`], [`Limits`] |
//! | a verb goes over everything that a query selects | [`Operations`] |
//! | what has ended is deleted | [`Retention`] |
//! | what has passed is counted by minute and hour | [`History`] |
//! | what attempts say is kept | [`Logs`] |
//! | errors are acknowledged | [`Acknowledgements`] |
//! | relays and recipients' domains are known to all workers | [`MailFlows`] |
//! | what happens is reported, and delivered | [`Events`] |
//! | what was ordered is written down | [`Audit`] |
//! | people and programs are let in | [`Accounts`] |
//! | a request from outside is carried out once | [`Requests`] |
//! | nothing is changed | [`Views`]; [`mod@why`]: what a job waits for |
//! | the database itself | [`Database`] |
//!
//! [`postgres`] and [`sqlite`] are the two stores; a trait is implemented in the file of its noun, and what moves no
//! job is written once for both, in `sql`. `reference` (feature `testing`) is the in-memory model that both are
//! compared with.
//!
//! Lock order everywhere: an operation or a subscription, limits by name, then jobs by id, then batches by id, then tenants
//! with a quota by name, then queue counters by key, and last the head of the tenant's audit, for the one statement before
//! the commit.

pub mod accounts;
pub mod acknowledged;
pub mod address;
pub mod audit;
pub mod backfills;
pub mod batches;
mod check;
pub mod chunks;
pub mod claims;
pub mod completions;
pub mod condition;
pub mod control;
pub mod database;
pub mod documents;
pub mod duties;
pub mod emails;
pub mod error;
pub mod events;
pub mod failpoint;
mod flow;
mod group;
mod guard;
pub mod history;
pub mod jobs;
pub mod limits;
pub mod logs;
pub mod mail_flow;
mod migrations;
mod notify;
pub mod open;
pub mod operations;
pub mod outbox;
mod patched;
pub mod poison;
pub mod postgres;
pub mod quota;
pub mod redrives;
#[cfg(feature = "testing")]
pub mod reference;
pub mod requests;
mod restart;
pub mod retention;
mod row;
mod row_search;
pub mod schedules;
mod selected;
pub mod settings;
mod split;
mod sql;
pub mod sqlite;
mod stop;
#[cfg(feature = "testing")]
pub mod testing;
pub mod ticks;
pub mod triggers;
pub mod views;
pub mod why;
pub mod workers;

use std::sync::Arc;

pub use accounts::Accounts;
pub use acknowledged::{ACKNOWLEDGED_MAX, AcknowledgementView, Acknowledgements, NewAcknowledgement};
pub use address::{is_here, is_postgres, postgres_options, sqlite_file, sqlite_url};
pub use audit::{AUDIT_ROWS_MAX, Attribution, Audit, AuditFilter, AuditHead};
pub use backfills::*;
pub use batches::*;
pub use chunks::{CHUNK_BRIEFS_MAX, CHUNKS_COUNTED_MAX, ChunkBrief, ChunkRange, ChunkRanges};
pub use claims::*;
pub use completions::*;
pub use condition::Outage;
pub use control::*;
pub use database::*;
pub use documents::{BatchDocument, CallbackDocument, CountsDocument, FailureDocument, News};
pub use duties::*;
pub use emails::*;
pub use error::{Result, StoreError};
pub use events::*;
pub use guard::WorkGuard;
pub use history::{FOLD_ROWS_MAX, HISTORY_POINTS_MAX, History, HistoryFilter, HistoryPoint};
pub use jobs::*;
pub use limits::{
    Blocker, JobBlockers, LimitOrigin, LimitSpec, LimitUse, LimitView, Limited, LimitedClaim, Limits, QueueSpec,
    SaveLimit,
};
pub use logs::{LOGS_MAX, LogView, Logs, NewLog};
pub use mail_flow::{
    DOMAIN_WAIT_MAX, DomainAsk, HELD_DOMAINS_MAX, MailDomain, MailDomainView, MailFlow, MailFlows, MailRelayView,
    RelayChange, SuspendDomain, Suspension, Taken,
};
pub use open::{OpenOptions, connect, open};
pub use operations::*;
pub use outbox::*;
pub use poison::*;
pub use quota::{OverQuota, QuotaOf, TenantUsage};
pub use redrives::*;
pub use requests::*;
pub use retention::*;
pub use schedules::*;
pub use settings::Settings;
pub use ticks::*;
pub use triggers::*;
pub use views::*;
pub use why::{Wait, why, why_batch, why_batch_by};
pub use workers::*;

/// A store shared by many tasks.
pub type StoreHandle = Arc<dyn Store>;

/// The truth: everything that can be done to it and seen of it. Code that needs less takes the trait of its noun, to
/// which a `&dyn Store` or an [`Arc<dyn Store>`](StoreHandle) can be passed as it is.
pub trait Store:
    Database
    + Jobs
    + Batches
    + Claims
    + Completions
    + Workers
    + Outbox
    + Duties
    + Control
    + Redrives
    + Operations
    + Retention
    + Views
    + Schedules
    + Ticks
    + Backfills
    + Triggers
    + Limits
    + Poison
    + Emails
    + Audit
    + Accounts
    + Requests
    + History
    + Logs
    + Acknowledgements
    + MailFlows
    + Events
{
}

impl<T> Store for T where
    T: Database
        + Jobs
        + Batches
        + Claims
        + Completions
        + Workers
        + Outbox
        + Duties
        + Control
        + Redrives
        + Operations
        + Retention
        + Views
        + Schedules
        + Ticks
        + Backfills
        + Triggers
        + Limits
        + Poison
        + Emails
        + Audit
        + Accounts
        + Requests
        + History
        + Logs
        + Acknowledgements
        + MailFlows
        + Events
{
}
