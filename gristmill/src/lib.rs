//! The door: the command line `gristmill`, its configuration, and [`App`] for programs with kinds of their own.
//!
//! * [`App`]: the whole command line with your kinds and item handlers in it.
//! * [`Kind`]: one kind of job of your own; [`Context`] and [`Failure`] go with it.
//! * [`Client`]: enqueues jobs of your kinds from any program.
//! * [`config`]: one file, the environment and the flags, laid over the defaults.
//! * [`exit_code`]: how the program ends.

pub mod app;
mod check;
pub mod client;
mod command;
pub mod config;
mod demo;
mod door;
mod examine;
pub mod exit_code;
mod hooks;
pub mod kind;
mod lease;
mod output;
mod parts;
mod progress;
mod schedules;
mod serve;
mod signals;
mod trace;
mod wait;
mod watch;
mod work;

pub use app::App;
pub use client::Client;
pub use gristmill_core as core;
pub use gristmill_jobs::process::ItemOut;
pub use kind::{Context, Failure, Kind};
