//! Completion in the user's transaction: a handler's own rows, its completion and its further jobs are one commit or
//! none.

use std::collections::BTreeMap;
use std::time::Duration;

use gristmill_core::id::WorkerId;
use gristmill_core::job::ClaimedJob;
use gristmill_core::settle::Ending;
use gristmill_store::{Claim, JobFilter, JobView, NewWorker, OpenOptions, Page, Settings, StoreHandle};
use serde::Deserialize;
use sqlx::postgres::PgConnection;
use sqlx::{AssertSqlSafe, Connection};

use super::*;

const TRACE: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

/// Charges once: a row of its own, and a receipt.
#[derive(Serialize, Deserialize)]
struct Charge {
    order: i64,
    /// Whether the worker loses its lease in the middle.
    robbed: bool,
}

impl Kind for Charge {
    const NAME: &str = "charge";
    type Output = String;

    async fn run(self, context: Context) -> Result<String, Failure> {
        let mut transaction = context.transaction().await?;
        sqlx::query("INSERT INTO charged VALUES ($1)").bind(self.order).execute(&mut *transaction).await?;
        context.enqueue(&Receipt { order: self.order })?;
        if self.robbed {
            context.job.store.retire_worker(context.job.job.fence.worker).await?;
        }
        let output = format!("charged {}", self.order);
        context.complete(transaction, &output).await?;
        Ok(output)
    }
}

#[derive(Serialize, Deserialize)]
struct Receipt {
    order: i64,
}

impl Kind for Receipt {
    const NAME: &str = "receipt";
    type Output = ();

    async fn run(self, _: Context) -> Result<(), Failure> {
        Ok(())
    }
}

/// A schema of its own with a table of the user's own, and a worker that may claim.
struct TestEnv {
    server: String,
    schema: String,
    store: StoreHandle,
    own: PgConnection,
}

impl TestEnv {
    async fn new() -> Self {
        let server = std::env::var("GRISTMILL_TEST_POSTGRES").expect("set GRISTMILL_TEST_POSTGRES or run `make test`");
        let schema = format!("charge_{}", Uuid::now_v7().simple());
        let joint = if server.contains('?') { '&' } else { '?' };
        let url = format!("{server}{joint}options=-c%20search_path%3D{schema}");
        administer(&server, format!("CREATE SCHEMA {schema}")).await;
        let store = store(&url).await;
        let mut own = PgConnection::connect(&url).await.expect("connected");
        sqlx::raw_sql("CREATE TABLE charged (id bigint PRIMARY KEY)").execute(&mut own).await.expect("a table");
        Self { server, schema, store, own }
    }

    async fn charged(&mut self) -> Vec<i64> {
        sqlx::query_scalar("SELECT id FROM charged").fetch_all(&mut self.own).await.expect("rows")
    }

    async fn end(self) {
        self.own.close().await.expect("closed");
        administer(&self.server, format!("DROP SCHEMA {} CASCADE", self.schema)).await;
    }
}

async fn administer(server: &str, statement: String) {
    let mut connection = PgConnection::connect(server).await.expect("the test server answers");
    sqlx::raw_sql(AssertSqlSafe(statement)).execute(&mut connection).await.expect("done");
}

async fn store(url: &str) -> StoreHandle {
    let settings = Settings { migrate: true, ..Settings::default() };
    gristmill_store::open(url, OpenOptions { settings, with_outbox: false }).await.expect("opened")
}

async fn claimed(store: &StoreHandle, payload: &Charge) -> ClaimedJob {
    let worker = NewWorker {
        id: WorkerId(Uuid::now_v7()),
        role: "worker".to_owned(),
        host: "here".to_owned(),
        pid: 1,
        version: "0".to_owned(),
        slots: 1,
        queues: Vec::new(),
        kinds: Vec::new(),
        lease: Duration::from_secs(600),
    };
    store.register_worker(&worker).await.expect("registered");
    let mut job = new_job(payload).expect("a job");
    job.trace = Some(TRACE.to_owned());
    store.enqueue(&[job]).await.expect("enqueued");
    let claim = Claim { worker: worker.id, queues: Vec::new(), kinds: vec!["charge".to_owned()], limit: 1 };
    store.claim_next(&claim).await.expect("claimed").pop().expect("one job")
}

/// One attempt by a program whose configuration has settings for receipts.
async fn attempt(store: &StoreHandle, job: ClaimedJob) -> Finish {
    let states = States::default();
    let receipts = KindSettings { max_attempts: Some(9), ..KindSettings::default() };
    states.follow_settings(&BTreeMap::from([("receipt".to_owned(), receipts)]));
    let context = JobContext::new(job, StoreHandle::clone(store));
    KindHandler::<Charge>::new(states).run(context).await
}

async fn jobs(store: &StoreHandle, kind: &str) -> Vec<JobView> {
    let filter = JobFilter { tenant: "main".to_owned(), kind: Some(kind.to_owned()), ..JobFilter::default() };
    store.jobs(&filter, &Page::default()).await.expect("a list")
}

#[tokio::test]
async fn own_rows_the_completion_and_further_jobs_are_one_commit() {
    let mut env = TestEnv::new().await;
    let job = claimed(&env.store, &Charge { order: 7, robbed: false }).await;
    let id = job.fence.job;
    let finish = attempt(&env.store, job).await;
    assert!(finish.committed && finish.follow.is_empty(), "nothing is left for the worker to write: {finish:?}");
    assert_eq!(env.charged().await, [7]);
    let view = env.store.job("main", id).await.expect("a view").expect("the job");
    assert_eq!((view.state.to_string().as_str(), view.output), ("done", Some("charged 7".into())));
    let receipts = jobs(&env.store, "receipt").await;
    assert_eq!(receipts.len(), 1);
    assert_eq!(receipts[0].max_attempts, 9, "the configuration wins over the kind's code");
    env.end().await;
}

#[tokio::test]
async fn an_attempt_that_does_not_count_any_more_leaves_nothing_of_it() {
    let mut env = TestEnv::new().await;
    let job = claimed(&env.store, &Charge { order: 7, robbed: true }).await;
    let id = job.fence.job;
    let finish = attempt(&env.store, job).await;
    assert!(!finish.committed && finish.follow.is_empty(), "{finish:?}");
    assert_eq!(finish.ending, Ending::Failed { retry_after: None });
    let error = finish.error.expect("a reason");
    assert!(error.contains("not this worker's any more"), "{error}");
    assert_eq!(env.charged().await, [0_i64; 0]);
    assert_eq!(jobs(&env.store, "receipt").await.len(), 0);
    let view = env.store.job("main", id).await.expect("a view").expect("the job");
    assert_eq!(view.state.to_string(), "queued", "the next worker has it");
    env.end().await;
}

#[tokio::test]
async fn an_embedded_store_says_that_it_has_no_transaction_to_give() {
    let folder = tempfile::tempdir().expect("a folder");
    let store = store(&format!("sqlite://{}", folder.path().join("a.db").display())).await;
    let job = claimed(&store, &Charge { order: 7, robbed: false }).await;
    let finish = attempt(&store, job).await;
    assert_eq!(finish.ending, Ending::Permanent, "another attempt would meet the same store");
    let error = finish.error.expect("a reason");
    assert!(error.contains("needs PostgreSQL") && error.contains("embedded"), "{error}");
}

/// Version 1 had one `name`; version 2 has two.
#[derive(serde::Serialize, serde::Deserialize)]
struct Greet {
    first: String,
    last: String,
}

impl Kind for Greet {
    const NAME: &str = "charge";
    const VERSION: u32 = 2;
    type Output = String;

    fn reads() -> Vec<u32> {
        vec![1, 2]
    }

    fn upgrade(payload: serde_json::Value, version: u32) -> Result<serde_json::Value, Failure> {
        assert_eq!(version, 1, "only what is older is upgraded");
        let name = payload["name"].as_str().ok_or_else(|| Failure::permanent("version 1 has a `name`"))?;
        let (first, last) = name.split_once(' ').unwrap_or((name, ""));
        Ok(serde_json::json!({ "first": first, "last": last }))
    }

    async fn run(self, _: Context) -> Result<String, Failure> {
        Ok(format!("{}, {}", self.last, self.first))
    }
}

#[tokio::test]
async fn a_payload_of_an_older_version_is_upgraded_and_the_own_one_is_not() {
    let folder = tempfile::tempdir().expect("a folder");
    let store = store(&format!("sqlite://{}", folder.path().join("a.db").display())).await;
    assert_eq!(new_job(&Greet { first: String::new(), last: String::new() }).expect("a job").version, 2);
    let job = claimed(&store, &Charge { order: 7, robbed: false }).await;
    for (version, payload, said) in [
        (1, serde_json::json!({ "name": "Ada Lovelace" }), Some("Lovelace, Ada")),
        (2, serde_json::json!({ "first": "Ada", "last": "Lovelace" }), Some("Lovelace, Ada")),
        (1, serde_json::json!({ "first": "Ada", "last": "Lovelace" }), None),
    ] {
        let job = ClaimedJob { version, payload, ..job.clone() };
        let context = JobContext::new(job, StoreHandle::clone(&store));
        let finish = KindHandler::<Greet>::new(States::default()).run(context).await;
        assert_eq!(finish.output.as_ref().and_then(|output| output.as_str()), said, "{finish:?}");
        assert_eq!(finish.ending == Ending::Permanent, said.is_none(), "{finish:?}");
    }
}
