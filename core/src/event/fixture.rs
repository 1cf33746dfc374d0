//! An event for tests.

use serde_json::{Map, json};

use super::Event;
use crate::Instant;

/// An event of a type, without data.
pub(super) fn event(kind: &str) -> Event {
    Event {
        position: Some(1),
        seq: Some(1),
        tenant: "main".to_owned(),
        id: "1".to_owned(),
        source: "shop".to_owned(),
        kind: kind.to_owned(),
        version: 1,
        subject: None,
        stream: "shop".to_owned(),
        time: Instant::UNIX_EPOCH,
        data: json!(null),
        trace: None,
        user: None,
        extensions: Map::new(),
        correlation: "1".to_owned(),
        causation: None,
        depth: 0,
        accepted_at: Instant::UNIX_EPOCH,
    }
}
