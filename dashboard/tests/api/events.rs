//! Events over HTTP: in every form of CloudEvents, listed and shown, their schemas, and who subscribes to them.

use serde_json::json;

use crate::env;

#[tokio::test]
async fn an_event_is_published_in_every_form_and_shown_as_it_was() {
    let env = env::open().await;
    let one = json!({ "specversion": "1.0", "id": "1", "source": "shop", "type": "order.paid", "subject": "order/17",
        "region": "eu", "data": { "total": 12 } });
    let published = env.post("/api/v1/events", &one).await;
    assert_eq!((published.status, &published.data()[0]["fresh"]), (200, &json!(true)), "{published:?}");
    assert_eq!(env.post("/api/v1/events", &one).await.data()[0]["fresh"], false);
    let mut other = one.clone();
    other["data"] = json!(null);
    let conflict = env.post("/api/v1/events", &other).await;
    assert_eq!((conflict.status, conflict.code()), (409, "conflict"));
    let structured = [("content-type", "application/cloudevents+json; charset=utf-8")];
    let two = json!({ "id": "2", "source": "shop", "type": "order.sent" }).to_string();
    assert_eq!(env.send("POST", "/api/v1/events", &structured, two.as_bytes()).await.status, 200);
    let batched = [("content-type", "application/cloudevents-batch+json")];
    let group = json!([{ "id": "3", "type": "refund" }, { "type": "order.paid" }]).to_string();
    let group = env.send("POST", "/api/v1/events", &batched, group.as_bytes()).await;
    assert_eq!((group.data()[0]["source"].as_str(), group.data().as_array().map(Vec::len)), (Some("api"), Some(2)));
    assert_eq!(env.send("POST", "/api/v1/events", &batched, b"{}").await.status, 422, "a batch is an array");
    let binary =
        [("content-type", "application/json"), ("ce-type", "order.paid"), ("ce-id", "4"), ("ce-source", "a%20b")];
    assert_eq!(env.send("POST", "/api/v1/events", &binary, b"{\"n\": 1}").await.status, 200);
    env.store.sequence_events(100).await.expect("sequenced");
    let listed = env.get("/api/v1/events?type=order.*&limit=2").await;
    let ids: Vec<_> = listed.data().as_array().expect("a list").iter().map(|event| event["id"].clone()).collect();
    assert_eq!(ids, [json!("1"), json!("2")]);
    let shown = env.get("/api/v1/events/1").await;
    let event = &shown.data()["event"];
    assert_eq!((&event["region"], &event["data"]["total"], &event["position"]), (&json!("eu"), &json!(12), &json!(1)));
    let newest = env.get("/api/v1/events?newest_first=true&limit=1").await;
    assert_eq!((&newest.data()[0]["source"], &newest.data()[0]["data"]["n"]), (&json!("a b"), &json!(1)));
    assert_eq!(env.get("/api/v1/events/none").await.status, 404);
    assert_eq!(env.get("/api/v1/events?type=a%20b").await.faults(), ["?type"]);
}

#[tokio::test]
async fn everything_that_is_wrong_with_events_is_named_with_its_place() {
    let env = env::open().await;
    let wrong = env.post("/api/v1/events", &json!([{ "type": "a" }, { "type": "", "position": 3 }])).await;
    assert_eq!((wrong.status, wrong.faults()), (422, vec!["/1", "/1"]), "{wrong:?}");
    assert_eq!(env.post("/api/v1/events", &json!([])).await.status, 422);
    let schema = json!({ "type": "order.paid", "schema": { "required": ["total"], "type": "object" } });
    assert_eq!(env.post("/api/v1/event-schemas?dry_run=true", &schema).await.data()["affected"], 1);
    assert_eq!(env.post("/api/v1/event-schemas", &schema).await.data()["affected"], 1);
    let unfit = env.post("/api/v1/events", &json!({ "type": "order.paid", "data": {} })).await;
    assert_eq!(unfit.status, 422, "{unfit:?}");
    assert!(unfit.text.contains("total"), "{}", unfit.text);
    assert_eq!(env.get("/api/v1/event-schemas?type=order.paid").await.data()[0]["version"], 1);
    let narrower = json!({ "type": "order.paid", "schema": { "required": ["total", "mail"], "type": "object" } });
    assert_eq!(env.post("/api/v1/event-schemas", &narrower).await.status, 422);
}

#[tokio::test]
async fn a_subscription_is_made_paused_replayed_and_removed() {
    let env = env::open().await;
    let path = |rest: &str| format!("/api/v1/subscriptions/receipts{rest}");
    let body = json!({ "spec": { "types": "order.*", "job": { "kind": "receipt" }, "from": "beginning" } }).to_string();
    let json = [("content-type", "application/json")];
    assert_eq!(env.send("PUT", &path(""), &json, body.as_bytes()).await.data()["affected"], 1);
    let bad = json!({ "spec": { "types": "a b" } }).to_string();
    assert_eq!(env.send("PUT", &path(""), &json, bad.as_bytes()).await.status, 422);
    env.post("/api/v1/events", &json!({ "id": "1", "type": "order.paid" })).await;
    env.store.sequence_events(100).await.expect("sequenced");
    let shown = env.get(&path("")).await;
    assert_eq!((&shown.data()["lag"], &shown.data()["cursor"]), (&json!(1), &json!(0)));
    assert_eq!(env.send("POST", &path("/pause?reason=later"), &[], b"").await.data()["affected"], 1);
    assert_eq!(env.get("/api/v1/subscriptions").await.data()[0]["paused_for"], "later");
    assert_eq!(env.send("POST", &path("/resume"), &[], b"").await.data()["affected"], 1);
    assert_eq!(env.get(&path("/refused")).await.data(), &json!([]));
    let would = env.post(&path("/replay?dry_run=true"), &json!({ "types": ["order.paid"] })).await;
    assert_eq!((&would.data()["matches"], &would.data()["replay"]), (&json!(1), &json!(null)));
    let started = env.post(&path("/replay"), &json!({ "rate": 10 })).await;
    let id = started.data()["replay"].as_str().expect("an id").to_owned();
    assert_eq!(env.get("/api/v1/replays").await.data()[0]["id"], json!(id));
    assert_eq!(env.send("POST", &format!("/api/v1/replays/{id}/cancel"), &[], b"").await.data()["affected"], 1);
    assert_eq!(env.post(&path("/replay"), &json!({ "rate": 0, "types": ["a b"] })).await.faults(), ["/types", "/rate"]);
    assert_eq!(env.send("DELETE", &path(""), &[], b"").await.data()["affected"], 1);
    assert_eq!(env.get(&path("")).await.status, 404);
}

#[tokio::test]
async fn who_may_not_see_contents_sees_no_data() {
    let env = env::with_users().await;
    let event = json!({ "id": "1", "type": "order.paid", "data": { "secret": "x" } }).to_string();
    let headers = [("content-type", "application/json"), ("authorization", "Bearer owner")];
    assert_eq!(env.send("POST", "/api/v1/events", &headers, event.as_bytes()).await.status, 200);
    env.store.sequence_events(100).await.expect("sequenced");
    for (role, data) in [("owner", json!({ "secret": "x" })), ("viewer", json!(null))] {
        let shown = env.get_as(role, "/api/v1/events/1").await;
        assert_eq!(shown.data()["event"]["data"], data, "{role}");
        assert_eq!(env.get_as(role, "/api/v1/events").await.data()[0]["data"], data, "{role}");
    }
}
