//! An event as it is shown: in the form of CloudEvents 1.0.

use gristmill_core::event::{Event, wire};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use uuid::Uuid;

use super::DeliveryDocument;
use crate::control::event::StartedReplay;

/// An event: the attributes of CloudEvents 1.0, those of this program, and the publisher's own beside them.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct EventDocument {
    /// Always `1.0`.
    pub specversion: String,
    /// Its id: its source has it once.
    pub id: String,
    /// What it comes from; `gristmill` for what this program reports by itself.
    pub source: String,
    /// What has happened.
    #[serde(rename = "type")]
    pub kind: String,
    /// What it is about; left out when it is about nothing in particular.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject: Option<String>,
    /// When it happened.
    pub time: String,
    /// Always `application/json`.
    pub datacontenttype: String,
    /// Which version of the data of its type.
    pub dataversion: u32,
    /// The W3C trace context of its cause; left out when there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub traceparent: Option<String>,
    /// Whose it is.
    pub tenant: String,
    /// Who caused it; left out when it is not known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// The stream in which it keeps its order.
    pub stream: String,
    /// Its number in its stream, from 1, without gaps; left out until it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sequence: Option<u64>,
    /// Its place in the order of all events; left out until it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub position: Option<u64>,
    /// The first event of the chain that it belongs to.
    pub correlationid: String,
    /// The event that caused it; left out when none did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub causationid: Option<String>,
    /// How many events have caused one another before it.
    pub depth: u32,
    /// What there is to say of it; `null` for callers who may not see contents.
    #[serde(default, deserialize_with = "gristmill_core::json::value")]
    pub data: Value,
    /// Attributes of the publisher's own, beside the others.
    #[serde(flatten)]
    #[schema(ignore)]
    pub extensions: Map<String, Value>,
}

impl EventDocument {
    /// An event as it is shown to those who may see contents, or may not.
    pub fn new(event: &Event, contents: bool) -> Self {
        Self {
            specversion: "1.0".to_owned(),
            id: event.id.clone(),
            source: event.source.clone(),
            kind: event.kind.clone(),
            subject: event.subject.clone(),
            time: gristmill_core::event::shown(event.time),
            datacontenttype: "application/json".to_owned(),
            dataversion: event.version,
            traceparent: event.trace.clone(),
            tenant: event.tenant.clone(),
            user: event.user.clone(),
            stream: event.stream.clone(),
            sequence: event.seq,
            position: event.position,
            correlationid: event.correlation.clone(),
            causationid: event.causation.clone(),
            depth: event.depth,
            data: if contents { event.data.clone() } else { Value::Null },
            extensions: event.extensions.clone(),
        }
    }

    /// The same as the JSON that subscribers are given.
    pub fn wire(event: &Event) -> Value {
        wire::show(event)
    }
}

/// An event, and what became of it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct EventTraceDocument {
    /// The event.
    pub event: EventDocument,
    /// What became of it at each subscription that means it.
    pub deliveries: Vec<DeliveryDocument>,
    /// The events of the same chain, in their order, at most 100.
    pub chain: Vec<EventDocument>,
}

/// A replay that was started, or would be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct StartedReplayDocument {
    /// Whether nothing was started.
    pub dry_run: bool,
    /// Its id; `null` at a dry run.
    pub replay: Option<Uuid>,
    /// How many events would be delivered; `null` when it was started.
    pub matches: Option<u64>,
    /// Whether there may be more: no more were looked at.
    pub more: bool,
}

impl StartedReplayDocument {
    /// What was started, or would be.
    pub fn new(started: &StartedReplay) -> Self {
        let StartedReplay { id, matches, more } = *started;
        Self { dry_run: id.is_none(), replay: id, matches: id.is_none().then_some(matches), more }
    }
}
