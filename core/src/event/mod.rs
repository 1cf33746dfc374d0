//! Events: what has happened, in the form of CloudEvents 1.0, and to whom it is delivered.
//!
//! An event is written in the transaction of what it reports. A sequencer gives it a position, one count for the whole
//! store, and its number in its stream, both without gaps. A subscription selects events ([`subscription`]), and
//! [`route`] decides for each what becomes of it. [`wire`] reads and writes the JSON, [`schema`] compares the versions of
//! a type's schema.

mod draft;
#[cfg(test)]
mod fixture;
mod glob;
pub mod own;
mod pattern;
pub mod route;
pub mod schema;
pub mod subscription;
mod time;
pub mod wire;

use serde_json::{Map, Value};

pub use draft::{EventDraft, EventFaults};
pub use glob::Glob;
pub use pattern::{BadPattern, TypePattern, is_type};
pub use time::shown;

use crate::Instant;

/// The most bytes of an event's data as JSON: 1 MiB.
pub const DATA_BYTES_MAX: usize = 1024 * 1024;

/// The most characters of an attribute: id, source, subject, stream, type.
pub const ATTRIBUTE_CHARS_MAX: usize = 300;

/// The most extension attributes of an event.
pub const EXTENSIONS_MAX: usize = 20;

/// The most events that are published together.
pub const EVENTS_MAX: usize = 1_000;

/// How many events may have caused one another in a row before no subscription gets the next one, unless
/// `[events] depth_max` says otherwise: a loop is cut there.
pub const DEPTH_MAX: u32 = 16;

/// The source of what this program reports by itself. No publisher may use it.
pub const OWN_SOURCE: &str = "gristmill";

/// An event as the store keeps it.
#[derive(Debug, Clone, PartialEq)]
pub struct Event {
    /// Its place in the order of all events, from 1, without gaps; `None` until the sequencer has seen it.
    pub position: Option<u64>,
    /// Its number in its stream, from 1, without gaps; it comes with the position.
    pub seq: Option<u64>,
    /// Whose it is.
    pub tenant: String,
    /// Its id: a source has it once.
    pub id: String,
    /// What it comes from.
    pub source: String,
    /// What has happened, such as `order.paid`.
    pub kind: String,
    /// Which version of the data of its type.
    pub version: u32,
    /// What it is about, such as `order/17`.
    pub subject: Option<String>,
    /// The stream in which events keep their order: its subject, or its source, unless the publisher names another.
    pub stream: String,
    /// When it happened.
    pub time: Instant,
    /// What there is to say of it.
    pub data: Value,
    /// The W3C trace context of its cause.
    pub trace: Option<String>,
    /// Who caused it: a person, a program, a duty.
    pub user: Option<String>,
    /// Attributes of the publisher's own.
    pub extensions: Map<String, Value>,
    /// The id of the first event of the chain that it belongs to; its own when it begins one.
    pub correlation: String,
    /// The id of the event that caused it.
    pub causation: Option<String>,
    /// How many events have caused one another before it; 0 for one that begins a chain.
    pub depth: u32,
    /// When the store accepted it.
    pub accepted_at: Instant,
}

/// The event that caused another one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cause {
    /// Its id.
    pub id: String,
    /// The first of its chain.
    pub correlation: String,
    /// How many were before it.
    pub depth: u32,
}

impl Event {
    /// This event as the cause of another one.
    pub fn as_cause(&self) -> Cause {
        Cause { id: self.id.clone(), correlation: self.correlation.clone(), depth: self.depth }
    }
}
