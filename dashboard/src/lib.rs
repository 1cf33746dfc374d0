//! Seeing, steering, and receiving events from outside: what other systems and people reach over HTTP.
//!
//! * [`gate`]: what every request passes before it reaches a handler.
//! * [`auth`]: who calls.
//! * [`api`]: the endpoints, one file for each noun.
//! * [`live`]: updates while they happen.
//! * [`pages`]: the dashboard, one file or folder for each page.
//! * [`Server`]: all of it on one address.
//! * [`hooks`]: signed deliveries from elsewhere that start runs.

pub mod api;
pub mod auth;
pub mod gate;
pub mod hooks;
pub mod live;
pub mod pages;
mod server;

pub use server::Server;
