//! The program's layers around attempts: what they see, what they may decide, and that they harm only themselves.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use gristmill_core::id::DEFAULT_TENANT;
use gristmill_core::job::JobState;
use gristmill_core::settle::Ending;
use gristmill_jobs::{Finish, Handler, JobContext};
use gristmill_worker::layers::Layers;
use gristmill_worker::{AttemptRequest, AttemptService, Worker};
use tower::ServiceExt;
use tower::layer::layer_fn;

use crate::env::{TestEnv, env};

type Seen = Arc<Mutex<Vec<(String, u32, &'static str)>>>;

/// A layer that notes what it sees: the kind, the attempt, and how it ended.
fn noting(layers: &mut Layers, seen: &Seen) {
    let seen = Arc::clone(seen);
    layers.push(layer_fn(move |inner: AttemptService| {
        let seen = Arc::clone(&seen);
        tower::service_fn(move |attempt: AttemptRequest| {
            let (inner, seen) = (inner.clone(), Arc::clone(&seen));
            async move {
                let (kind, number) = (attempt.args.kind().to_owned(), attempt.args.attempt());
                let finish = inner.oneshot(attempt).await?;
                seen.lock().expect("no panic").push((kind, number, finish.ending.as_str()));
                Ok::<_, gristmill_worker::layers::BoxDynError>(finish)
            }
        })
    }));
}

async fn worker(env: &TestEnv, layers: Layers) -> Worker {
    let mut options = env.options();
    options.registry.insert("hanging", env.hanging());
    options.layers = layers;
    Worker::enter(options).await.expect("a worker")
}

#[tokio::test]
async fn a_layer_sees_every_attempt_with_its_kind_and_how_it_ended() {
    let env = env().await;
    for what in ["succeed", "fail", "give up", "panic", "snooze"] {
        env.enqueue(what, |job| job.retry = gristmill_core::retry::RetryPolicy::default()).await;
    }
    env.enqueue("hang", |job| (job.kind, job.timeout) = ("hanging".to_owned(), Duration::from_millis(20))).await;
    let cancelled = env.enqueue("hang", |_| {}).await;
    let (mut layers, seen) = (Layers::default(), Seen::default());
    noting(&mut layers, &seen);
    let mut worker = worker(&env, layers).await;
    let claimed = worker.claim().await.expect("claimed");
    env.store.cancel_job(DEFAULT_TENANT, cancelled, "not wanted", false).await.expect("cancelled");
    assert_eq!(worker.poll().await.expect("asked"), 1);
    worker.work(claimed).await;
    let mut seen = seen.lock().expect("no panic").clone();
    seen.sort();
    let told = |ending| ("told".to_owned(), 1, ending);
    assert_eq!(
        seen,
        [
            ("hanging".to_owned(), 1, "timed_out"),
            told("cancelled"),
            told("done"),
            told("failed"),
            told("panicked"),
            told("permanent"),
            told("snoozed"),
        ]
    );
}

#[tokio::test]
async fn a_layer_refuses_attempts_and_their_handlers_never_begin() {
    let env = env().await;
    let (snoozed, later, error) = (
        env.enqueue("snoozed", |_| {}).await,
        env.enqueue("later", |_| {}).await,
        env.enqueue("error", |job| job.max_attempts = 1).await,
    );
    let wait = Duration::from_secs(300);
    let mut layers = Layers::default();
    layers.push(layer_fn(move |_: AttemptService| {
        tower::service_fn(move |attempt: AttemptRequest| async move {
            match attempt.args.payload()["do"].as_str() {
                Some("snoozed") => Ok(Finish::snooze("the circuit is open", wait)),
                Some("later") => Ok(Finish::failed_until("the circuit is open", wait)),
                _ => Err("the circuit is broken"),
            }
        })
    }));
    let mut worker = worker(&env, layers).await;
    assert_eq!(worker.step().await.expect("a step"), 3);
    assert_eq!(env.hand.begun.load(Ordering::SeqCst), 0);
    let job = env.job(snoozed).await;
    assert_eq!((job.state, job.snoozes, job.error.as_deref()), (JobState::Retry, 1, Some("the circuit is open")));
    let job = env.job(later).await;
    assert_eq!((job.state, job.snoozes, job.attempts[0].ending.as_str()), (JobState::Retry, 0, "failed"));
    let waits = (job.run_at.expect("a time") - job.created_at).to_std().expect("it waits");
    assert!(waits >= wait, "{waits:?}");
    let job = env.job(error).await;
    assert_eq!((job.state, job.error.as_deref()), (JobState::Dead, Some("the circuit is broken")));
}

#[tokio::test]
async fn a_layer_that_panics_or_hangs_costs_its_own_attempt_and_nothing_else() {
    let env = env().await;
    let limits = |job: &mut gristmill_core::job::NewJob| {
        (job.max_attempts, job.timeout) = (1, Duration::from_millis(10));
    };
    let (panics, hangs) = (env.enqueue("panics", limits).await, env.enqueue("hangs", limits).await);
    let fine = env.enqueue("succeed", |_| {}).await;
    let mut layers = Layers::default();
    layers.push(layer_fn(|inner: AttemptService| {
        tower::service_fn(move |attempt: AttemptRequest| {
            let inner = inner.clone();
            async move {
                match attempt.args.payload()["do"].as_str() {
                    Some("panics") => panic!("no such circuit"),
                    Some("hangs") => std::future::pending().await,
                    _ => inner.oneshot(attempt).await,
                }
            }
        })
    }));
    let mut worker = worker(&env, layers).await;
    assert_eq!(worker.step().await.expect("a step"), 3);
    let job = env.job(panics).await;
    assert_eq!(job.attempts[0].ending.as_str(), "panicked");
    assert_eq!(job.error.as_deref(), Some("a layer around the attempt panicked: no such circuit"));
    assert_eq!(env.job(hangs).await.attempts[0].ending.as_str(), "timed_out");
    assert_eq!(env.job(fine).await.state, JobState::Done);
}

/// Returns the data that the layers have attached to its job.
struct Reading;

#[async_trait]
impl Handler for Reading {
    async fn run(&self, context: JobContext) -> Finish {
        Finish::done(context.extension::<Vec<&'static str>>().map(|order| serde_json::json!(order)))
    }
}

#[tokio::test]
async fn layers_stand_in_the_order_in_which_they_were_added_and_pass_data_inwards() {
    let env = env().await;
    let id = env.enqueue("read", |job| job.kind = "reading".to_owned()).await;
    let mut layers = Layers::default();
    for name in ["first", "second"] {
        layers.push(tower::util::MapRequestLayer::new(move |mut attempt: AttemptRequest| {
            let mut order = attempt.data().get::<Vec<&'static str>>().cloned().unwrap_or_default();
            order.push(name);
            attempt.inject_data(order);
            attempt
        }));
    }
    let mut options = env.options();
    options.registry.insert("reading", Arc::new(Reading));
    options.layers = layers;
    let mut worker = Worker::enter(options).await.expect("a worker");
    assert_eq!(worker.step().await.expect("a step"), 1);
    assert_eq!(env.job(id).await.output, Some(serde_json::json!(["first", "second"])));
}

#[tokio::test]
async fn a_layer_may_mend_what_a_handler_gives() {
    let env = env().await;
    let id = env.enqueue("fail", |job| job.max_attempts = 1).await;
    let mut layers = Layers::default();
    layers.push(tower::util::MapResponseLayer::new(|finish: Finish| match finish.ending {
        Ending::Failed { .. } => Finish::done(Some(serde_json::json!("good enough"))),
        _ => finish,
    }));
    assert_eq!(worker(&env, layers).await.step().await.expect("a step"), 1);
    let job = env.job(id).await;
    assert_eq!((job.state, job.output), (JobState::Done, Some(serde_json::json!("good enough"))));
}
