//! What there is to look at on the further pages: one of everything, with texts that would be markup if they were not
//! escaped.

use std::time::Duration;

use gristmill_core::chunk::SetAside;
use gristmill_core::id::{BatchId, DEFAULT_TENANT};
use gristmill_core::job::ClaimedJob;
use gristmill_store::testing;
use gristmill_store::{Completion, Page, QuarantineFilter};
use serde_json::{Value, json};

use super::letters::email;
use crate::env::TestEnv;

/// What must never arrive as markup.
pub(crate) const SCRIPT: &str = "<script>alert(\"x\")</script>&'";

/// One of everything.
#[derive(Debug)]
pub(crate) struct Stock {
    /// A batch with an item that was set aside.
    pub(crate) batch: BatchId,
    /// The number of that item.
    pub(crate) item: i64,
    /// Dead letters, without a batch.
    pub(crate) dead: Vec<String>,
    /// A job that waits for another attempt.
    pub(crate) retry: String,
    /// An operation.
    pub(crate) operation: String,
    /// An email.
    pub(crate) email: String,
}

/// Asks the API as an owner, so that it works with and without users.
pub(crate) async fn ask(env: &TestEnv, method: &str, path: &str, body: &Value) -> Value {
    let headers = [("content-type", "application/json"), ("authorization", "Bearer owner")];
    let answer = env.send(method, path, &headers, body.to_string().as_bytes()).await;
    assert!(answer.status < 300, "{path}: {answer:?}");
    answer.data().clone()
}

async fn enqueue(env: &TestEnv, body: Value) -> String {
    ask(env, "POST", "/api/v1/jobs", &body).await["job"]["id"].as_str().expect("an id").to_owned()
}

/// Makes one of everything.
pub(crate) async fn stock(env: &TestEnv) -> Stock {
    let dead = vec![
        enqueue(env, json!({ "kind": "work", "queue": "mail", "key": SCRIPT })).await,
        enqueue(env, json!({ "kind": "work", "queue": "mail" })).await,
    ];
    let retry = enqueue(env, json!({ "kind": "webhook", "queue": "hooks" })).await;
    fail(env, &retry).await;
    let batch = set_aside(env).await;
    enqueue(env, json!({ "kind": "note", "queue": "mail" })).await;
    let spec = json!({ "cron": "30 2 * * *", "timezone": "Europe/London", "description": SCRIPT, "owner": SCRIPT,
        "job": { "kind": "report" } });
    ask(env, "POST", "/api/v1/schedules", &json!({ "name": "nightly", "spec": spec })).await;
    ask(env, "PUT", "/api/v1/limits/crm", &json!({ "queues": ["mail"], "concurrency": 3 })).await;
    ask(env, "POST", "/api/v1/queues/hooks/pause?reason=%3Cscript%3Ealert(1)%3C/script%3E", &json!({})).await;
    let filter = QuarantineFilter { tenant: DEFAULT_TENANT.to_owned(), ..QuarantineFilter::default() };
    let item = env.store.quarantine(&filter, &Page::default()).await.expect("listed").first().expect("an item").id;
    let body = json!({ "verb": "cancel", "query": "kind:none*" });
    let begun = ask(env, "POST", "/api/v1/operations?reason=%3Cscript%3Ealert(1)%3C/script%3E", &body).await;
    let operation = begun["id"].as_str().expect("an id").to_owned();
    let email = email(env).await;
    let spec = json!({ "description": SCRIPT, "types": "**", "job": { "kind": "note" } });
    ask(env, "PUT", "/api/v1/subscriptions/receipts", &json!({ "spec": spec })).await;
    env.store.sequence_events(1_000).await.expect("sequenced");
    Stock { batch, item, dead, retry, operation, email }
}

/// Lets everything that waits die, but for one job, which is to be tried again.
async fn fail(env: &TestEnv, retry: &str) {
    let worker = testing::worker(Duration::from_secs(600));
    env.store.register_worker(&worker).await.expect("registered");
    let claimed = env.store.claim_next(&testing::claim_as(worker.id, 100)).await.expect("claimed");
    let end = |job: &ClaimedJob| {
        let again = job.fence.job.to_string() == retry;
        let end = if again { testing::retry(job, Duration::from_secs(3_600)) } else { testing::dead(job) };
        Completion { error: Some(format!("no answer from {SCRIPT} after 31 s")), ..end }
    };
    let ended: Vec<Completion> = claimed.iter().map(end).collect();
    env.store.complete(&ended).await.expect("completed");
}

/// A batch of three chunks of which one has set an item aside, and one runs.
async fn set_aside(env: &TestEnv) -> BatchId {
    let worker = testing::worker(Duration::from_secs(600));
    env.store.register_worker(&worker).await.expect("registered");
    let batch = testing::sealed(&env.store, 3, 4).await;
    let claimed = env.store.claim_next(&testing::claim_as(worker.id, 2)).await.expect("claimed");
    let mut done = testing::chunk_done(&claimed[0], 3);
    let result = done.chunk.as_mut().expect("a result");
    result.quarantined = 1;
    result.set_aside = vec![SetAside {
        position: 2,
        line: Some(4),
        stage: "validate".to_owned(),
        reason: format!("`price` is not a number: {SCRIPT}"),
        item: json!({ "price": "=1+1", "shop": SCRIPT }),
    }];
    env.store.complete(&[done]).await.expect("completed");
    batch
}
