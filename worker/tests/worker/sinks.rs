//! Jobs with rows for a table of the user's own, on PostgreSQL, while another session has locked that table.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use async_trait::async_trait;
use gristmill_broker::Broker;
use gristmill_core::job::JobState;
use gristmill_jobs::{Finish, Handler, JobContext};
use gristmill_store::SqlRows;
use gristmill_store::testing::{TestStore, eventually};
use gristmill_worker::WorkerOptions;
use serde_json::json;
use sqlx::{Connection, PgConnection};

use crate::env::{Hand, TestEnv, ground_on};
use crate::loops::{Process, begun};

/// Is done with one row for the table `sink`.
struct Rows(Arc<Hand>);

#[async_trait]
impl Handler for Rows {
    async fn run(&self, _: JobContext) -> Finish {
        self.0.begun.fetch_add(1, Ordering::SeqCst);
        self.0.begins.notify_one();
        let rows = vec![json!({ "id": 1 })];
        let sql = SqlRows { table: "sink".to_owned(), columns: vec!["id".to_owned()], rows };
        Finish { sql: Some(sql), ..Finish::done(None) }
    }
}

/// A store whose table `sink` is locked until the connection lets go.
async fn locked() -> (TestEnv, PgConnection) {
    let broker = Broker::connect(&gristmill_broker::Settings::default()).await.expect("in-process");
    let env = ground_on(TestStore::postgres(false).await, broker, 20_000);
    env.home.tamper("CREATE TABLE sink (id BIGINT)").await;
    let mut other = PgConnection::connect(env.home.url()).await.expect("connected");
    sqlx::raw_sql("BEGIN; LOCK TABLE sink").execute(&mut other).await.expect("locked");
    (env, other)
}

fn options(env: &TestEnv) -> WorkerOptions {
    let mut options = env.options();
    options.registry.insert("rows", Arc::new(Rows(Arc::clone(&env.hand))));
    options.settings.beat.0 = Duration::from_millis(20);
    options
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_locked_table_holds_up_the_jobs_that_write_to_it_and_no_others() {
    let (env, mut other) = locked().await;
    let process = Process::start(options(&env));
    let mut writing = Vec::new();
    for _ in 0..3 {
        writing.push(env.enqueue("", |job| job.kind = "rows".to_owned()).await);
    }
    begun(&env, 3).await;
    let waits = "SELECT count(*) FROM pg_locks WHERE NOT granted AND relation = 'sink'::regclass";
    eventually("a wait for the table", async || (env.home.count(waits).await > 0).then_some(())).await;
    let innocent = env.enqueue("succeed", |_| {}).await;
    env.until(innocent, JobState::Done).await;
    for id in &writing {
        assert_eq!(env.job(*id).await.state, JobState::Running);
    }
    sqlx::raw_sql("COMMIT").execute(&mut other).await.expect("let go");
    for id in &writing {
        let job = env.until(*id, JobState::Done).await;
        assert_eq!((job.attempt, job.attempts.len()), (1, 0), "once");
    }
    assert_eq!(env.home.count("SELECT count(*) FROM sink").await, 3);
    assert_eq!(process.stop().await.settled, 4);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_has_ended_is_not_rescued_while_it_waits_to_be_written_down() {
    let (env, mut other) = locked().await;
    let process = Process::start(options(&env));
    let id = env.enqueue("", |job| job.kind = "rows".to_owned()).await;
    begun(&env, 1).await;
    let waits = "SELECT count(*) FROM pg_locks WHERE NOT granted AND relation = 'sink'::regclass";
    eventually("a wait for the table", async || (env.home.count(waits).await > 0).then_some(())).await;
    env.home.pass_deadline(id).await;
    let held = "SELECT count(*) FROM job WHERE deadline > now()";
    eventually("a beat that holds it", async || (env.home.count(held).await > 0).then_some(())).await;
    assert_eq!(env.store.rescue(10).await.expect("asked").requeued, 0, "its worker lives, and will write it down");
    sqlx::raw_sql("COMMIT").execute(&mut other).await.expect("let go");
    let job = env.until(id, JobState::Done).await;
    assert_eq!((job.attempt, job.attempts.len()), (1, 0), "it ran once, and did not time out");
    process.stop().await;
}
