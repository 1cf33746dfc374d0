//! Live updates: what a caller watches, as it is now and each time that it has changed.
//!
//! An update is the state of a topic, not an event that may be missed: a client that was away, or reads slowly, gets the
//! latest state once and has lost nothing. All clients of a topic share one reading of it and the same bytes, so that the
//! cost for the database depends on how many topics are watched, not on how many watch them or how much happens.
//!
//! * [`topic`]: what can be watched, and what that takes.
//! * [`reading`]: a topic as JSON.
//! * [`hub`]: reads the topics that are watched, round by round, and shows what has changed.
//! * [`feed`]: what one client watches, and what it has not seen yet.

pub mod feed;
pub mod hub;
mod reading;
pub mod topic;

pub use feed::Feed;
pub use hub::{Frame, Hub, Place};
pub use topic::Topic;
