//! The documents of events, their schemas, and who subscribes to them.

use gristmill_core::event::Event;
use gristmill_core::event::route::Refusal;
use gristmill_core::event::subscription::SubscriptionSpec;
use gristmill_service::control::event::StartedReplay;
use gristmill_service::documents::{
    DeliveryDocument, EventDocument, EventSchemaDocument, EventTraceDocument, PublishedDocument, ReplayDocument,
    StartedReplayDocument, SubscriptionDocument,
};
use gristmill_store::{ReplayState, SubscriptionOrigin};
use serde_json::{Map, Value, json};

use crate::{Sample, at, id, sample};

fn full() -> Event {
    Event {
        position: Some(7),
        seq: Some(2),
        tenant: "main".to_owned(),
        id: "1".to_owned(),
        source: "shop".to_owned(),
        kind: "order.paid".to_owned(),
        version: 3,
        subject: Some("order/17".to_owned()),
        stream: "order/17".to_owned(),
        time: at(1),
        data: json!({ "total": 12 }),
        trace: Some("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01".to_owned()),
        user: Some("ada@laptop".to_owned()),
        extensions: Map::new(),
        correlation: "0".to_owned(),
        causation: Some("0".to_owned()),
        depth: 1,
        accepted_at: at(2),
    }
}

fn minimal() -> Event {
    Event { position: None, seq: None, subject: None, trace: None, user: None, causation: None, ..full() }
}

fn delivery() -> [DeliveryDocument; 2] {
    let refused = DeliveryDocument {
        subscription: "receipts".to_owned(),
        position: 7,
        replay: None,
        job: None,
        run: None,
        refusal: None,
        reason: None,
        at: at(3),
    };
    let full = DeliveryDocument {
        replay: Some(id(1)),
        job: Some(id(2)),
        run: Some("event/receipts/7".to_owned()),
        refusal: Some(Refusal::Target),
        reason: Some("there is no `mail`".to_owned()),
        ..refused.clone()
    };
    [full, refused]
}

fn subscription() -> [SubscriptionDocument; 2] {
    let spec: SubscriptionSpec =
        serde_json::from_value(json!({ "types": "order.*", "batch": "receipts" })).expect("a subscription");
    let minimal = SubscriptionDocument {
        tenant: "main".to_owned(),
        name: "receipts".to_owned(),
        spec,
        origin: SubscriptionOrigin::File,
        version: 1,
        cursor: 5,
        lag: 0,
        behind_since: None,
        delivered: 3,
        skipped: 1,
        refused: 1,
        delivered_at: None,
        tries: 0,
        retry_at: None,
        error: None,
        paused_at: None,
        paused_by: None,
        paused_for: None,
        created_at: at(0),
        updated_at: at(0),
    };
    let full = SubscriptionDocument {
        lag: 2,
        behind_since: Some(at(4)),
        delivered_at: Some(at(3)),
        tries: 1,
        retry_at: Some(at(5)),
        error: Some("over the quota".to_owned()),
        paused_at: Some(at(6)),
        paused_by: Some("ada@laptop".to_owned()),
        paused_for: Some("later".to_owned()),
        ..minimal.clone()
    };
    [full, minimal]
}

fn replay() -> [ReplayDocument; 2] {
    let minimal = ReplayDocument {
        id: id(1),
        tenant: "main".to_owned(),
        subscription: "receipts".to_owned(),
        types: Vec::new(),
        cursor: 5,
        until: 9,
        rate: None,
        state: ReplayState::Running,
        delivered: 2,
        skipped: 1,
        refused: 0,
        by: "ada@laptop".to_owned(),
        reason: None,
        created_at: at(0),
        ended_at: None,
    };
    let full = ReplayDocument {
        types: vec!["order.paid".to_owned()],
        rate: Some(50),
        state: ReplayState::Finished,
        reason: Some("mails were lost".to_owned()),
        ended_at: Some(at(2)),
        ..minimal.clone()
    };
    [full, minimal]
}

pub(super) fn samples() -> Vec<Sample> {
    let (shown, hidden) = (EventDocument::new(&full(), true), EventDocument::new(&minimal(), false));
    let [delivered, refused] = delivery();
    let trace =
        EventTraceDocument { event: shown.clone(), deliveries: vec![delivered.clone()], chain: vec![shown.clone()] };
    let alone = EventTraceDocument { event: hidden.clone(), deliveries: Vec::new(), chain: Vec::new() };
    let schema = EventSchemaDocument {
        kind: "order.paid".to_owned(),
        version: 3,
        schema: json!({ "type": "object" }),
        by: "ada@laptop".to_owned(),
        at: at(1),
    };
    let published = PublishedDocument { id: "1".to_owned(), source: "shop".to_owned(), fresh: true };
    let started = StartedReplay { id: Some(id(1)), matches: 0, more: false };
    let would = StartedReplay { id: None, matches: 2, more: true };
    vec![
        sample("EventDocument", shown, hidden),
        sample("EventTraceDocument", trace, alone),
        sample("DeliveryDocument", delivered, refused),
        sample("EventSchemaDocument", &schema, &schema),
        sample("PublishedDocument", &published, &published),
        sample("SubscriptionDocument", &subscription()[0], &subscription()[1]),
        sample("ReplayDocument", &replay()[0], &replay()[1]),
        sample("StartedReplayDocument", StartedReplayDocument::new(&started), StartedReplayDocument::new(&would)),
    ]
}

#[test]
fn a_publishers_own_attributes_stand_beside_the_others_and_data_is_for_those_who_may_see_it() {
    let mut event = full();
    event.extensions.insert("region".to_owned(), json!("eu"));
    let shown = json!(EventDocument::new(&event, true));
    assert_eq!((&shown["region"], &shown["data"]["total"]), (&json!("eu"), &json!(12)));
    assert_eq!(json!(EventDocument::new(&event, false))["data"], Value::Null);
    let read: EventDocument = serde_json::from_value(shown.clone()).expect("read back");
    assert_eq!(json!(read), shown);
}
