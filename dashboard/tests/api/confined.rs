//! The API on a PostgreSQL that keeps tenants apart by itself: everything works, and nothing of another tenant is there.

use gristmill_core::access::Role;
use gristmill_dashboard::api::routes;
use gristmill_dashboard::gate::describe::Pace;
use gristmill_service::accounts::NewMember;
use gristmill_store::accounts::Quotas;
use serde_json::{Value, json};

use crate::env::{TestEnv, confined};
use crate::people::{PASSWORD, as_person, log_in, order, user};

/// A job, a batch, a schedule and a pause, as its owner's requests make them; the ids of job and batch.
async fn worked(env: &TestEnv, cookie: &str) -> (String, String) {
    let job = json!({ "kind": "note", "in": "1h", "payload": { "x": 1 } });
    let job = as_person(env, cookie, "POST", "/api/v1/jobs", &job).await;
    let job = job.data()["job"]["id"].as_str().expect("an id").to_owned();
    let batch = as_person(env, cookie, "POST", "/api/v1/batches", &json!({ "name": "retail" })).await;
    let batch = batch.data()["batch"]["id"].as_str().expect("an id").to_owned();
    let schedule = json!({ "name": "hourly", "spec": { "every": "1h", "job": { "kind": "report" } } });
    assert_eq!(as_person(env, cookie, "POST", "/api/v1/schedules", &schedule).await.status, 201);
    let empty = json!({});
    for (path, body) in [
        ("queues/default/pause", &Value::Null),
        ("queues/default/resume", &Value::Null),
        ("schedules/hourly/run", &empty),
    ] {
        let answer = as_person(env, cookie, "POST", &format!("/api/v1/{path}"), body).await;
        assert!(answer.status < 300, "{path}: {}", answer.text);
    }
    let cancel = as_person(env, cookie, "POST", &format!("/api/v1/jobs/{job}/cancel"), &Value::Null).await;
    assert_eq!(cancel.data()["affected"], 1, "{}", cancel.text);
    (job, batch)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_endpoint_answers_as_it_does_without() {
    let env = confined().await;
    user(&env, "ada", Role::Owner).await;
    let cookie = log_in(&env, "ada").await;
    let (job, batch) = worked(&env, &cookie).await;
    let mut asked = 0;
    for endpoint in routes().endpoints().filter(|one| one.method == "GET" && one.pace == Pace::Usual) {
        let known = [("{job}", &*job), ("{batch}", &*batch), ("{schedule}", "hourly"), ("{queue}", "default")];
        let path = known.iter().fold(endpoint.path.clone(), |path, (part, value)| path.replace(part, value));
        let answer = as_person(&env, &cookie, "GET", &path.replace(['{', '}'], ""), &Value::Null).await;
        assert!(answer.status < 500, "{path}: {}", answer.text);
        let there = !path.contains('{');
        // What came of a batch is there once it has ended.
        let later = answer.status == 409 && (path.ends_with("/results") || path.ends_with("/outputs"));
        assert!(!there || later || answer.status == 200, "{path}: {} {}", answer.status, answer.text);
        asked += 1;
    }
    assert!(asked > 40, "{asked}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_of_another_tenant_is_there() {
    let env = confined().await;
    user(&env, "ada", Role::Owner).await;
    let ada = log_in(&env, "ada").await;
    let (job, batch) = worked(&env, &ada).await;
    let email = "bob@example.com".parse().expect("an address");
    let member = NewMember { email, name: "bob".to_owned(), role: None };
    let password = gristmill_service::accounts::Secret::new(PASSWORD);
    let bob = env.accounts.add_user(&order(), &member, Some(&password), false).await.expect("added").id;
    env.accounts.create_tenant(&order(), "north", Quotas::default(), Some(bob)).await.expect("created");
    let bob = log_in(&env, "bob").await;
    for path in [
        format!("jobs/{job}"),
        format!("batches/{batch}"),
        format!("batches/{batch}/chunks"),
        "schedules/hourly".into(),
    ] {
        let status = |cookie: String| {
            let (env, path) = (&env, format!("/api/v1/{path}"));
            async move { as_person(env, &cookie, "GET", &path, &Value::Null).await.status }
        };
        assert_eq!((status(ada.clone()).await, status(bob.clone()).await), (200, 404), "{path}");
    }
    for list in ["jobs", "batches", "schedules", "audit", "operations", "quarantine"] {
        let seen = as_person(&env, &bob, "GET", &format!("/api/v1/{list}"), &Value::Null).await;
        let of_main = seen.text.contains(&job) || seen.text.contains(&batch) || seen.text.contains("hourly");
        assert!(seen.status == 200 && !of_main, "{list}: {}", seen.text);
    }
    worked(&env, &bob).await;
}
