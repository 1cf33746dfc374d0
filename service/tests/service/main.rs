//! The verbs on real stores and a simulated broker: what they change, what they publish, and what a dry run leaves alone.

mod accounts;
mod audited;
mod auditing;
mod entries;
mod env;
mod events;
mod oidc;
mod people;
mod registering;
mod retention;
mod shared;
mod starting;
mod tokens;
mod verbs;
