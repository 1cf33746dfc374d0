//! Servers that are asked over HTTP instead of the database.
//!
//! * [`contexts`]: the servers that a user has given names, in `contexts.toml`.
//! * [`choose`]: which of them a command asks, if any: a pure function of flags, environment and that file.
//! * [`Remote`]: the server of one command; every change goes through one of its methods, which names the server, and
//!   asks for the name of one that is protected.

pub(crate) mod choose;
pub(crate) mod contexts;
pub(crate) mod server;
mod trouble;
mod uploading;

pub(crate) use server::Remote;
