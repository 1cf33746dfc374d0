//! Quotas of tenants through HTTP: who sets them, who is refused, and what the refusal says.

use gristmill_core::access::Role;
use serde_json::{Value, json};

use crate::env::{Heard, TestEnv, with_accounts};
use crate::people::{as_person, ask, log_in, user};

/// An owner of the installation, whose tenant is `north` as well as `main`.
async fn north(env: &TestEnv) -> String {
    user(env, "ada", Role::Owner).await;
    let ada = log_in(env, "ada").await;
    let made = as_person(env, &ada, "POST", "/api/v1/tenants", &json!({ "name": "north" })).await;
    assert_eq!(made.status, 201, "{made:?}");
    ada
}

async fn in_north(env: &TestEnv, cookie: &str, method: &str, path: &str, body: &Value) -> Heard {
    let headers = [("cookie", cookie), ("sec-fetch-site", "same-origin"), ("gristmill-tenant", "north")];
    ask(env, method, path, &headers, body).await
}

async fn set(env: &TestEnv, cookie: &str, quotas: Value) {
    let set = as_person(env, cookie, "PUT", "/api/v1/tenants/north/quotas", &quotas).await;
    assert_eq!(set.status, 200, "{set:?}");
}

#[tokio::test]
async fn a_tenant_over_its_quota_is_told_how_much_it_may_have_and_how_much_it_has() {
    let env = with_accounts().await;
    let ada = north(&env).await;
    set(&env, &ada, json!({ "jobs_waiting": 2, "batches_active": 1 })).await;
    let job = json!({ "kind": "note" });
    for _ in 0..2 {
        assert_eq!(in_north(&env, &ada, "POST", "/api/v1/jobs", &job).await.status, 201);
    }
    let refused = in_north(&env, &ada, "POST", "/api/v1/jobs", &job).await;
    assert_eq!((refused.status, refused.code()), (409, "conflict"), "{refused:?}");
    let expected = json!({ "tenant": "north", "quota": "jobs_waiting", "limit": 2, "used": 2, "wanted": 1 });
    assert_eq!(refused.body["error"]["details"]["quota"], expected);
    let many = in_north(&env, &ada, "POST", "/api/v1/jobs/many", &json!([job, job])).await;
    assert_eq!(many.status, 409, "{many:?}");
    let batch = in_north(&env, &ada, "POST", "/api/v1/batches", &json!({ "name": "retail" })).await;
    assert_eq!((batch.status, &batch.body["error"]["details"]["quota"]["quota"]), (409, &json!("jobs_waiting")));
    let shown = in_north(&env, &ada, "GET", "/api/v1/tenant", &Value::Null).await;
    assert_eq!(shown.data()["usage"], json!({ "jobs_waiting": 2, "batches_active": 0, "storage_bytes": 0 }));
    assert_eq!(shown.data()["quotas"]["jobs_waiting"], 2);
    assert_eq!(as_person(&env, &ada, "POST", "/api/v1/jobs", &job).await.status, 201, "another tenant");
    set(&env, &ada, json!({ "batches_active": 1 })).await;
    assert_eq!(in_north(&env, &ada, "POST", "/api/v1/jobs", &job).await.status, 201, "not limited any more");
    let batch = json!({ "name": "retail" });
    assert_eq!(in_north(&env, &ada, "POST", "/api/v1/batches", &batch).await.status, 201);
    let second = in_north(&env, &ada, "POST", "/api/v1/batches", &batch).await;
    assert_eq!(second.body["error"]["details"]["quota"]["quota"], "batches_active", "{second:?}");
    let seen = in_north(&env, &ada, "GET", "/api/v1/audit?action=tenant.quotas", &Value::Null).await;
    assert_eq!(seen.data()[0]["details"]["before"]["jobs_waiting"], 2);
}

#[tokio::test]
async fn only_owners_of_the_installation_set_quotas_and_no_member_gets_around_them() {
    let env = with_accounts().await;
    let ada = north(&env).await;
    user(&env, "bob", Role::Admin).await;
    let bob = log_in(&env, "bob").await;
    let path = "/api/v1/tenants/main/quotas";
    let nothing = json!({});
    assert_eq!(as_person(&env, &bob, "PUT", path, &nothing).await.status, 403);
    assert_eq!(as_person(&env, &bob, "GET", "/api/v1/tenants/north", &Value::Null).await.status, 403);
    assert_eq!(as_person(&env, &bob, "GET", "/api/v1/tenant", &Value::Null).await.data()["name"], "main");
    let wrong = json!({ "jobs_waiting": -1, "batches": 3 });
    let wrong = as_person(&env, &ada, "PUT", path, &wrong).await;
    assert_eq!((wrong.status, wrong.faults()), (422, vec!["/jobs_waiting", "/batches"]));
    let missing = as_person(&env, &ada, "PUT", "/api/v1/tenants/south/quotas", &nothing).await;
    assert_eq!(missing.status, 404);
    set(&env, &ada, json!({ "jobs_waiting": 3 })).await;
    let job = json!({ "kind": "note" });
    let asking = (0..12).map(|_| in_north(&env, &ada, "POST", "/api/v1/jobs", &job));
    let answers = futures::future::join_all(asking).await;
    let taken = answers.iter().filter(|answer| answer.status == 201).count();
    assert_eq!(taken, 3, "twelve at once");
    let lines = format!("{job}\n{job}\n");
    let headers = [
        ("cookie", ada.as_str()),
        ("sec-fetch-site", "same-origin"),
        ("gristmill-tenant", "north"),
        ("content-type", "application/x-ndjson"),
    ];
    let stream = env.send("POST", "/api/v1/jobs/many", &headers, lines.as_bytes()).await;
    assert_eq!(stream.status, 409, "nor by a stream: {stream:?}");
}

#[tokio::test]
async fn a_tenant_sends_no_more_requests_in_a_minute_than_its_quota() {
    let env = with_accounts().await;
    let ada = north(&env).await;
    set(&env, &ada, json!({ "requests_per_minute": 3 })).await;
    for left in [2, 1, 0] {
        let answer = in_north(&env, &ada, "GET", "/api/v1/me", &Value::Null).await;
        assert_eq!(answer.status, 200);
        assert!(answer.header("ratelimit").is_some_and(|said| said.starts_with(&format!("\"quota\";r={left};"))));
    }
    let refused = in_north(&env, &ada, "GET", "/api/v1/me", &Value::Null).await;
    assert_eq!((refused.status, refused.code()), (429, "rate_limited"));
    assert!(refused.header("retry-after").is_some(), "{refused:?}");
    assert_eq!(as_person(&env, &ada, "GET", "/api/v1/me", &Value::Null).await.status, 200, "another tenant");
    set(&env, &ada, json!({})).await;
    assert_eq!(in_north(&env, &ada, "GET", "/api/v1/me", &Value::Null).await.status, 200, "not limited any more");
}

#[tokio::test]
async fn uploads_and_copies_of_inputs_are_held_to_the_quota_of_storage() {
    let env = with_accounts().await;
    let ada = north(&env).await;
    set(&env, &ada, json!({ "storage_bytes": 100 })).await;
    let begin = async |body: Value| in_north(&env, &ada, "POST", "/api/v1/uploads", &body).await;
    assert_eq!(begin(json!({})).await.faults(), ["/length"], "how much comes must be said");
    let first = begin(json!({ "length": 70 })).await;
    assert_eq!(first.status, 201, "{first:?}");
    let refused = begin(json!({ "length": 31 })).await;
    assert_eq!((refused.status, refused.code()), (409, "conflict"), "{refused:?}");
    let expected = json!({ "tenant": "north", "quota": "storage_bytes", "limit": 100, "used": 70, "wanted": 31 });
    assert_eq!(refused.body["error"]["details"]["quota"], expected);
    let path = format!("/api/v1/uploads/{}", first.data()["id"].as_str().expect("an id"));
    let headers = [
        ("cookie", ada.as_str()),
        ("sec-fetch-site", "same-origin"),
        ("gristmill-tenant", "north"),
        ("upload-offset", "0"),
    ];
    let typed = [&headers[..], &[("content-type", "application/partial-upload")]].concat();
    assert_eq!(env.send("PATCH", &path, &typed, b"id,shop\n1,a\n").await.status, 200);
    let shown = in_north(&env, &ada, "GET", "/api/v1/tenant", &Value::Null).await;
    assert_eq!(
        (&shown.data()["usage"]["storage_bytes"], &shown.data()["quotas"]["storage_bytes"]),
        (&json!(12), &json!(100))
    );
    assert_eq!(in_north(&env, &ada, "DELETE", &path, &Value::Null).await.status, 200);
    assert_eq!(begin(json!({ "length": 100 })).await.status, 201, "there is room again");

    let start = async |input: &[u8]| {
        let typed = [&headers[..3], &[("content-type", "text/csv")]].concat();
        env.send("POST", "/api/v1/definitions/retail/batches", &typed, input).await
    };
    let large = ["id,shop\n", &"1,a\n".repeat(40)].concat();
    let refused = start(large.as_bytes()).await;
    assert_eq!((refused.status, &refused.body["error"]["details"]["quota"]["quota"]), (409, &json!("storage_bytes")));
    assert_eq!(start(b"id,shop\n1,a\n").await.status, 201);
    let left = std::fs::read_dir(env.dir.path().join("spool")).expect("there").filter_map(Result::ok);
    let copies = left.filter(|entry| entry.path().extension().is_some_and(|ending| ending == "spool")).count();
    assert_eq!(copies, 1, "what was refused leaves no copy");
}
