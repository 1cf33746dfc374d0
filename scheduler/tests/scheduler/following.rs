//! Runs that an event starts: after another batch, once for each ending, whatever else runs.

use std::sync::Arc;

use gristmill_core::batch::BatchState;
use gristmill_core::duration::Span;
use gristmill_core::id::{BatchId, DEFAULT_TENANT};
use gristmill_core::schedule::{Ending, JobSpec, Overlap, ScheduleSpec};
use gristmill_scheduler::{ConfigSnapshot, ScheduleRunner};
use gristmill_store::{
    BatchEnd, Completion, NewBatch, NewEvent, SaveSchedule, ScheduleOrigin, StoreHandle, TickFilter, TickOutcome,
    TickView, requests_ledger, testing,
};
use serde_json::{Value, json};
use tokio::sync::watch;

use crate::env::{TestEnv, env};
use crate::schedules::{DEFINITION, run_context};

async fn made(store: &StoreHandle, name: &str, spec: ScheduleSpec, enabled: bool) {
    let save = SaveSchedule {
        tenant: DEFAULT_TENANT.to_owned(),
        name: name.to_owned(),
        origin: ScheduleOrigin::Command,
        spec,
        enabled,
        decided_at: store.now().await.expect("now"),
        next_at: None,
        seen: None,
    };
    store.save_schedule(&save).await.expect("made");
}

fn after(job: bool) -> ScheduleSpec {
    let job = job.then(|| JobSpec {
        kind: "told".to_owned(),
        payload: json!({ "of": "{{ event.batch }}", "how": "{{ event.state }}", "from": "{{ schedule.from }}" }),
        ..JobSpec::default()
    });
    let batch = job.is_none().then(|| "test".to_owned());
    ScheduleSpec {
        after: Some("first".to_owned()),
        ending: Some(Ending::Settled),
        job,
        batch,
        ..ScheduleSpec::default()
    }
}

/// A batch `first` that has ended in this state, without any chunk.
async fn ended(env: &TestEnv, state: BatchState) -> BatchId {
    let new = NewBatch { name: "first".to_owned(), ..testing::batch() };
    env.store.create_batch(&new).await.expect("created");
    env.store.seal(new.id).await.expect("sealed");
    let worker = env.worker(std::time::Duration::from_secs(600)).await;
    let claimed = env.store.claim_next(&testing::claim_as(worker, 10)).await.expect("claimed");
    let aggregate = claimed.iter().find(|job| job.batch == Some(new.id)).expect("its aggregate");
    let end = BatchEnd { batch: new.id, generation: 0, state, result: Value::Null, reason: None };
    let done = Completion { batch_end: Some(end), ..testing::done(aggregate) };
    assert_eq!(env.store.complete(&[done]).await.expect("completed").settled, 1);
    new.id
}

fn schedule_runner(env: &TestEnv) -> ScheduleRunner {
    ScheduleRunner::new(Arc::clone(&env.store), env.dispatcher.clone(), run_context(env, DEFINITION))
}

async fn run_once(env: &TestEnv, schedule_runner: &mut ScheduleRunner) {
    let now = env.store.now().await.expect("now");
    let who = env.worker(std::time::Duration::from_secs(600)).await;
    schedule_runner.run_once(now, who).await.expect("a pass");
    schedule_runner.planned().await.expect("planned");
}

async fn ledger(store: &StoreHandle, name: &str) -> Vec<TickView> {
    let filter = TickFilter {
        tenant: DEFAULT_TENANT.to_owned(),
        schedule: name.to_owned(),
        from: None,
        until: None,
        limit: 100,
    };
    let mut rows = store.ticks(&filter).await.expect("listed");
    rows.reverse();
    rows
}

async fn outcomes(store: &StoreHandle, name: &str) -> Vec<TickOutcome> {
    ledger(store, name).await.iter().map(|row| row.outcome).collect()
}

#[tokio::test]
async fn a_job_after_a_batch_knows_which_batch_and_how_it_ended() {
    let env = env().await;
    made(&env.store, "tell", after(true), true).await;
    let first = ended(&env, BatchState::Halted).await;
    let mut schedule_runner = schedule_runner(&env);
    run_once(&env, &mut schedule_runner).await;
    run_once(&env, &mut schedule_runner).await;
    let rows = ledger(&env.store, "tell").await;
    assert_eq!((rows.len(), rows[0].outcome, rows[0].tries), (1, TickOutcome::Ran, 1));
    let job = env.store.job(DEFAULT_TENANT, rows[0].job.expect("a job")).await.expect("asked").expect("there");
    assert_eq!((&job.payload["of"], &job.payload["how"]), (&json!(first), &json!("halted")));
    assert!(job.payload["from"].as_str().is_some_and(|from| from.ends_with('Z')), "{}", job.payload);
}

#[tokio::test]
async fn several_schedulers_at_once_follow_each_ending_once() {
    let env = env().await;
    let late_after = Some(Span(std::time::Duration::from_secs(300)));
    made(&env.store, "next", ScheduleSpec { overlap: Some(Overlap::Allow), late_after, ..after(false) }, true).await;
    for _ in 0..3 {
        ended(&env, BatchState::Complete).await;
    }
    let (mut one, mut two, mut three) = (schedule_runner(&env), schedule_runner(&env), schedule_runner(&env));
    let now = env.store.now().await.expect("now");
    let who = env.worker(std::time::Duration::from_secs(600)).await;
    let (a, b, c) = tokio::join!(one.run_once(now, who), two.run_once(now, who), three.run_once(now, who));
    a.and(b).and(c).expect("passes");
    for schedule_runner in [&mut one, &mut two, &mut three] {
        schedule_runner.planned().await.expect("planned");
    }
    let rows = ledger(&env.store, "next").await;
    assert_eq!(rows.iter().map(|row| (row.outcome, row.tries)).collect::<Vec<_>>(), [(TickOutcome::Ran, 1); 3]);
    let mut batches: Vec<BatchId> = rows.iter().filter_map(|row| row.batch).collect();
    batches.sort();
    batches.dedup();
    assert_eq!(batches.len(), 3);
    let plan = env.store.batch_plan(batches[0]).await.expect("asked").expect("there");
    assert_eq!(plan.definition.late_after, Some(Span(std::time::Duration::from_secs(300))), "the schedule's deadline");
    assert_eq!(plan.params["event"]["name"], "first", "its parameters know what it followed");
    assert_eq!(plan.params["event"]["state"], "complete");
}

#[tokio::test]
async fn each_ending_waits_its_turn_unless_another_policy_is_asked_for() {
    let env = env().await;
    made(&env.store, "turns", after(false), true).await;
    made(&env.store, "skips", ScheduleSpec { overlap: Some(Overlap::Skip), ..after(false) }, true).await;
    for _ in 0..3 {
        ended(&env, BatchState::Complete).await;
    }
    let mut schedule_runner = schedule_runner(&env);
    run_once(&env, &mut schedule_runner).await;
    use TickOutcome::{Buffered, Ran, SkippedOverlap};
    assert_eq!(outcomes(&env.store, "turns").await, [Ran, Buffered, Buffered]);
    assert_eq!(outcomes(&env.store, "skips").await, [Ran, SkippedOverlap, SkippedOverlap]);
    for expected in [[Ran, Ran, Buffered], [Ran, Ran, Ran]] {
        let rows = ledger(&env.store, "turns").await;
        let runs = rows.iter().find(|row| row.active).and_then(|row| row.batch).expect("one runs");
        env.store.cancel_batch(DEFAULT_TENANT, runs, "enough", false).await.expect("cancelled");
        run_once(&env, &mut schedule_runner).await;
        assert_eq!(outcomes(&env.store, "turns").await, expected);
    }
}

#[tokio::test]
async fn what_waits_for_a_hook_or_a_schedule_that_is_gone_fails_and_says_so() {
    let env = env().await;
    made(&env.store, "left", after(true), true).await;
    ended(&env, BatchState::Complete).await;
    env.store.remove_schedule(DEFAULT_TENANT, "left").await.expect("removed");
    let event = |name: &str| NewEvent {
        tenant: DEFAULT_TENANT.to_owned(),
        schedule: format!("hook/{name}"),
        event: "evt_1".to_owned(),
        about: json!({ "id": "evt_1", "body": { "shop": "north" } }),
        job: None,
    };
    for name in ["here", "gone"] {
        assert!(env.store.note_event(&event(name)).await.expect("noted").fresh);
    }
    let mut run_context = run_context(&env, DEFINITION);
    let spec = ScheduleSpec { batch: Some("test".to_owned()), ..ScheduleSpec::default() };
    let batches = run_context.snapshot.borrow().batches.clone();
    let triggers = [("hook/here".to_owned(), spec)].into();
    (_, run_context.snapshot) =
        watch::channel(Arc::new(ConfigSnapshot { batches, triggers, ..ConfigSnapshot::default() }));
    let mut schedule_runner = ScheduleRunner::new(Arc::clone(&env.store), env.dispatcher.clone(), run_context);
    run_once(&env, &mut schedule_runner).await;
    let here = ledger(&env.store, "hook/here").await.remove(0);
    let plan = env.store.batch_plan(here.batch.expect("a batch")).await.expect("asked").expect("there");
    assert_eq!(plan.params["event"]["body"]["shop"], "north");
    let gone = ledger(&env.store, "hook/gone").await.remove(0);
    assert_eq!(gone.outcome, TickOutcome::Failed);
    let left = ledger(&env.store, "left").await.remove(0);
    assert_eq!(left.reason.as_deref(), Some("there is no schedule `left` any more"));
    assert_eq!(gone.reason.as_deref(), Some("there is no [hook.gone] in the configuration any more"));
}

#[tokio::test]
async fn a_run_that_a_program_asks_for_has_its_parameters_and_an_unknown_definition_says_so() {
    let env = env().await;
    let request = |tenant: &str, batch: &str| NewEvent {
        tenant: tenant.to_owned(),
        schedule: requests_ledger(batch),
        event: "monday".to_owned(),
        about: json!({ "params": { "day": "monday" } }),
        job: None,
    };
    for (tenant, batch) in [(DEFAULT_TENANT, "test"), (DEFAULT_TENANT, "tset"), ("other", "test")] {
        assert!(env.store.note_event(&request(tenant, batch)).await.expect("noted").fresh);
    }
    let run_context = run_context(&env, DEFINITION);
    let mut schedule_runner = ScheduleRunner::new(Arc::clone(&env.store), env.dispatcher.clone(), run_context);
    run_once(&env, &mut schedule_runner).await;
    run_once(&env, &mut schedule_runner).await;
    let rows = ledger(&env.store, "client/test").await;
    assert_eq!(rows.iter().map(|row| row.outcome).collect::<Vec<_>>(), [TickOutcome::Ran], "once");
    let plan = env.store.batch_plan(rows[0].batch.expect("a batch")).await.expect("asked").expect("there");
    assert_eq!(plan.params["day"], "monday");
    let unknown = ledger(&env.store, "client/tset").await.remove(0);
    assert_eq!(unknown.outcome, TickOutcome::Failed);
    assert_eq!(unknown.reason.as_deref(), Some("there is no [batch.tset] in the scheduler's configuration"));
    let theirs = env.store.startable_ticks(10).await.expect("asked");
    assert_eq!(theirs.iter().map(|row| row.tenant.as_str()).collect::<Vec<_>>(), ["other"], "their scheduler's");
}
