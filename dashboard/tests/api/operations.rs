//! Operations over many jobs, and lists that are asked by a query.

use serde_json::{Value, json};

use gristmill_service::retention::PrunerOptions;
use gristmill_store::testing;

use crate::env::{self, Heard, TestEnv};

async fn waiting(env: &TestEnv, kind: &str, jobs: usize) {
    for _ in 0..jobs {
        env.enqueue(&json!({ "kind": kind, "in": "1h" })).await;
    }
}

fn cancel(query: &str) -> Value {
    json!({ "verb": "cancel", "query": query })
}

/// Posts as the caller whose token is this.
async fn post_as(env: &TestEnv, token: &str, path: &str, body: &Value) -> Heard {
    let bearer = format!("Bearer {token}");
    let headers = [("content-type", "application/json"), ("authorization", bearer.as_str())];
    env.send("POST", path, &headers, body.to_string().as_bytes()).await
}

/// Makes all steps that are due.
async fn step(env: &TestEnv) {
    while env.service.step_operations(&PrunerOptions::default()).await.expect("steps") > 0 {}
}

#[tokio::test]
async fn an_operation_is_previewed_started_followed_and_undone() {
    let env = env::open().await;
    waiting(&env, "import", 7).await;
    waiting(&env, "export", 2).await;
    let would = env.post("/api/v1/operations?dry_run=true", &cancel("kind:import")).await;
    assert_eq!((would.status, &would.data()["matches"], &would.data()["dry_run"]), (200, &json!(7), &json!(true)));
    assert_eq!(would.data()["samples"].as_array().map(Vec::len), Some(5));
    waiting(&env, "import", 1).await;
    let mut body = cancel("kind:import");
    body["snapshot"] = would.data()["snapshot"].clone();
    let started = env.post("/api/v1/operations?reason=wrong%20file", &body).await;
    let id = started.data()["id"].as_str().expect("an id").to_owned();
    let place = format!("/api/v1/operations/{id}");
    assert_eq!((started.status, started.header("location")), (201, Some(place.as_str())));
    assert_eq!((&started.data()["state"], &started.data()["preview"]), (&json!("running"), &json!(7)));
    step(&env).await;
    let ended = env.get(&place).await;
    assert_eq!((&ended.data()["state"], &ended.data()["done"]), (&json!("finished"), &json!(7)));
    assert_eq!(env.get("/api/v1/jobs?q=state:cancelled").await.data().as_array().map(Vec::len), Some(7));
    let undo = format!("{place}/undo");
    let could = env.send("POST", &format!("{undo}?dry_run=true"), &[], b"").await;
    assert_eq!(could.data()["state"], "finished", "a rehearsal changes nothing");
    assert_eq!(env.send("POST", &undo, &[], b"").await.data()["state"], "undoing");
    step(&env).await;
    assert_eq!(env.get(&place).await.data()["undone"], 7);
    assert_eq!(env.get("/api/v1/jobs?q=state:scheduled").await.data().as_array().map(Vec::len), Some(10));
    let listed = env.get("/api/v1/operations").await;
    assert_eq!((listed.data().as_array().map(Vec::len), &listed.data()[0]["id"]), (Some(1), &json!(id)));
}

#[tokio::test]
async fn an_operation_that_runs_is_called_off_once() {
    let env = env::open().await;
    waiting(&env, "import", 3).await;
    let mut body = cancel("kind:import");
    body["rate"] = json!(1);
    let id = env.post("/api/v1/operations?reason=x", &body).await.data()["id"].as_str().expect("an id").to_owned();
    let path = format!("/api/v1/operations/{id}/cancel");
    for _ in 0..2 {
        assert_eq!(env.send("POST", &path, &[], b"").await.data()["state"], "cancelled");
    }
    let unknown = env.send("POST", "/api/v1/operations/0198f9c1-7f3a-7cc2-9e2b-0123456789ab/cancel", &[], b"").await;
    assert_eq!((unknown.status, unknown.code()), (404, "not_found"));
}

#[tokio::test]
async fn what_makes_no_sense_is_refused_with_its_place() {
    let env = env::open().await;
    for (body, faults) in [
        (json!({}), vec!["/verb", "/query"]),
        (cancel(""), vec!["/query"]),
        (cancel("sate:queued"), vec!["/query"]),
        (cancel("state:running"), vec!["/query"]),
        (json!({ "verb": "redrive", "query": "state:dead" }), vec!["/query"]),
        (json!({ "verb": "forget", "query": "kind:a" }), vec!["/verb"]),
        (json!({ "verb": "cancel", "query": "kind:a", "rate": 0 }), vec!["/rate"]),
        (json!({ "verb": "cancel", "query": "kind:a", "snapshot": "soon" }), vec!["/snapshot"]),
    ] {
        let refused = env.post("/api/v1/operations?reason=x", &body).await;
        assert_eq!((refused.status, refused.faults()), (422, faults), "{body}");
    }
    assert_eq!(env.post("/api/v1/operations", &cancel("kind:a")).await.faults(), ["?reason"]);
    for path in ["jobs?q=sate:dead", "dead-letters?q=state:dead", "batches?q=kind:a", "quarantine?q=age:1h"] {
        let refused = env.get(&format!("/api/v1/{path}")).await;
        assert_eq!((refused.status, refused.faults()), (422, vec!["?q"]), "{path}");
        assert!(refused.text.contains("at 1: "), "{}", refused.text);
    }
}

#[tokio::test]
async fn lists_are_asked_by_a_query() {
    let env = env::open().await;
    waiting(&env, "import", 3).await;
    waiting(&env, "export", 2).await;
    let count = async |path: &str| env.get(path).await.data().as_array().map(Vec::len);
    assert_eq!(count("/api/v1/jobs?q=kind:im*%20age%3C1h").await, Some(3));
    assert_eq!(count("/api/v1/jobs?q=-kind:im*&state=scheduled").await, Some(2));
    assert_eq!(count("/api/v1/jobs?q=kind:im*&kind=export").await, Some(0), "both must hold");
    assert_eq!(count("/api/v1/dead-letters?q=kind:import").await, Some(0));
    assert_eq!(count("/api/v1/batches?q=state:halted%20name:*").await, Some(0));
    assert_eq!(count("/api/v1/quarantine?q=stage:parse").await, Some(0));
}

#[tokio::test]
async fn tenants_and_roles_are_kept_apart() {
    let env = env::with_users().await;
    let body = json!({ "kind": "note", "in": "1h" });
    assert_eq!(post_as(&env, "operator", "/api/v1/jobs", &body).await.status, 201);
    let start = "/api/v1/operations?reason=x";
    assert_eq!(post_as(&env, "viewer", start, &cancel("kind:note")).await.status, 403);
    let discard = json!({ "verb": "discard", "query": "kind:note" });
    let refused = post_as(&env, "operator", start, &discard).await;
    assert_eq!(refused.status, 403, "discarding needs `jobs:delete`: {}", refused.text);
    assert_eq!(post_as(&env, "owner", start, &discard).await.status, 201);
    let foreign = post_as(&env, "operator@other", start, &cancel("kind:note")).await;
    assert_eq!((foreign.status, &foreign.data()["preview"]), (201, &json!(0)));
    let own = post_as(&env, "operator", start, &cancel("kind:note")).await;
    assert_eq!(own.data()["preview"], 1);
    let path = format!("/api/v1/operations/{}", own.data()["id"].as_str().expect("an id"));
    assert_eq!(env.get_as("viewer", &path).await.status, 200);
    assert_eq!(env.get_as("owner@other", &path).await.status, 404);
    assert_eq!(post_as(&env, "owner@other", &format!("{path}/cancel"), &json!({})).await.status, 404);
    assert_eq!(env.get_as("owner@other", "/api/v1/operations").await.data().as_array().map(Vec::len), Some(1));
}

#[tokio::test]
async fn what_was_done_is_undone_by_those_who_may_do_it() {
    let env = env::with_users().await;
    let start = "/api/v1/operations?reason=x";
    let undo = |started: &Heard| format!("/api/v1/operations/{}/undo", started.data()["id"].as_str().expect("an id"));
    let discarded = post_as(&env, "owner", start, &body("discard", "kind:note")).await;
    let refused = post_as(&env, "operator", &undo(&discarded), &json!({})).await;
    assert_eq!(refused.status, 403, "{}", refused.text);
    assert!(refused.text.contains("jobs:delete"), "{}", refused.text);
    let rehearsed = post_as(&env, "operator", &format!("{}?dry_run=true", undo(&discarded)), &json!({})).await;
    assert_eq!(rehearsed.status, 403, "nor is it rehearsed: {}", rehearsed.text);
    let items = post_as(&env, "owner", start, &body("discard-items", "state:open")).await;
    assert_eq!(post_as(&env, "operator", &undo(&items), &json!({})).await.status, 403);
    let foreign = post_as(&env, "operator@other", &undo(&discarded), &json!({})).await;
    assert_eq!(foreign.status, 404, "of another tenant nothing is said: {}", foreign.text);
    let shown = env.get_as("owner", &undo(&discarded).replace("/undo", "")).await;
    assert_eq!(shown.data()["undone"], 0, "{}", shown.text);
    for done in [discarded, items] {
        assert_eq!(post_as(&env, "owner", &undo(&done), &json!({})).await.status, 200);
    }
    let cancelled = post_as(&env, "operator", start, &cancel("kind:note")).await;
    assert_eq!(post_as(&env, "operator", &undo(&cancelled), &json!({})).await.status, 200, "their own verb");
}

/// The body of an operation.
fn body(verb: &str, query: &str) -> Value {
    json!({ "verb": verb, "query": query })
}

#[tokio::test]
async fn items_and_batches_are_operated_upon_as_jobs_are() {
    let env = env::open().await;
    let (first, second) = (testing::sealed(&env.store, 2, 5).await, testing::sealed(&env.store, 2, 5).await);
    let would = env.post("/api/v1/operations?dry_run=true", &body("cancel-batches", "state:sealed")).await;
    assert_eq!((&would.data()["matches"], &would.data()["samples"]), (&json!(2), &json!([first, second])));
    let path = "/api/v1/operations?reason=wrong%20file";
    let started = env.post(path, &body("cancel-batches", "state:sealed")).await;
    let place = format!("/api/v1/operations/{}", started.data()["id"].as_str().expect("an id"));
    step(&env).await;
    let ended = env.get(&place).await;
    assert_eq!((&ended.data()["state"], &ended.data()["done"]), (&json!("finished"), &json!(2)));
    let state = async || env.get(&format!("/api/v1/batches/{first}")).await.data()["batch"]["state"].clone();
    assert_eq!(state().await, "cancelled");
    assert_eq!(env.send("POST", &format!("{place}/undo"), &[], b"").await.data()["state"], "undoing");
    step(&env).await;
    assert_eq!(state().await, "sealed");
    for (verb, query, fault) in [
        ("redrive-items", "state:redriven", "items that are open"),
        ("redrive-items", "kind:a", "no key of quarantined items"),
        ("delete-batches", "state:sealed", "complete, halted, cancelled"),
        ("pause-batches", "", "name:*"),
    ] {
        let refused = env.post(path, &body(verb, query)).await;
        assert_eq!((refused.status, refused.faults()), (422, vec!["/query"]), "{verb} {query}");
        assert!(refused.text.contains(fault), "{verb} {query}: {}", refused.text);
    }
    for verb in ["redrive-items", "discard-items"] {
        assert_eq!(env.post(path, &body(verb, "state:open")).await.data()["preview"], 0, "{verb}");
    }
}

#[tokio::test]
async fn each_verb_needs_what_a_single_one_needs() {
    let env = env::with_users().await;
    let start = "/api/v1/operations?reason=x";
    for (verb, query, operator) in [
        ("redrive-items", "state:open", 201),
        ("discard-items", "state:open", 403),
        ("cancel-batches", "name:*", 201),
        ("pause-batches", "name:*", 201),
        ("resume-batches", "name:*", 201),
        ("restart-batches", "name:*", 201),
        ("delete-batches", "name:*", 403),
    ] {
        let asked = body(verb, query);
        assert_eq!(post_as(&env, "viewer", start, &asked).await.status, 403, "{verb}");
        assert_eq!(post_as(&env, "operator", start, &asked).await.status, operator, "{verb}");
        assert_eq!(post_as(&env, "owner", start, &asked).await.status, 201, "{verb}");
    }
}
