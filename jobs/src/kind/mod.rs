//! One file for each kind of job.
//!
//! * [`chunk`], [`aggregate`]: what a batch is made of.
//! * [`email`]: one message to its recipients.
//! * [`webhook`]: one signed notification.
//! * [`notify`]: one notification over a channel.
//! * [`exec`]: one run of a program.
//! * [`http`]: one request.
//! * [`payload`]: their payloads. [`check`]: whether one could be run at all.

pub mod aggregate;
mod callbacks;
pub mod check;
pub mod chunk;
mod delivery;
pub mod email;
pub mod exec;
pub mod http;
pub mod notify;
mod one_run;
pub mod payload;
pub mod webhook;

pub use payload::{EmailPayload, ExecPayload, HttpPayload, NotifyPayload, WebhookPayload};
