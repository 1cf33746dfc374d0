//! The command line `gristmill`, its configuration, and [`App`] for programs with kinds of their own.
//!
//! * [`App`]: the whole command line with your kinds and item handlers in it.
//! * [`App::build`]: the same kinds in a worker inside your own program: see [`embed`].
//! * [`Kind`]: your own kind of job; [`Context`] and [`Failure`] go with it.
//! * [`apalis`]: handlers that were written for apalis, as kinds of jobs.
//! * [`Client`]: enqueues jobs of your kinds from any program; the crate `gristmill-client` works without the workers'
//!   dependencies.
//! * [`config`]: one file, the environment and the flags, laid over the defaults.
//! * [`exit_code`]: how the program ends.
//! * `cli`: the commands, a file for each noun; `remote`: the servers that they ask over HTTP; `runtime`: the process that works until it is asked to stop.
//! * [`model`]: jobs, batches and what they are made of.

pub mod apalis;
pub mod app;
mod cli;
pub mod client;
pub mod config;
pub mod embed;
pub mod exit_code;
mod extensions;
pub mod kind;
mod kind_settings;
mod remote;
mod runtime;

pub use app::App;
pub use client::Client;
pub use gristmill_core as model;
pub use gristmill_core::event::EventDraft;
pub use gristmill_jobs::process::{ItemContext, ItemFailure, ItemOut};
pub use gristmill_jobs::{Finish, JobContext};
pub use gristmill_telemetry::attempt_log::layer as attempt_log_layer;
pub use gristmill_worker::{AttemptRequest, AttemptService};
pub use kind::{Context, Failure, Kind};
