//! A process that works: its roles, its signals, and what it serves beside its work.

pub(crate) mod connection;
pub(crate) mod context;
pub(crate) mod hooks;
pub(crate) mod http;
pub(crate) mod metrics;
pub(crate) mod private;
pub(crate) mod retention;
pub(crate) mod roles;
pub(crate) mod schedules;
pub(crate) mod serve;
pub(crate) mod signals;
pub(crate) mod work;
