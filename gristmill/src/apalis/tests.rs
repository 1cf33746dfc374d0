//! Handlers that were written for apalis, run by a real worker.

use std::sync::Arc;
use std::time::Duration;

use gristmill_broker::Broker;
use gristmill_core::id::JobId;
use gristmill_core::job::{JobState, NewJob};
use gristmill_jobs::Registry;
use gristmill_service::dispatcher::Dispatcher;
use gristmill_store::{JobView, OpenOptions, Settings, StoreHandle};
use gristmill_worker::WorkerOptions;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::*;
use crate::{App, Failure};

#[derive(Deserialize)]
struct Email {
    to: String,
}

#[derive(Clone)]
struct Mailer {
    from: String,
}

/// Must not be cloned.
struct Counter(std::sync::atomic::AtomicU32);

/// Exactly what a program for apalis has.
async fn send(
    email: Email,
    mailer: Data<Mailer>,
    counter: Data<Arc<Counter>>,
    id: TaskId,
    attempt: Attempt,
    worker: WorkerContext,
    cancel: Data<CancellationToken>,
) -> Result<Value, BoxDynError> {
    let sent = counter.0.0.fetch_add(1, std::sync::atomic::Ordering::SeqCst) + 1;
    assert!(!cancel.is_cancelled());
    match email.to.as_str() {
        "nobody" => Err(AbortError::new("there is nobody of that name").into()),
        "later" => Err(Failure::snooze("too early", Duration::from_secs(60)).into()),
        "busy" if attempt.current() == 1 => Err("the line is busy".into()),
        to => Ok(json!({
            "id": id.to_string(), "from": mailer.from, "to": to, "sent": sent, "attempt": attempt.current(),
            "worker": worker.name(),
        })),
    }
}

/// Requests something that the program does not share.
async fn lacking(_: Email, pool: Data<Vec<u8>>) -> usize {
    pool.len()
}

/// Takes only its arguments.
async fn plain(numbers: Vec<u32>) -> Result<u32, std::io::Error> {
    Ok(numbers.iter().sum())
}

async fn store(folder: &tempfile::TempDir) -> StoreHandle {
    let settings = Settings { migrate: true, ..Settings::default() };
    let url = format!("sqlite://{}", folder.path().join("a.db").display());
    gristmill_store::open(&url, OpenOptions { settings, with_outbox: false }).await.expect("opened")
}

fn job(kind: &str, payload: Value) -> NewJob {
    let mut job = NewJob::new(JobId::from(Uuid::now_v7()), kind, payload);
    job.retry = gristmill_core::retry::RetryPolicy::Fixed(gristmill_core::duration::Span(Duration::ZERO));
    job
}

/// Runs the jobs in a worker's process until each is in the expected state.
async fn run(registry: Registry, jobs: Vec<(NewJob, JobState)>) -> Vec<JobView> {
    let folder = tempfile::tempdir().expect("a folder");
    let store = store(&folder).await;
    let broker = Broker::connect(&gristmill_broker::Settings::default()).await.expect("in-process");
    let options = WorkerOptions {
        dispatcher: Dispatcher::new(StoreHandle::clone(&store), broker, 1_000),
        store: StoreHandle::clone(&store),
        registry,
        layers: Default::default(),
        settings: gristmill_worker::Settings::default(),
        fallback_after: Duration::from_secs(30),
        role: "worker".to_owned(),
    };
    let new: Vec<NewJob> = jobs.iter().map(|(job, _)| job.clone()).collect();
    store.enqueue(&new).await.expect("enqueued");
    let stop = CancellationToken::new();
    let worker = tokio::spawn(gristmill_worker::run(options, stop.clone().cancelled_owned()));
    let mut views = Vec::new();
    for (job, wanted) in &jobs {
        let ask = || async {
            store.promote(100).await.expect("promoted");
            let view = store.job("main", job.id).await.expect("the store answers").expect("the job");
            (view.state == *wanted).then_some(view)
        };
        views.push(eventually(ask).await);
    }
    stop.cancel();
    worker.await.expect("no panic").expect("a good end");
    views
}

async fn eventually<F: Future<Output = Option<JobView>>>(ask: impl Fn() -> F) -> JobView {
    let asking = async {
        loop {
            match ask().await {
                Some(view) => return view,
                None => tokio::time::sleep(Duration::from_millis(2)).await,
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(60), asking).await.expect("within a minute")
}

#[tokio::test]
async fn a_handler_for_apalis_runs_unchanged_with_its_extractors() {
    let app = App::new()
        .apalis_kind("send-email", task_fn(send))
        .apalis_kind("lacking", task_fn(lacking))
        .apalis_kind("sum", task_fn(plain))
        .shared_state(Arc::new(Counter(0.into())))
        .state(Mailer { from: "shop@example.com".to_owned() });
    let to = |to: &str| job("send-email", json!({ "to": to }));
    let views = run(
        app.registry(),
        vec![
            (to("ada"), JobState::Done),
            (to("busy"), JobState::Done),
            (to("nobody"), JobState::Dead),
            (to("later"), JobState::Retry),
            (job("send-email", json!({ "to": 7 })), JobState::Dead),
            (NewJob { max_attempts: 1, ..job("lacking", json!({ "to": "ada" })) }, JobState::Dead),
            (job("sum", json!([1, 2, 3])), JobState::Done),
        ],
    )
    .await;
    let [ada, busy, nobody, later, misfit, lacking, sum] = views.as_slice() else { panic!("{views:?}") };
    let output = ada.output.as_ref().expect("an output");
    assert_eq!((&output["from"], &output["to"]), (&json!("shop@example.com"), &json!("ada")));
    assert_eq!((&output["id"], &output["attempt"]), (&json!(ada.id.to_string()), &json!(1)));
    assert_eq!(output["worker"], json!("gristmill"));
    assert_eq!(busy.output.as_ref().map(|output| &output["attempt"]), Some(&json!(2)));
    assert_eq!(busy.attempts[0].error.as_deref(), Some("the line is busy"));
    assert_eq!((nobody.attempts.len(), nobody.error.as_deref()), (1, Some("there is nobody of that name")));
    assert_eq!((later.snoozes, later.error.as_deref()), (1, Some("too early")));
    let error = misfit.error.as_deref().expect("a reason");
    assert!(error.contains("not one of kind `send-email` at `to`: invalid type: integer `7`"), "{error}");
    assert_eq!(misfit.attempts.len(), 1, "another attempt would read the same payload");
    let error = lacking.error.as_deref().expect("a reason");
    assert!(error.contains("Vec<u8>") && error.contains("share it with `App::state`"), "{error}");
    assert_eq!(sum.output, Some(json!(6)));
}
