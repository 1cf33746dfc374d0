//! Jobs.

use serde_json::json;

use crate::env;

#[tokio::test]
async fn a_job_is_enqueued_listed_and_shown() {
    let env = env::open().await;
    let body = json!({ "kind": "note", "payload": { "x": 1 }, "queue": "mail", "priority": "high", "in": "5m", "key": "acme" });
    let made = env.post("/api/v1/jobs", &body).await;
    let id = made.data()["job"]["id"].as_str().expect("an id").to_owned();
    assert_eq!((made.status, made.header("location")), (201, Some(format!("/api/v1/jobs/{id}").as_str())));
    let shown = env.get(&format!("/api/v1/jobs/{id}")).await;
    let job = shown.data();
    assert_eq!(
        (&job["payload"], &job["state"], &job["key"]),
        (&json!({ "x": 1 }), &json!("scheduled"), &json!("acme"))
    );
    assert_eq!(job["waits"][0]["why"], "time");
    let listed = env.get("/api/v1/jobs?state=scheduled&queue=mail&kind=note&key=acme").await;
    assert_eq!((listed.data()[0]["id"].as_str(), &listed.data()[0]["payload"]), (Some(id.as_str()), &json!(null)));
    assert_eq!(env.get("/api/v1/jobs?state=dead").await.data(), &json!([]));
}

#[tokio::test]
async fn everything_that_is_wrong_with_a_job_is_said_at_once() {
    let env = env::open().await;
    let body = json!({ "kind": "a b", "queue": "", "at": "soon", "max_attempts": 0, "timeout": "5x", "kidn": 1 });
    let answer = env.post("/api/v1/jobs", &body).await;
    assert_eq!((answer.status, answer.code()), (422, "invalid"));
    assert_eq!(answer.faults(), ["/at", "/timeout", "/kidn"]);
    let body = json!({ "kind": "a b", "queue": "", "max_attempts": 0 });
    assert_eq!(env.post("/api/v1/jobs", &body).await.faults(), ["/kind", "/queue", "/max_attempts"]);
    assert_eq!(env.post("/api/v1/jobs", &json!({})).await.faults(), ["/kind"]);
    assert_eq!(env.post("/api/v1/jobs", &json!({ "kind": "emial" })).await.faults(), ["/kind"]);
    assert_eq!(env.post("/api/v1/jobs", &json!({ "kind": "email" })).await.faults(), ["/payload"]);
}

#[tokio::test]
async fn a_rehearsal_enqueues_nothing() {
    let env = env::open().await;
    let answer = env.post("/api/v1/jobs?dry_run=true", &json!({ "kind": "note" })).await;
    assert_eq!((answer.status, &answer.data()["would_enqueue"]), (200, &json!(1)));
    assert_eq!(env.get("/api/v1/jobs").await.data(), &json!([]));
}

#[tokio::test]
async fn a_job_that_is_there_already_is_named() {
    let env = env::open().await;
    let body = json!({ "kind": "note", "unique": "nightly" });
    let id = env.enqueue(&body).await;
    let second = env.post("/api/v1/jobs", &body).await;
    assert_eq!((second.status, &second.data()["job"]["id"]), (200, &json!(id)));
    let refused =
        env.post("/api/v1/jobs", &json!({ "kind": "note", "unique": "nightly", "on_conflict": "refuse" })).await;
    assert_eq!((refused.status, refused.code()), (409, "conflict"));
}

#[tokio::test]
async fn pages_follow_each_other_to_the_end() {
    let env = env::open().await;
    for number in 0..5 {
        env.enqueue(&json!({ "kind": "note", "payload": number })).await;
    }
    let (mut seen, mut path) = (Vec::new(), "/api/v1/jobs?limit=2".to_owned());
    loop {
        let page = env.get(&path).await;
        seen.extend(
            page.data().as_array().expect("a list").iter().map(|job| job["id"].as_str().expect("an id").to_owned()),
        );
        let Some(link) = page.header("link") else { break };
        assert!(page.body["nextCursor"].is_string());
        path = link.trim_start_matches('<').split('>').next().expect("an address").to_owned();
    }
    let mut sorted = seen.clone();
    sorted.sort();
    sorted.dedup();
    assert_eq!((seen.len(), sorted.len()), (5, 5));
    let odd = env.get("/api/v1/jobs?after=x").await;
    assert_eq!((odd.status, odd.code()), (422, "invalid"));
}

#[tokio::test]
async fn what_a_job_contains_is_for_those_who_may_see_it() {
    let env = env::with_users().await;
    let body = json!({ "kind": "note", "payload": { "secret": 1 } }).to_string();
    let headers = [("content-type", "application/json"), ("authorization", "Bearer operator")];
    let made = env.send("POST", "/api/v1/jobs", &headers, body.as_bytes()).await;
    let path = format!("/api/v1/jobs/{}", made.data()["job"]["id"].as_str().expect("an id"));
    assert_eq!(env.get_as("operator", &path).await.data()["payload"], json!({ "secret": 1 }));
    assert_eq!(env.get_as("viewer", &path).await.data()["payload"], json!(null));
    assert_eq!(env.get_as("owner@other", &path).await.status, 404, "another tenant's job is not there");
}
