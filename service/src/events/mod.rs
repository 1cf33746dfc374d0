//! Events: published as far as they fit their schemas, and routed to what subscribes to them.
//!
//! * [`registry`]: the schemas of types, and what does not fit them.
//! * [`Router`]: gives events their order, and each subscription and replay the next ones.
//! * [`subscription`]: what a subscription starts of an event; what would become of events.
//! * [`walk`]: events that fit patterns of types, page by page.

pub mod registry;
mod router;
pub mod subscription;
pub mod walk;

pub use router::{Routed, Router};
