//! The duties as functions, and the loop that calls them.

use std::time::Duration;

use chrono::{TimeDelta, Utc};
use gristmill_core::history::HistoryStep;
use gristmill_core::settle::{Ending, Verdict};
use gristmill_store::testing;
use gristmill_store::{Completion, GROUP_JOBS_MAX, HistoryFilter, NewBatch};

use crate::env::{Running, env, order};
use gristmill_core::batch::BatchState;
use gristmill_core::duration::Span;
use gristmill_core::id::DEFAULT_TENANT;
use gristmill_core::job::{JobState, RunAt};
use gristmill_core::operation::{OperationState, OperationVerb};
use gristmill_core::query::{List, parse};
use gristmill_scheduler::duties::promote::promote;
use gristmill_scheduler::duties::reconcile::reconcile;
use gristmill_scheduler::duties::relay::OutboxRelay;
use gristmill_scheduler::duties::rescue::rescue;
use gristmill_scheduler::{DutySettings, Settings};
use gristmill_service::control::operation::OperationRequest;
use gristmill_service::failure_budget::FailureBudgets;
use gristmill_service::retention::{Keep, PrunerOptions, RetentionSettings};

#[tokio::test]
async fn only_jobs_whose_time_has_come_are_promoted() {
    let env = env().await;
    let due = env.enqueue(|job| job.run = RunAt::In(Duration::from_millis(1))).await;
    let later = env.enqueue(|job| job.run = RunAt::In(Duration::from_secs(3600))).await;
    let promoted = async {
        while promote(&*env.store, &env.dispatcher, 10).await.expect("promoted") == 0 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(120), promoted).await.expect("its time comes");
    assert_eq!(env.job(due).await.state, JobState::Queued);
    assert_eq!(env.job(later).await.state, JobState::Scheduled);
    assert_eq!(promote(&*env.store, &env.dispatcher, 10).await.expect("promoted"), 0, "twice is once");
}

#[tokio::test]
async fn jobs_of_a_lost_worker_are_rescued_once() {
    let env = env().await;
    let id = env.enqueue(|_| {}).await;
    let spent = env.enqueue(|job| job.max_attempts = 1).await;
    let worker = env.worker(Duration::from_millis(1)).await;
    assert_eq!(env.claim(worker).await.len(), 2);
    let budgets = FailureBudgets::new(env.store.clone());
    let rescued = async {
        loop {
            let report = rescue(&*env.store, &env.dispatcher, &budgets, 10).await.expect("rescued");
            if report.workers_lost > 0 {
                return report;
            }
        }
    };
    let report = tokio::time::timeout(Duration::from_secs(120), rescued).await.expect("the lease runs out");
    assert_eq!((report.requeued, report.dead), (1, 1));
    assert_eq!(env.job(id).await.state, JobState::Queued);
    assert_eq!(env.job(spent).await.state, JobState::Dead);
    let again = rescue(&*env.store, &env.dispatcher, &budgets, 10).await.expect("rescued");
    assert_eq!((again.workers_lost, again.requeued, again.dead), (0, 0, 0), "twice is once");
}

#[tokio::test]
async fn a_batch_over_its_budget_is_halted_by_whoever_looks() {
    let env = env().await;
    let definition = r#"{ "source": { "csv": "input.csv" }, "chunk": 1, "max_attempts": 1, "tolerate": 0 }"#;
    let start = env.start(definition, "id\n1\n2\n3\n");
    let id = env.start_batch(start).await.expect("started");
    // One chunk dies, and the worker that recorded it did not look at the budget.
    let worker = env.worker(Duration::from_secs(600)).await;
    let claim = gristmill_store::Claim { worker, queues: Vec::new(), kinds: vec!["chunk".to_owned()], limit: 1 };
    let claimed = env.store.claim_next(&claim).await.expect("claimed");
    let dead = Completion::new(claimed[0].fence, Ending::Permanent, Verdict::Dead);
    assert_eq!(env.store.complete(&[dead]).await.expect("completed").settled, 1);
    let budgets = FailureBudgets::new(env.store.clone());
    let report = reconcile(&env.store, &env.dispatcher, &budgets).await.expect("reconciled");
    assert_eq!(report.findings, Vec::<String>::new(), "nothing was wrong but the budget");
    env.work().await;
    let batch = env.store.batch(DEFAULT_TENANT, id).await.expect("answers").expect("is there");
    assert_eq!(batch.state.as_str(), "halted");
    assert_eq!((batch.counts.quarantined, batch.counts.cancelled, batch.counts.pending()), (1, 2, 0));
    assert!(batch.reason.expect("a reason").contains("budget"));
}

#[tokio::test]
async fn a_batch_of_another_tenant_over_its_budget_is_halted_too() {
    let env = env().await;
    let new = NewBatch { tenant: "other".to_owned(), definition: never(), ..testing::batch() };
    env.store.create_batch(&new).await.expect("created");
    env.store.add_chunks(new.id, &testing::chunks(3, 1)).await.expect("added");
    env.store.seal(new.id).await.expect("sealed");
    let worker = env.worker(Duration::from_secs(600)).await;
    let claim = gristmill_store::Claim { worker, queues: Vec::new(), kinds: vec!["chunk".to_owned()], limit: 1 };
    let claimed = env.store.claim_next(&claim).await.expect("claimed");
    env.store.complete(&[testing::dead(&claimed[0])]).await.expect("completed");
    reconcile(&env.store, &env.dispatcher, &FailureBudgets::new(env.store.clone())).await.expect("reconciled");
    let batch = env.store.batch("other", new.id).await.expect("answers").expect("is there");
    assert_eq!((batch.state.as_str(), batch.remaining, batch.counts.cancelled), ("aggregating", 0, 2));
}

fn never() -> gristmill_core::definition::BatchDefinition {
    testing::definition(serde_json::json!({ "source": { "jsonl": "-" }, "tolerate": 0, "max_attempts": 1 }))
}

#[tokio::test]
async fn a_relay_without_a_road_has_nothing_to_do() {
    let env = env().await;
    env.enqueue(|_| {}).await;
    let mut relay = OutboxRelay::default();
    assert_eq!(relay.relay(&*env.store, &env.dispatcher, 100).await.expect("swept"), 0);
    assert_eq!(relay.in_hand(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_loop_promotes_and_leaves_when_told() {
    let env = env().await;
    let id = env.enqueue(|job| job.run = RunAt::In(Duration::from_millis(20))).await;
    let duties = DutySettings { promote: Span(Duration::from_millis(5)), ..DutySettings::default() };
    let settings = Settings { duties, ..Settings::default() };
    let running = Running::of(&env.store, &env.dispatcher, settings, PrunerOptions::default());
    let promoted = async {
        while env.job(id).await.state != JobState::Queued {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(120), promoted).await.expect("promoted");
    running.ended().await;
    let workers = env.store.workers().await.expect("the store answers");
    assert_eq!((workers[0].role.as_str(), workers[0].state.as_str()), ("scheduler", "stopped"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_loop_deletes_what_is_kept_for_too_long() {
    let env = env().await;
    let (id, waits) = (env.enqueue(|_| {}).await, env.enqueue(|job| job.queue = "other".to_owned()).await);
    env.store.cancel_job(DEFAULT_TENANT, id, "enough", false).await.expect("cancelled");
    let mut retention = PrunerOptions::default();
    retention.settings.jobs = Keep::For(Duration::ZERO);
    let running = Running::of(&env.store, &env.dispatcher, Settings::default(), retention);
    let gone = async {
        while env.store.job(DEFAULT_TENANT, id).await.expect("the store answers").is_some() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(120), gone).await.expect("deleted by the first pass");
    assert_eq!(env.job(waits).await.state, JobState::Queued);
    running.ended().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_loop_finishes_the_halt_of_a_large_batch() {
    let env = env().await;
    let batch = testing::batch();
    env.store.create_batch(&batch).await.expect("created");
    let chunks = testing::chunks(i64::try_from(2 * testing::STEP_CHUNKS + 1).expect("a number"), 1);
    for group in chunks.chunks(GROUP_JOBS_MAX) {
        env.store.add_chunks(batch.id, group).await.expect("added");
    }
    env.store.seal(batch.id).await.expect("sealed");
    env.store.halt_batch(batch.id, 0, "over its budget").await.expect("halted");
    let state = async || env.store.batch(DEFAULT_TENANT, batch.id).await.expect("asked").expect("it is there").state;
    assert_eq!(state().await, BatchState::Sealed, "a worker does only the first step");
    let running = Running::of(&env.store, &env.dispatcher, Settings::default(), PrunerOptions::default());
    testing::eventually("its aggregate", async || (state().await == BatchState::Aggregating).then_some(())).await;
    running.ended().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_loop_makes_the_steps_of_operations() {
    let env = env().await;
    for _ in 0..2 {
        env.store.enqueue(&testing::jobs(GROUP_JOBS_MAX)).await.expect("enqueued");
    }
    let query = parse(List::Jobs, "kind:work").expect("a query");
    let request = OperationRequest { verb: OperationVerb::Cancel, query, rate: None, snapshot: None, id: None };
    let why = order().because("wrong file");
    let started = env.service().start_operation(&why, &request, &RetentionSettings::default()).await.expect("started");
    let operation = started.operation.expect("no dry run").id;
    let running = Running::of(&env.store, &env.dispatcher, Settings::default(), PrunerOptions::default());
    let done = testing::eventually("its end", async || {
        let seen = env.service().operation(DEFAULT_TENANT, operation).await.expect("it is there");
        (seen.state == OperationState::Finished).then_some(seen.done)
    })
    .await;
    assert_eq!(done, 2 * GROUP_JOBS_MAX as u64);
    running.ended().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_loop_moves_what_has_passed_into_the_history_and_removes_it_after_its_time() {
    let env = env().await;
    env.store.enqueue(&testing::jobs(3)).await.expect("enqueued");
    let filter = |step| HistoryFilter {
        tenant: DEFAULT_TENANT.to_owned(),
        step,
        from: Utc::now() - TimeDelta::hours(2),
        until: Utc::now() + TimeDelta::hours(1),
        queue: None,
        kind: None,
        limit: 100,
    };
    let mut retention = PrunerOptions::default();
    // Whatever is over at all is old enough.
    retention.settings.history_minutes = Keep::For(Duration::ZERO);
    let running = Running::of(&env.store, &env.dispatcher, Settings::default(), retention);
    let hours = testing::eventually("an hour of history", async || {
        let points = env.store.history(&filter(HistoryStep::Hour)).await.expect("read");
        (!points.is_empty()).then_some(points)
    })
    .await;
    assert_eq!(hours.iter().map(|point| point.passed.enqueued).sum::<u64>(), 3);
    testing::eventually("no minute of history", async || {
        env.store.history(&filter(HistoryStep::Minute)).await.expect("read").is_empty().then_some(())
    })
    .await;
    running.ended().await;
}
