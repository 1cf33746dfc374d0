//! Batches and runs start in one way, for every caller.

use gristmill_core::Instant;
use gristmill_core::id::DEFAULT_TENANT;
use gristmill_core::schedule::ScheduleSpec;
use gristmill_service::start::{
    BatchRequest, EventRequest, Rehearsal, RunContext, StartError, StartedBatch, StartedRun, turn,
};
use gristmill_store::{BatchFilter, FireTick, Firing, NotedEvent, Page, TickCause, TickOutcome};
use serde_json::json;

use crate::env::{TestEnv, envs, hourly_batch, hourly_job, order, rehearsal};

/// A tick that a schedule runs.
fn firing(schedule: &str, at: &str) -> Firing {
    let tick: Instant = at.parse().expect("an instant");
    let tick = FireTick {
        tick,
        interval: (tick - chrono::TimeDelta::hours(1), tick),
        cause: TickCause::Tick,
        outcome: TickOutcome::Ran,
        late_ms: 0,
        ticks: 1,
        reason: None,
        was: None,
        run: None,
        holder: None,
        about: None,
        tzdb: None,
    };
    Firing { tenant: DEFAULT_TENANT.to_owned(), schedule: schedule.to_owned(), advance: None, ticks: vec![tick] }
}

async fn deliver(env: &TestEnv, run_context: &RunContext, spec: &ScheduleSpec, key: &str) -> NotedEvent {
    let about = json!({ "id": key, "body": { "order": 17 } });
    let (ledger, key) = ("hook/orders".to_owned(), key.to_owned());
    let event = EventRequest { ledger, spec, key, about, patience: None };
    let noted = env.service.start_event(&order(), run_context, event).await.expect("taken");
    noted.expect("not a rehearsal")
}

#[tokio::test]
async fn a_hook_and_a_schedule_enqueue_the_same_job() {
    for env in envs().await {
        let (run_context, spec) = (env.run_context(), hourly_job());
        let noted = deliver(&env, &run_context, &spec, "msg_1").await;
        let by_hook = env.job(noted.tick.job.expect("its job")).await;
        let tick = firing("nightly", "2026-07-01T02:00:00Z");
        let started = env.service.start_run(&order(), &run_context, &spec, tick).await.expect("started");
        let StartedRun::Enqueued(id) = started else { panic!("{started:?}") };
        let by_clock = env.job(id).await;
        for job in [&by_hook, &by_clock] {
            assert_eq!((job.kind.as_str(), job.queue.as_str()), ("report", "configured"));
            assert_eq!((job.state, job.max_attempts), (by_hook.state, 4));
            assert_eq!(job.payload, json!({ "shop": "north" }), "rendered with the run's parameters");
        }
        assert_eq!(env.published().await, (2, 0), "both are published");
    }
}

#[tokio::test]
async fn a_hook_a_schedule_and_an_operator_start_the_same_batch() {
    for env in envs().await {
        let (run_context, spec) = (env.run_context(), hourly_batch());
        let asked = run_context.batch(BatchRequest::new("retail")).expect("a definition");
        let by_hand = env.service.start_batch(&order(), asked).await.expect("started");
        let StartedBatch::Planned(by_hand) = by_hand else { panic!("{by_hand:?}") };
        let tick = firing("nightly", "2026-07-01T02:00:00Z");
        let by_clock = env.service.start_run(&order(), &run_context, &spec, tick).await.expect("started");
        let StartedRun::Planned(by_clock) = by_clock else { panic!("{by_clock:?}") };
        // A scheduler starts the batch of an event, when its turn has come.
        let row = deliver(&env, &run_context, &spec, "msg_1").await.tick;
        assert_eq!((row.outcome, row.batch), (TickOutcome::Waiting, None));
        let (tenant, schedule) = (row.tenant.clone(), row.schedule.clone());
        let turn = Firing { tenant, schedule, advance: None, ticks: vec![turn(&row)] };
        let by_hook = env.service.start_run(&order(), &run_context, &spec, turn).await.expect("started");
        let StartedRun::Planned(by_hook) = by_hook else { panic!("{by_hook:?}") };
        let expected = env.planned(by_hand).await;
        assert_eq!((expected.1, expected.2), (3, 5));
        assert_eq!((env.planned(by_clock).await, env.planned(by_hook).await), (expected.clone(), expected));
        assert_eq!(env.published().await, (9, 0), "three chunks of each");
    }
}

#[tokio::test]
async fn an_event_starts_its_job_once_for_each_key() {
    for env in envs().await {
        let (run_context, spec) = (env.run_context(), hourly_job());
        let first = deliver(&env, &run_context, &spec, "msg_1").await;
        let again = deliver(&env, &run_context, &spec, "msg_1").await;
        assert_eq!((first.fresh, again.fresh, again.tick.job), (true, false, first.tick.job));
        assert_eq!((env.jobs().await.len(), env.published().await), (1, (1, 0)));
    }
}

#[tokio::test]
async fn a_tick_runs_once_whoever_asks_again() {
    for env in envs().await {
        let run_context = env.run_context();
        for spec in [hourly_job(), hourly_batch()] {
            let name = if spec.batch.is_some() { "nightly" } else { "by-hand" };
            let tick = firing(name, "2026-07-01T02:00:00Z");
            let first = env.service.start_run(&order(), &run_context, &spec, tick.clone()).await.expect("started");
            assert!(matches!(first, StartedRun::Enqueued(_) | StartedRun::Planned(_)), "{first:?}");
            let second = env.service.start_run(&order(), &run_context, &spec, tick).await.expect("asked");
            assert_eq!(second, StartedRun::Lost);
        }
    }
}

#[tokio::test]
async fn rehearsed_starts_leave_nothing_behind() {
    for env in envs().await {
        let run_context = env.run_context();
        let before = env.everything().await;
        let request = BatchRequest { chunk: Some(4), ..BatchRequest::new("retail") };
        let start = run_context.batch(request).expect("a definition");
        let rehearsed = env.service.start_batch(&rehearsal(), start).await.expect("rehearsed");
        assert_eq!(rehearsed, StartedBatch::Rehearsed(Rehearsal { chunks: 2, items: 5 }));
        for spec in [hourly_job(), hourly_batch()] {
            let tick = firing("nightly", "2026-07-01T02:00:00Z");
            let run = env.service.start_run(&rehearsal(), &run_context, &spec, tick).await.expect("rehearsed");
            assert_eq!(run, StartedRun::Rehearsed);
            let (ledger, key) = ("hook/orders".to_owned(), "msg_1".to_owned());
            let event = EventRequest { ledger, spec: &spec, key, about: json!({}), patience: None };
            assert!(env.service.start_event(&rehearsal(), &run_context, event).await.expect("rehearsed").is_none());
        }
        assert_eq!(env.everything().await, before);
    }
}

#[tokio::test]
async fn what_is_wrong_with_a_batch_is_said_before_anything_exists() {
    for env in envs().await {
        let run_context = env.run_context();
        let unknown = run_context.batch(BatchRequest::new("retale")).expect_err("no such definition");
        assert!(unknown.to_string().contains("[batch.retale]"), "{unknown}");
        let missing = BatchRequest { input: vec!["no-such.csv".to_owned()], ..BatchRequest::new("retail") };
        for order in [order(), rehearsal()] {
            let request = BatchRequest { input: missing.input.clone(), ..BatchRequest::new("retail") };
            let start = run_context.batch(request).expect("a definition");
            let error = env.service.start_batch(&order, start).await.expect_err("no such file");
            assert!(matches!(&error, StartError::Source(_)) && error.to_string().contains("no-such.csv"), "{error}");
        }
        let filter = BatchFilter { tenant: DEFAULT_TENANT.to_owned(), ..BatchFilter::default() };
        assert!(env.store.batches(&filter, &Page { after: None, limit: 10 }).await.expect("listed").is_empty());
    }
}

#[tokio::test]
async fn an_event_whose_run_failed_is_started_anew_and_no_other() {
    for env in envs().await {
        let (run_context, spec) =
            (env.run_context(), ScheduleSpec { batch: Some("gone".to_owned()), ..hourly_batch() });
        let row = deliver(&env, &run_context, &spec, "msg_1").await.tick;
        let refused = env.service.retry_event(&order(), &row).await.expect_err("it waits");
        assert!(refused.to_string().contains("`msg_1`"), "{refused}");
        let (tenant, schedule) = (row.tenant.clone(), row.schedule.clone());
        let turn = Firing { tenant, schedule, advance: None, ticks: vec![turn(&row)] };
        let run = env.service.start_run(&order(), &run_context, &spec, turn).await.expect("asked");
        assert!(matches!(&run, StartedRun::Failed(reason) if reason.contains("[batch.gone]")), "{run:?}");
        let row = env.ledger("hook/orders").await.remove(0);
        assert_eq!(env.service.retry_event(&rehearsal(), &row).await.expect("checked"), 1);
        assert_eq!(env.ledger("hook/orders").await[0].outcome, TickOutcome::Failed);
        assert_eq!(env.service.retry_event(&order(), &row).await.expect("asked for anew"), 1);
        assert_eq!(env.ledger("hook/orders").await[0].outcome, TickOutcome::Waiting);
        assert_eq!(env.service.retry_event(&order(), &row).await.expect("asked"), 0, "another one was first");
    }
}
