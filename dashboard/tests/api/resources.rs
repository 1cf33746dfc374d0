//! Every other noun: what it shows, what can be done with it, what is refused.

use serde_json::{Value, json};

use crate::env::{self, TestEnv};

async fn start(env: &TestEnv) -> String {
    let made = env.post("/api/v1/batches", &json!({ "name": "retail", "params": { "shop": "north" } })).await;
    assert_eq!(made.status, 201, "{made:?}");
    made.data()["batch"]["id"].as_str().expect("an id").to_owned()
}

#[tokio::test]
async fn a_batch_is_started_shown_and_steered() {
    let env = env::open().await;
    let would = env.post("/api/v1/batches?dry_run=true", &json!({ "name": "retail" })).await;
    assert_eq!((would.status, &would.data()["batch"]["chunks"]), (200, &json!(3)));
    let id = start(&env).await;
    let path = |rest: &str| format!("/api/v1/batches/{id}{rest}");
    let shown = env.get(&path("")).await;
    assert_eq!(
        (&shown.data()["batch"]["state"], &shown.data()["batch"]["counts"]["input"]),
        (&json!("sealed"), &json!(5))
    );
    assert!(shown.data()["waits"].is_array());
    assert_eq!(env.get("/api/v1/batches?name=retail&state=sealed").await.data()[0]["id"], json!(id));
    let chunks = env.get(&path("/chunks?limit=2")).await;
    assert_eq!(chunks.data().as_array().map(Vec::len), Some(2));
    assert_eq!((&chunks.data()[0]["batch"], &chunks.data()[0]["result"]), (&json!(id), &json!(null)));
    assert_eq!(env.send("POST", &path("/pause?reason=slow"), &[], b"").await.data()["affected"], 3);
    assert_eq!(env.get(&path("")).await.data()["batch"]["pause"]["reason"], "slow");
    assert_eq!(env.send("POST", &path("/resume"), &[], b"").await.status, 200);
    assert_eq!(env.send("DELETE", &path(""), &[], b"").await.code(), "conflict", "it has not ended");
    assert_eq!(env.send("POST", &path("/cancel"), &[], b"").await.data()["affected"], 3);
    assert_eq!(env.get(&path("/wait?timeout=1s")).await.data()["batch"]["state"], "cancelled");
    let restarted = env.post(&path("/restart?dry_run=true"), &json!({ "failure_budget": "5%" })).await;
    assert_eq!(restarted.data()["affected"], 3, "{restarted:?}");
    assert_eq!(env.post(&path("/restart"), &json!({ "failure_budget": "x" })).await.faults(), ["/failure_budget"]);
    assert_eq!(env.send("DELETE", &path("?dry_run=true"), &[], b"").await.data()["chunks"], 3);
    assert_eq!(env.send("DELETE", &path(""), &[], b"").await.data()["chunks"], 3);
    assert_eq!(env.get(&path("")).await.status, 404);
}

#[tokio::test]
async fn a_batch_that_cannot_start_says_why_and_not_where() {
    let env = env::open().await;
    let wrong = json!({ "name": "a b", "chunk": 0, "failure_budget": "x", "input": "/etc/passwd", "params": 7 });
    let answer = env.post("/api/v1/batches", &wrong).await;
    assert_eq!(answer.faults(), ["/name", "/chunk", "/failure_budget", "/params", "/input"]);
    assert_eq!(env.post("/api/v1/batches", &json!({ "name": "none" })).await.faults(), ["/name"]);
    std::fs::remove_file(env.dir.path().join("input.csv")).expect("removed");
    let missing = env.post("/api/v1/batches", &json!({ "name": "retail" })).await;
    assert_eq!((missing.status, missing.code()), (409, "conflict"));
    assert!(!missing.text.contains("input.csv"), "{}", missing.text);
}

#[tokio::test]
async fn a_batch_reads_the_body_of_its_request() {
    let env = env::open().await;
    let path = "/api/v1/definitions/retail/batches?param=shop=north&chunk=4";
    let send = async |path: &str, media: &str, body: &[u8]| {
        env.send("POST", path, &[("content-type", media), ("idempotency-key", "upload-7")], body).await
    };
    let input: String = (0..10).map(|number| format!("{number},north\n")).collect();
    let input = format!("id,shop\n{input}");
    let would = send(&format!("{path}&dry_run=true"), "text/csv", input.as_bytes()).await;
    assert_eq!((would.status, &would.data()["batch"]["counts"]["input"]), (200, &json!(10)), "{would:?}");
    let made = send(path, "text/csv", input.as_bytes()).await;
    let batch = &made.data()["batch"];
    assert_eq!((made.status, &batch["counts"]["input"], &batch["chunks"]), (201, &json!(10), &json!(3)), "{made:?}");
    let again = send(path, "text/csv", input.as_bytes()).await;
    assert_eq!(again.data()["batch"]["id"], batch["id"], "under its key it is started once");
    assert_eq!(send(path, "image/png", input.as_bytes()).await.status, 415);
    assert_eq!(send("/api/v1/definitions/none/batches", "text/csv", b"id\n").await.status, 404);
    assert_eq!(send(&format!("{path}&param=x"), "text/csv", b"id\n").await.faults(), ["?param"]);
    let broken = format!(
        "POST {path} HTTP/1.1\r\nhost: localhost\r\ncontent-type: text/csv\r\ncontent-length: 999\r\n\r\nid,shop\n1"
    );
    assert_eq!(env.raw(broken.as_bytes()).await.status, 422, "a body that stalls starts nothing");
    assert_eq!(env.get("/api/v1/batches").await.data().as_array().map(Vec::len), Some(1));
}

#[tokio::test]
async fn quarantine_is_listed_and_redriven_and_its_items_are_for_those_who_may_see_them() {
    let env = env::open().await;
    let id = start(&env).await;
    assert_eq!(env.get(&format!("/api/v1/quarantine?batch={id}&open=true")).await.data(), &json!([]));
    assert_eq!(env.get("/api/v1/quarantine/7").await.status, 404);
    let path = format!("/api/v1/batches/{id}/quarantine/redrive?dry_run=true");
    let body = json!({ "patch": [{ "op": "replace", "path": "/shop", "value": "c" }], "stage": "parse" });
    assert_eq!(env.post(&path, &body).await.data()["affected"], 0);
    assert_eq!(env.post(&path, &json!({ "patch": 7, "chunk": 0 })).await.faults(), ["/chunk", "/patch"]);
    let exported = env.get(&format!("/api/v1/batches/{id}/quarantine/export")).await;
    assert_eq!((exported.status, exported.header("content-type")), (200, Some("application/x-ndjson")));
    assert_eq!(env.get("/api/v1/batches/0198f9c1-7d2e-7000-8000-000000000000/quarantine/export").await.status, 404);
}

#[tokio::test]
async fn queues_are_paused_resumed_and_deleted() {
    let env = env::open().await;
    env.enqueue(&json!({ "kind": "note", "queue": "mail" })).await;
    let listed = env.get("/api/v1/queues").await;
    assert_eq!((&listed.data()[0]["name"], &listed.data()[0]["queued"]), (&json!("mail"), &json!(1)));
    assert_eq!(listed.data()[0]["unhandled"][0]["kind"], "note");
    assert_eq!(env.send("POST", "/api/v1/queues/mail/pause?reason=down", &[], b"").await.status, 200);
    assert_eq!(env.get("/api/v1/queues/mail").await.data()["pause"]["reason"], "down");
    assert_eq!(env.send("POST", "/api/v1/queues/mail/resume", &[], b"").await.status, 200);
    assert_eq!(env.get("/api/v1/queues/none").await.status, 404);
    assert_eq!(env.send("POST", "/api/v1/queues/a%20b/pause", &[], b"").await.status, 404);
    assert_eq!(env.send("DELETE", "/api/v1/queues/mail", &[], b"").await.code(), "conflict", "it has a job");
    assert_eq!(env.send("DELETE", "/api/v1/queues/configured", &[], b"").await.code(), "conflict", "it is named");
}

#[tokio::test]
async fn limits_are_set_shown_and_dropped() {
    let env = env::open().await;
    let spec = json!({ "queues": ["crm"], "concurrency": 3, "rate": 10, "per": "1m" });
    let put = async |path: &str, body: &Value| {
        env.send("PUT", path, &[("content-type", "application/json")], body.to_string().as_bytes()).await
    };
    assert_eq!(put("/api/v1/limits/crm?dry_run=true", &spec).await.data()["dry_run"], true);
    assert_eq!(env.get("/api/v1/limits").await.data(), &json!([]));
    assert_eq!(put("/api/v1/limits/crm", &spec).await.data()["spec"]["concurrency"], 3);
    assert_eq!(env.get("/api/v1/limits/crm").await.data()["spec"]["per"], "1m");
    assert_eq!(
        put("/api/v1/limits/crm", &json!({ "queues": ["a b"], "concurrency": 0 })).await.faults(),
        ["/queues", "/concurrency"]
    );
    assert_eq!(env.send("DELETE", "/api/v1/limits/crm", &[], b"").await.data()["affected"], 1);
    assert_eq!(env.send("DELETE", "/api/v1/limits/crm", &[], b"").await.status, 404);
}

#[tokio::test]
async fn a_schedule_is_made_edited_run_and_deleted() {
    let env = env::open().await;
    let spec = json!({ "every": "1h", "job": { "kind": "report", "payload": { "x": 1 } } });
    let body = json!({ "name": "hourly", "spec": spec });
    let would = env.post("/api/v1/schedules?dry_run=true", &body).await;
    assert_eq!((would.status, would.data()["next"].as_array().map(Vec::len)), (200, Some(10)));
    let made = env.post("/api/v1/schedules", &body).await;
    assert_eq!((made.status, made.header("location")), (201, Some("/api/v1/schedules/hourly")));
    assert_eq!(env.post("/api/v1/schedules", &body).await.code(), "conflict");
    let shown = env.get("/api/v1/schedules/hourly").await;
    let tag = shown.header("etag").expect("a tag").to_owned();
    assert_eq!(env.get("/api/v1/schedules").await.data()[0]["name"], "hourly");
    assert_eq!(env.get("/api/v1/schedules/hourly/next?count=3").await.data()["next"].as_array().map(Vec::len), Some(3));
    let edit = json!({ "spec": { "every": "2h", "job": { "kind": "report" } } }).to_string();
    let patch = async |tag: &str| {
        let headers = [("content-type", "application/json"), ("if-match", tag)];
        env.send("PATCH", "/api/v1/schedules/hourly", &headers, edit.as_bytes()).await
    };
    assert_eq!(patch(&tag).await.data()["spec"]["every"], "2h");
    let stale = patch(&tag).await;
    assert_eq!((stale.status, stale.code()), (412, "stale"));
    assert_eq!(env.send("POST", "/api/v1/schedules/hourly/disable", &[], b"").await.data()["affected"], 1);
    assert_eq!(env.send("POST", "/api/v1/schedules/hourly/enable", &[], b"").await.data()["affected"], 1);
    let run = env.post("/api/v1/schedules/hourly/run", &json!({})).await;
    assert_eq!((run.status, run.data()["run"]["job"].is_string()), (201, true), "{run:?}");
    assert_eq!(env.get("/api/v1/schedules/hourly/ticks").await.data()[0]["cause"], "manual");
    assert_eq!(env.post("/api/v1/schedules/hourly/run", &json!({ "slot": "soon" })).await.faults(), ["/slot"]);
    assert_eq!(env.send("DELETE", "/api/v1/schedules/hourly", &[], b"").await.data()["affected"], 1);
    assert_eq!(env.get("/api/v1/schedules/hourly").await.status, 404);
}

#[tokio::test]
async fn a_schedule_that_could_not_run_is_refused() {
    let env = env::open().await;
    let of = |spec: Value| json!({ "name": "odd", "spec": spec });
    for spec in [
        json!({ "every": "soon", "job": { "kind": "x" } }),
        json!({ "every": "1h" }),
        json!({ "every": "1h", "batch": "none" }),
        json!({ "evry": "1h", "batch": "retail" }),
    ] {
        let answer = env.post("/api/v1/schedules", &of(spec.clone())).await;
        assert_eq!(answer.status, 422, "{spec}: {answer:?}");
        assert!(answer.faults()[0].starts_with("/spec"), "{answer:?}");
    }
    let unfit = json!({ "name": "unfit", "spec": { "every": "1h", "job": { "kind": "x" } } });
    assert_eq!(env.post("/api/v1/schedules", &unfit).await.faults(), ["/spec"]);
}

#[tokio::test]
async fn a_past_range_is_backfilled() {
    let env = env::open().await;
    let spec = json!({ "cron": "0 2 * * *", "job": { "kind": "report" } });
    assert_eq!(env.post("/api/v1/schedules", &json!({ "name": "nightly", "spec": spec })).await.status, 201);
    let path = "/api/v1/schedules/nightly/backfills";
    let range = json!({ "from": "2026-01-01", "to": "2026-01-04", "newest_first": true });
    let would = env.post(&format!("{path}?dry_run=true"), &range).await;
    assert_eq!((&would.data()["asked"], &would.data()["would_run"]), (&json!(3), &json!(3)), "{would:?}");
    let made = env.post(path, &range).await;
    assert_eq!((made.status, &made.data()["waiting"]), (201, &json!(3)));
    let id = made.data()["backfill"].as_str().expect("an id").to_owned();
    assert_eq!(env.get(path).await.data()[0]["id"], json!(id));
    for (verb, affected) in [("pause", 3), ("resume", 3), ("cancel", 3)] {
        let done = env.send("POST", &format!("{path}/{id}/{verb}"), &[], b"").await;
        assert_eq!(done.data()["affected"], affected, "{verb}: {done:?}");
    }
    let ahead = json!({ "from": "2026-01-01", "to": "2999-01-01" });
    assert_eq!(env.post(path, &ahead).await.faults(), ["/to"]);
    assert_eq!(env.post(path, &json!({ "concurrency": 0 })).await.faults(), ["/from", "/to", "/concurrency"]);
}

#[tokio::test]
async fn the_rest_is_shown() {
    let env = env::open().await;
    for path in ["/api/v1/triggers", "/api/v1/workers", "/api/v1/poison"] {
        assert_eq!(env.get(path).await.data(), &json!([]), "{path}");
    }
    assert_eq!(env.get("/api/v1/definitions/retail").await.data()["definition"]["chunk"], 2);
    assert_eq!(env.get("/api/v1/definitions/none").await.status, 404);
    assert_eq!(env.get("/api/v1/triggers/hook/none/events").await.status, 404);
    assert_eq!(env.get("/api/v1/poison/7").await.status, 404);
    assert_eq!(env.send("DELETE", "/api/v1/poison/7", &[], b"").await.status, 404);
    let worker = "/api/v1/workers/0198f9c1-7d2e-7000-8000-000000000000/retire";
    assert_eq!(env.send("POST", worker, &[], b"").await.status, 404);
    assert_eq!(env.get("/api/v1/system/settings").await.data()[0]["value"], "***");
    assert!(env.get("/api/v1/system/size").await.data()["database"].as_str().expect("a name").starts_with("sqlite"));
    assert!(env.get("/api/v1/system/migrations").await.data()["known"].as_i64() >= Some(18));
    let reconciled = env.send("POST", "/api/v1/system/reconcile?dry_run=true", &[], b"").await;
    assert_eq!(reconciled.data()["ok"], true);
}

#[tokio::test]
async fn answers_are_compressed_where_that_is_wanted() {
    let env = env::open().await;
    for number in 0..20 {
        env.enqueue(&json!({ "kind": "note", "payload": number })).await;
    }
    for coding in ["gzip", "br", "zstd"] {
        let answer = env.send("GET", "/api/v1/jobs", &[("accept-encoding", coding)], b"").await;
        assert_eq!(answer.header("content-encoding"), Some(coding));
    }
}
