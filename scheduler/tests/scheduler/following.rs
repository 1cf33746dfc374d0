//! Runs that an event starts: after another batch, each ending once, whoever else runs.

use std::sync::Arc;

use gristmill_core::batch::BatchState;
use gristmill_core::duration::Span;
use gristmill_core::id::{BatchId, DEFAULT_TENANT};
use gristmill_core::schedule::{Ending, JobSpec, Overlap, ScheduleSpec};
use gristmill_scheduler::{Catalogue, Clockwork};
use gristmill_store::{
    BatchEnd, Completion, NewBatch, NewEvent, SaveSchedule, ScheduleOrigin, StoreHandle, TickFilter, TickOutcome,
    TickView, testing,
};
use serde_json::{Value, json};
use tokio::sync::watch;

use crate::ground::{Ground, ground};
use crate::schedules::{DEFINITION, means};

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

/// A batch `first` that has ended so, without any chunk.
async fn ended(ground: &Ground, state: BatchState) -> BatchId {
    let new = NewBatch { name: "first".to_owned(), ..testing::batch() };
    ground.store.create_batch(&new).await.expect("created");
    ground.store.seal(new.id).await.expect("sealed");
    let worker = ground.worker(std::time::Duration::from_secs(600)).await;
    let claimed = ground.store.claim_next(&testing::claim_as(worker, 10)).await.expect("claimed");
    let aggregate = claimed.iter().find(|job| job.batch == Some(new.id)).expect("its aggregate");
    let end = BatchEnd { batch: new.id, generation: 0, state, result: Value::Null, reason: None };
    let done = Completion { batch_end: Some(end), ..testing::done(aggregate) };
    assert_eq!(ground.store.complete(&[done]).await.expect("completed").settled, 1);
    new.id
}

fn clockwork(ground: &Ground) -> Clockwork {
    Clockwork::new(Arc::clone(&ground.store), ground.road.clone(), means(ground, DEFINITION))
}

async fn pass(ground: &Ground, clockwork: &mut Clockwork) {
    let now = ground.store.now().await.expect("now");
    let who = ground.worker(std::time::Duration::from_secs(600)).await;
    clockwork.pass(now, who).await.expect("a pass");
    clockwork.planned().await.expect("planned");
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
    let ground = ground().await;
    made(&ground.store, "tell", after(true), true).await;
    let first = ended(&ground, BatchState::Halted).await;
    let mut clockwork = clockwork(&ground);
    pass(&ground, &mut clockwork).await;
    pass(&ground, &mut clockwork).await;
    let rows = ledger(&ground.store, "tell").await;
    assert_eq!((rows.len(), rows[0].outcome, rows[0].tries), (1, TickOutcome::Ran, 1));
    let job = ground.store.job(DEFAULT_TENANT, rows[0].job.expect("a job")).await.expect("asked").expect("there");
    assert_eq!((&job.payload["of"], &job.payload["how"]), (&json!(first), &json!("halted")));
    assert!(job.payload["from"].as_str().is_some_and(|from| from.ends_with('Z')), "{}", job.payload);
}

#[tokio::test]
async fn several_schedulers_at_once_follow_each_ending_once() {
    let ground = ground().await;
    let late_after = Some(Span(std::time::Duration::from_secs(300)));
    made(&ground.store, "next", ScheduleSpec { overlap: Some(Overlap::Allow), late_after, ..after(false) }, true).await;
    for _ in 0..3 {
        ended(&ground, BatchState::Complete).await;
    }
    let (mut one, mut two, mut three) = (clockwork(&ground), clockwork(&ground), clockwork(&ground));
    let now = ground.store.now().await.expect("now");
    let who = ground.worker(std::time::Duration::from_secs(600)).await;
    let (a, b, c) = tokio::join!(one.pass(now, who), two.pass(now, who), three.pass(now, who));
    a.and(b).and(c).expect("passes");
    for clockwork in [&mut one, &mut two, &mut three] {
        clockwork.planned().await.expect("planned");
    }
    let rows = ledger(&ground.store, "next").await;
    assert_eq!(rows.iter().map(|row| (row.outcome, row.tries)).collect::<Vec<_>>(), [(TickOutcome::Ran, 1); 3]);
    let mut batches: Vec<BatchId> = rows.iter().filter_map(|row| row.batch).collect();
    batches.sort();
    batches.dedup();
    assert_eq!(batches.len(), 3);
    let plan = ground.store.batch_plan(batches[0]).await.expect("asked").expect("there");
    assert_eq!(plan.definition.late_after, Some(Span(std::time::Duration::from_secs(300))), "the schedule's deadline");
    assert_eq!(plan.params["event"]["name"], "first", "its parameters know what it followed");
    assert_eq!(plan.params["event"]["state"], "complete");
}

#[tokio::test]
async fn each_ending_waits_its_turn_unless_another_policy_is_asked_for() {
    let ground = ground().await;
    made(&ground.store, "turns", after(false), true).await;
    made(&ground.store, "skips", ScheduleSpec { overlap: Some(Overlap::Skip), ..after(false) }, true).await;
    for _ in 0..3 {
        ended(&ground, BatchState::Complete).await;
    }
    let mut clockwork = clockwork(&ground);
    pass(&ground, &mut clockwork).await;
    use TickOutcome::{Buffered, Ran, SkippedOverlap};
    assert_eq!(outcomes(&ground.store, "turns").await, [Ran, Buffered, Buffered]);
    assert_eq!(outcomes(&ground.store, "skips").await, [Ran, SkippedOverlap, SkippedOverlap]);
    for expected in [[Ran, Ran, Buffered], [Ran, Ran, Ran]] {
        let rows = ledger(&ground.store, "turns").await;
        let runs = rows.iter().find(|row| row.active).and_then(|row| row.batch).expect("one runs");
        ground.store.cancel_batch(DEFAULT_TENANT, runs, "enough", false).await.expect("cancelled");
        pass(&ground, &mut clockwork).await;
        assert_eq!(outcomes(&ground.store, "turns").await, expected);
    }
}

#[tokio::test]
async fn what_waits_for_a_hook_or_a_schedule_that_is_gone_fails_and_says_so() {
    let ground = ground().await;
    made(&ground.store, "left", after(true), true).await;
    ended(&ground, BatchState::Complete).await;
    ground.store.remove_schedule(DEFAULT_TENANT, "left").await.expect("removed");
    let event = |name: &str| NewEvent {
        tenant: DEFAULT_TENANT.to_owned(),
        schedule: format!("hook/{name}"),
        event: "evt_1".to_owned(),
        about: json!({ "id": "evt_1", "body": { "shop": "north" } }),
        job: None,
    };
    for name in ["here", "gone"] {
        assert!(ground.store.note_event(&event(name)).await.expect("noted").fresh);
    }
    let mut means = means(&ground, DEFINITION);
    let spec = ScheduleSpec { batch: Some("test".to_owned()), ..ScheduleSpec::default() };
    let batches = means.catalogue.borrow().batches.clone();
    let triggers = [("hook/here".to_owned(), spec)].into();
    (_, means.catalogue) = watch::channel(Arc::new(Catalogue { batches, triggers, ..Catalogue::default() }));
    let mut clockwork = Clockwork::new(Arc::clone(&ground.store), ground.road.clone(), means);
    pass(&ground, &mut clockwork).await;
    let here = ledger(&ground.store, "hook/here").await.remove(0);
    let plan = ground.store.batch_plan(here.batch.expect("a batch")).await.expect("asked").expect("there");
    assert_eq!(plan.params["event"]["body"]["shop"], "north");
    let gone = ledger(&ground.store, "hook/gone").await.remove(0);
    assert_eq!(gone.outcome, TickOutcome::Failed);
    let left = ledger(&ground.store, "left").await.remove(0);
    assert_eq!(left.reason.as_deref(), Some("there is no schedule `left` any more"));
    assert_eq!(gone.reason.as_deref(), Some("there is no [hook.gone] in the configuration any more"));
}
