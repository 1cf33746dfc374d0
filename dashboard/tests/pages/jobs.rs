//! The page of a job.

use gristmill_core::id::{DEFAULT_TENANT, JobId};
use gristmill_core::job::{JobState, Priority};
use serde_json::json;

use crate::env::{self, TestEnv};
use crate::pages::browser::{look, send};
use crate::pages::work::{HOSTILE, work};

async fn state(env: &TestEnv, id: JobId) -> JobState {
    env.store.job(DEFAULT_TENANT, id).await.expect("asked").expect("there").state
}

#[tokio::test]
async fn a_job_says_why_it_does_not_run_and_what_went_wrong() {
    let env = env::open().await;
    let work = work(&env).await;
    let dead = look(&env, None, &format!("/jobs/{}", work.dead)).await.text;
    assert!(dead.contains("Chunk 2") && dead.contains("What went wrong last") && dead.contains("Redrive"), "{dead}");
    assert!(dead.contains("&lt;script&gt;alert") && !dead.contains("<script>alert"), "{dead}");
    let retry = look(&env, None, &format!("/jobs/{}", work.retry)).await.text;
    assert!(retry.contains("Why is it not running?") && retry.contains("Its time comes"), "{retry}");
    let running = look(&env, None, &format!("/jobs/{}", work.running)).await.text;
    assert!(running.contains("Has run for") && !running.contains("Why is it not running?"), "{running}");
}

#[tokio::test]
async fn payloads_are_shown_on_demand_and_to_those_who_may_see_them() {
    let env = env::with_users().await;
    let job = json!({ "kind": "note", "payload": { "text": HOSTILE, "number": 12_345_678_901_234_567_890_u64 } });
    let headers = [("content-type", "application/json"), ("authorization", "Bearer owner")];
    let made = env.send("POST", "/api/v1/jobs", &headers, job.to_string().as_bytes()).await;
    let path = format!("/jobs/{}", made.data()["job"]["id"].as_str().expect("an id"));
    let closed = look(&env, Some("owner"), &path).await.text;
    assert!(!closed.contains("alert(") && closed.contains("contents=true"), "{closed}");
    let open = look(&env, Some("owner"), &format!("{path}?contents=true")).await.text;
    assert!(open.contains("12345678901234567890") && open.contains("&lt;script&gt;alert"), "{open}");
    let viewer = look(&env, Some("viewer"), &format!("{path}?contents=true")).await.text;
    assert!(!viewer.contains("12345678901234567890"), "{viewer}");
}

#[tokio::test]
async fn the_buttons_of_a_job_do_what_they_say() {
    let env = env::open().await;
    let work = work(&env).await;
    let to = |id: JobId, verb: &str| format!("/jobs/{id}/{verb}");
    assert_eq!(send(&env, None, &to(work.retry, "retry"), &[]).await.status, 303);
    assert_eq!(state(&env, work.retry).await, JobState::Queued);
    let twice = send(&env, None, &to(work.retry, "retry"), &[]).await;
    assert!(twice.header("set-cookie").expect("a message").starts_with("gristmill-said=careful."), "{twice:?}");
    let redriven = send(&env, None, &to(work.dead, "redrive"), &[("reason", "again")]).await;
    assert_eq!((redriven.status, redriven.header("location")), (303, Some(format!("/jobs/{}", work.dead).as_str())));
    assert_eq!(state(&env, work.dead).await, JobState::Queued);
    assert_eq!(send(&env, None, &to(work.dead, "split"), &[]).await.status, 303);
    assert_eq!(state(&env, work.dead).await, JobState::Cancelled, "two halves have taken its place");
    assert_eq!(send(&env, None, &to(work.running, "cancel"), &[("reason", "enough")]).await.status, 303);
    assert_eq!(state(&env, work.running).await, JobState::Cancelled);
    assert_eq!(send(&env, None, &to(work.running, "cancel"), &[("odd", "1")]).await.status, 422);
}

#[tokio::test]
async fn a_job_that_waits_is_changed_by_a_form_on_what_the_page_showed() {
    let env = env::open().await;
    let id = env.enqueue(&json!({ "kind": "note", "in": "1h" })).await;
    let page = look(&env, None, &format!("/jobs/{id}")).await.text;
    let edition = page.split("name=\"edition\" value=\"").nth(1).and_then(|rest| rest.split('"').next());
    let edition = edition.expect("what was read is in the form").to_owned();
    let to = format!("/jobs/{id}/edit");
    let fields = |start: &'static str| {
        [("queue", "slow"), ("priority", "high"), ("start", start), ("edition", &edition), ("reason", "late")]
            .map(|(name, value)| (name, value.to_owned()))
    };
    let post = async |start: &'static str| {
        let fields = fields(start);
        let fields: Vec<(&str, &str)> = fields.iter().map(|(name, value)| (*name, value.as_str())).collect();
        send(&env, None, &to, &fields).await
    };
    assert_eq!(post("soon").await.status, 422);
    assert_eq!(post("2h").await.status, 303);
    let job = env.store.job(DEFAULT_TENANT, id.parse().expect("an id")).await.expect("asked").expect("there");
    assert_eq!((job.queue.as_str(), job.priority, job.state), ("slow", Priority::High, JobState::Scheduled));
    assert_eq!(post("3h").await.status, 412, "it is not as the page showed it any more");
    let ended = look(&env, None, &format!("/jobs/{}", work(&env).await.running)).await.text;
    assert!(!ended.contains("name=\"edition\""), "what runs is not edited");
}
