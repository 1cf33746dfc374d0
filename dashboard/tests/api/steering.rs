//! Jobs and dead letters that are steered, and waited for.

use std::time::Duration;

use gristmill_core::id::{DEFAULT_TENANT, JobId};
use gristmill_store::testing::{claim_as, dead, worker};
use gristmill_store::{Completion, JobFilter, Page};
use serde_json::{Value, json};

use crate::env::{self, TestEnv};

/// Claims everything and lets it die.
async fn kill_all(env: &TestEnv) {
    let worker = worker(Duration::from_secs(60));
    env.store.register_worker(&worker).await.expect("registered");
    let claimed = env.store.claim_next(&claim_as(worker.id, 100)).await.expect("claimed");
    let ended: Vec<Completion> = claimed.iter().map(dead).collect();
    env.store.complete(&ended).await.expect("completed");
}

async fn all_jobs(env: &TestEnv) -> usize {
    let filter = JobFilter { tenant: DEFAULT_TENANT.to_owned(), ..JobFilter::default() };
    env.store.jobs(&filter, &Page { after: None, limit: 1_000 }).await.expect("listed").len()
}

#[tokio::test]
async fn a_job_is_let_run_and_called_off_with_its_reason() {
    let env = env::open().await;
    let id = env.enqueue(&json!({ "kind": "note", "in": "1h" })).await;
    let path = |verb: &str| format!("/api/v1/jobs/{id}/{verb}");
    let would = env.send("POST", &path("retry?dry_run=true"), &[], b"").await;
    assert_eq!((&would.data()["dry_run"], &would.data()["affected"]), (&json!(true), &json!(1)));
    assert_eq!(env.get(&format!("/api/v1/jobs/{id}")).await.data()["state"], "scheduled");
    assert_eq!(env.send("POST", &path("retry"), &[], b"").await.data()["affected"], 1);
    assert_eq!(env.send("POST", &path("retry"), &[], b"").await.data()["affected"], 0, "it waits for nothing any more");
    let cancelled = env.send("POST", &path("cancel?reason=wrong%20customer"), &[], b"").await;
    assert_eq!(cancelled.data()["affected"], 1);
    let job = env.get(&format!("/api/v1/jobs/{id}")).await;
    assert_eq!(job.data()["state"], "cancelled");
    assert!(job.data()["error"].as_str().expect("a reason").contains("wrong customer"), "{job:?}");
    assert_eq!(env.send("POST", &path("cancel"), &[], b"").await.data()["affected"], 0, "it is called off already");
}

#[tokio::test]
async fn a_caller_waits_until_a_job_is_final_or_its_time_is_over() {
    let env = env::open().await;
    let id = env.enqueue(&json!({ "kind": "note", "in": "1h" })).await;
    let path = format!("/api/v1/jobs/{id}/wait");
    let over = env.get(&format!("{path}?timeout=100ms")).await;
    assert_eq!((&over.data()["state"], &over.data()["waits"][0]["why"]), (&json!("scheduled"), &json!("time")));
    let cancel = format!("/api/v1/jobs/{id}/cancel");
    let long = format!("{path}?timeout=30s");
    let (ended, _) = tokio::join!(env.get(&long), env.send("POST", &cancel, &[], b""));
    assert_eq!(ended.data()["state"], "cancelled");
    assert_eq!(env.get(&format!("{path}?timeout=1h")).await.faults(), ["?timeout"]);
}

#[tokio::test]
async fn dead_letters_are_listed_redriven_and_discarded() {
    let env = env::open().await;
    let (one, two) = (env.enqueue(&json!({ "kind": "work" })).await, env.enqueue(&json!({ "kind": "webhook" })).await);
    let waiting = env.enqueue(&json!({ "kind": "note", "in": "1h" })).await;
    kill_all(&env).await;
    assert_eq!(env.get("/api/v1/dead-letters").await.data().as_array().map(Vec::len), Some(2));
    assert_eq!(env.get("/api/v1/dead-letters?kind=webhook").await.data()[0]["id"], json!(two));
    let body = json!({ "jobs": [one, waiting, "0198f9c1-7d2e-7000-8000-000000000000"] });
    let would = env.post("/api/v1/dead-letters/redrive?dry_run=true", &body).await;
    assert_eq!((&would.data()["affected"], &would.data()["refused"]), (&json!(1), &json!(2)));
    let done = env.post("/api/v1/dead-letters/redrive", &body).await;
    assert_eq!(done.data()["affected"], 1);
    assert_eq!(done.data()["reasons"].as_array().map(Vec::len), Some(2), "{done:?}");
    assert_eq!(env.post("/api/v1/dead-letters/discard", &json!({})).await.faults(), ["/jobs"]);
    assert_eq!(
        env.post("/api/v1/dead-letters/discard", &json!({ "jobs": [one], "all": true })).await.faults(),
        ["/jobs"]
    );
    let gone = env.post("/api/v1/dead-letters/discard", &json!({ "kind": "webhook" })).await;
    assert_eq!((&gone.data()["affected"], all_jobs(&env).await), (&json!(1), 2));
}

#[tokio::test]
async fn a_list_of_jobs_is_enqueued_whole_or_not_at_all() {
    let env = env::open().await;
    let many = json!([{ "kind": "note" }, { "kind": "note", "queue": "mail" }]);
    let made = env.post("/api/v1/jobs/many", &many).await;
    assert_eq!((made.status, &made.data()["enqueued"]), (201, &json!(2)));
    let wrong = env.post("/api/v1/jobs/many", &json!([{ "kind": "note" }, { "kind": "a b" }, { "queue": "x" }])).await;
    assert_eq!((wrong.status, wrong.faults()), (422, vec!["/1/kind", "/2/kind"]));
    let too_many: Vec<Value> = (0..1_001).map(|_| json!({ "kind": "note" })).collect();
    assert_eq!(env.post("/api/v1/jobs/many", &json!(too_many)).await.status, 422);
    assert_eq!(env.post("/api/v1/jobs/many", &json!({ "kind": "note" })).await.status, 422);
    assert_eq!(all_jobs(&env).await, 2);
}

#[tokio::test]
async fn a_stream_of_jobs_is_committed_in_groups_and_says_how_far_it_came() {
    let env = env::open().await;
    let lines: String = (0..2_500).map(|number| format!("{{\"kind\":\"note\",\"payload\":{number}}}\n")).collect();
    let ndjson = [("content-type", "application/x-ndjson")];
    let path = "/api/v1/jobs/many?idempotency_key=import-7";
    let made = env.send("POST", path, &ndjson, lines.as_bytes()).await;
    assert_eq!((made.status, &made.data()["enqueued"]), (201, &json!(2_500)), "{}", made.text);
    let again = env.send("POST", path, &ndjson, lines.as_bytes()).await;
    assert_eq!((&again.data()["enqueued"], &again.data()["existing"]), (&json!(0), &json!(2_500)));
    let broken = lines.replacen("{\"kind\":\"note\",\"payload\":2100}", "{\"kind\":", 1);
    let stopped = env.send("POST", "/api/v1/jobs/many", &ndjson, broken.as_bytes()).await;
    assert_eq!(stopped.status, 400);
    assert!(stopped.body["error"]["message"].as_str().expect("a text").starts_with("line 2101:"), "{stopped:?}");
    assert_eq!(stopped.body["error"]["details"]["progress"]["lines"], 2_000, "two groups are in the store");
    let empty = env.send("POST", "/api/v1/jobs/many", &ndjson, b"\n\n").await;
    assert_eq!(empty.data()["enqueued"], 0);
    let unended = env.send("POST", "/api/v1/jobs/many?dry_run=true", &ndjson, b"{\"kind\":\"note\"}").await;
    assert_eq!(unended.data()["would_enqueue"], 1);
}

#[tokio::test]
async fn a_request_under_a_key_is_carried_out_once() {
    let env = env::open().await;
    let headers = |key: &'static str| [("content-type", "application/json"), ("idempotency-key", key)];
    let body = json!({ "kind": "note", "payload": 1 }).to_string();
    let send = async |key, body: &str| env.send("POST", "/api/v1/jobs", &headers(key), body.as_bytes()).await;
    let (one, two) = tokio::join!(send("order-7", &body), send("order-7", &body));
    let statuses = [one.status, two.status];
    assert!(statuses.contains(&201) && statuses.iter().all(|status| [201, 409].contains(status)), "{statuses:?}");
    let again = send("order-7", &body).await;
    assert_eq!((again.status, again.header("idempotent-replayed")), (201, Some("true")));
    assert!(again.header("location").expect("an address").starts_with("/api/v1/jobs/"));
    let other = send("order-7", &json!({ "kind": "note", "payload": 2 }).to_string()).await;
    assert_eq!((other.status, other.code()), (409, "conflict"));
    assert_eq!(all_jobs(&env).await, 1);
    assert_eq!(send("refused", "{}").await.status, 422);
    assert_eq!(send("refused", &body).await.status, 201, "what was refused may be mended under its key");
    assert_eq!(send("", &body).await.status, 400);
    let rehearsal = env.send("POST", "/api/v1/jobs?dry_run=true", &headers("order-8"), body.as_bytes()).await;
    assert_eq!(rehearsal.status, 200);
    assert_eq!(send("order-8", &body).await.status, 201, "a rehearsal takes no key");
    let id: JobId = again.data()["job"]["id"].as_str().expect("an id").parse().expect("an id");
    assert!(env.store.job(DEFAULT_TENANT, id).await.expect("asked").is_some());
}
