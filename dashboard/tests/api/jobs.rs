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

#[tokio::test]
async fn a_job_that_waits_is_edited_on_what_was_read() {
    let env = env::open().await;
    let id = env.enqueue(&json!({ "kind": "email", "payload": { "to": 1 }, "in": "1h" })).await;
    let path = format!("/api/v1/jobs/{id}");
    let patch = async |query: &str, tag: Option<&str>, body: serde_json::Value| {
        let mut headers = vec![("content-type", "application/json")];
        headers.extend(tag.map(|tag| ("if-match", tag)));
        env.send("PATCH", &format!("{path}{query}"), &headers, body.to_string().as_bytes()).await
    };
    let tag = env.get(&path).await.header("etag").expect("a tag").to_owned();
    let would = patch("?dry_run=true", Some(&tag), json!({ "priority": "high" })).await;
    assert_eq!((&would.data()["dry_run"], &would.data()["affected"]), (&json!(true), &json!(1)), "{would:?}");
    let body = json!({ "priority": "high", "queue": "slow", "in": "2h", "payload": { "to": 2 } });
    assert_eq!(patch("?reason=late", Some(&tag), body).await.data()["affected"], 1);
    let shown = env.get(&path).await;
    let job = shown.data();
    assert_eq!(
        (&job["priority"], &job["queue"], &job["payload"], &job["state"]),
        (&json!("high"), &json!("slow"), &json!({ "to": 2 }), &json!("scheduled"))
    );
    let stale = patch("", Some(&tag), json!({ "queue": "other" })).await;
    assert_eq!((stale.status, stale.code()), (412, "stale"));
    let edition = shown.header("etag").expect("a tag").trim_start_matches("W/\"").split('.').next().map(str::to_owned);
    let short = format!("\"{}\"", edition.expect("its first part"));
    assert_eq!(patch("", Some(&short), json!({ "in": "0s" })).await.data()["affected"], 1, "the first part is enough");
    assert_eq!(env.get(&path).await.data()["state"], "queued");
    assert_eq!(patch("", Some("*"), json!({ "queue": "slow" })).await.data()["affected"], 0, "it is there already");
    for (body, faults) in [
        (json!({}), &[""][..]),
        (json!({ "payload": null }), &[""]),
        (json!({ "in": "1h", "at": "2030-01-31T08:00:00Z" }), &["/at"]),
        (json!({ "at": "soon", "priority": "utmost", "kind": "exec" }), &["/priority", "/at", "/kind"]),
    ] {
        let answer = patch("", None, body).await;
        assert_eq!((answer.status, answer.faults()), (422, faults.to_vec()), "{answer:?}");
    }
    assert_eq!(patch("", None, json!({ "queue": "a b" })).await.code(), "invalid");
    assert_eq!(env.send("POST", &format!("{path}/cancel"), &[], b"").await.status, 200);
    assert_eq!(patch("", None, json!({ "queue": "other" })).await.code(), "conflict", "it waits no more");
    let entry = &env.get("/api/v1/audit?action=job.edit").await;
    let details = &entry.data().as_array().expect("a list").last().expect("an entry")["details"];
    assert_eq!(
        (&details["before"]["queue"], &details["after"]["queue"]),
        (&json!("default"), &json!("slow")),
        "{entry:?}"
    );
}

#[tokio::test]
async fn whoever_may_not_control_jobs_edits_none() {
    let env = env::with_users().await;
    let body = json!({ "kind": "note" }).to_string();
    let headers = |token| [("content-type", "application/json"), ("authorization", token)];
    let made = env.send("POST", "/api/v1/jobs", &headers("Bearer operator"), body.as_bytes()).await;
    let path = format!("/api/v1/jobs/{}", made.data()["job"]["id"].as_str().expect("an id"));
    let edit = json!({ "priority": "low" }).to_string();
    for (token, status) in [
        ("Bearer viewer", 403),
        ("Bearer operator+jobs:read", 403),
        ("Bearer owner@other", 404),
        ("Bearer operator+jobs:control", 200),
    ] {
        assert_eq!(env.send("PATCH", &path, &headers(token), edit.as_bytes()).await.status, status, "{token}");
    }
}
