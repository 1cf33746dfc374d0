//! The work: what each kind of job does, and what a batch is made of.
//!
//! * [`attempt_log`]: what attempts say while they run; [`redact`]: texts without their secrets.
//! * [`handler`]: what the worker sees of a kind of job; [`Registry`] holds all of them.
//! * [`kind`]: one file for each kind of job, and its payload.
//! * [`registry`](mod@registry): the built-in kinds.
//! * [`mail`]: what emails say and how they are sent.
//! * [`notify`]: notifications, and the services that take them.
//! * [`settings`]: `[mail]`, `[webhook]`, `[exec]` and `[http]`.
//! * [`signature`]: signatures of webhooks, made and verified.
//! * [`pool`]: the threads that process the items of chunks.
//! * [`pipeline`]: the path of a chunk's items through the stages.
//! * [`source`]: from what the user named to the records of one chunk.
//! * [`predicate`]: jq programs that say whether something is meant.
//! * [`stage`]: what is done to each item.
//! * [`process`]: the step that does the actual work on each item.
//! * [`exec_policy`]: which programs may run.
//! * [`states`]: what a program shares with its handlers.
//! * [`sink`]: where the items that passed every stage are written.

pub mod attempt_log;
pub mod exec_policy;
pub mod folder;
pub mod handler;
mod hidden;
mod jq;
pub mod kind;
pub mod mail;
pub mod notify;
mod outbound;
pub mod pipeline;
pub mod pool;
pub mod predicate;
pub mod process;
mod program;
pub mod redact;
pub mod registry;
mod row;
pub mod secret;
pub mod settings;
pub mod signature;
pub mod sink;
pub mod source;
mod stack;
pub mod stage;
pub mod states;
mod stderr;

pub use outbound::one_tls_provider;

pub use handler::{Finish, Handler, JobContext, Registry, Signals, WithoutRows};
pub use registry::{RegistryOptions, add_effects, registry};
pub use row::chunk_size;
pub use states::States;
