//! Schedules, the ledger of their ticks, and backfills.

use std::sync::Arc;

use chrono::TimeDelta;
use gristmill_core::Instant;
use gristmill_core::batch::BatchState;
use gristmill_core::id::BatchId;
use gristmill_core::job::{JobState, NewJob};
use gristmill_core::schedule::{JobSpec, ScheduleSpec};
use gristmill_core::unique::Unique;
use gristmill_store::testing::{self, TestStore};
use gristmill_store::{
    Advance, FireReport, FireTick, Firing, JobFilter, NewBackfill, Page, Run, SaveSchedule, ScheduleOrigin,
    ScheduleView, StoreError, TickCause, TickFilter, TickOutcome, TickView,
};
use uuid::Uuid;

use super::{TENANT, batch, claim_one, complete, enter, job};

conformance!(
    a_schedule_is_kept_and_edited_under_guard,
    only_what_is_due_and_enabled_is_due,
    a_tick_starts_one_run_however_often_it_is_fired,
    many_schedulers_at_once_start_each_tick_once,
    a_job_that_two_ticks_of_one_call_name_is_asked_for_once,
    a_tick_and_its_batch_come_together_or_not_at_all,
    what_is_skipped_is_recorded_and_starts_nothing,
    a_disabled_schedule_decides_nothing,
    a_run_that_has_ended_is_noted_with_its_state,
    a_buffered_tick_may_start_when_nothing_runs,
    a_plan_whose_planner_is_gone_gives_its_tick_back,
    a_backfill_keeps_its_order_and_its_concurrency,
    a_backfill_leaves_alone_what_ran,
    a_backfill_is_paused_and_called_off,
    a_tick_keeps_the_edition_of_the_rules_that_found_it;
    databases only, "the model has no older programs":
    a_row_of_an_older_program_says_no_edition,
);

/// The first tick of the tests.
fn tick(number: i64) -> Instant {
    Instant::UNIX_EPOCH + TimeDelta::hours(500_000 + number)
}

fn spec() -> ScheduleSpec {
    let job = JobSpec { kind: "work".to_owned(), ..JobSpec::default() };
    ScheduleSpec { cron: Some("@hourly".to_owned()), job: Some(job), ..ScheduleSpec::default() }
}

fn fresh(name: &str) -> SaveSchedule {
    SaveSchedule {
        tenant: TENANT.to_owned(),
        name: name.to_owned(),
        origin: ScheduleOrigin::Command,
        spec: spec(),
        enabled: true,
        decided_at: tick(0),
        next_at: Some(tick(1)),
        seen: None,
    }
}

async fn made(store: &TestStore, name: &str) -> ScheduleView {
    store.save_schedule(&fresh(name)).await.expect("made")
}

fn row(number: i64, outcome: TickOutcome) -> FireTick {
    let run = (outcome == TickOutcome::Ran).then(|| Run::Job(Box::new(testing::job())));
    FireTick {
        tick: tick(number),
        interval: (tick(number - 1), tick(number)),
        cause: TickCause::Tick,
        outcome,
        late_ms: 7,
        ticks: 1,
        reason: None,
        was: None,
        run,
        holder: None,
        about: None,
        tzdb: Some("2026f".to_owned()),
    }
}

/// The step from the previous tick to this one.
fn step(seen: &ScheduleView, number: i64, ticks: Vec<FireTick>) -> Firing {
    let advance =
        Advance { version: seen.version, from: seen.decided_at, to: tick(number), next_at: Some(tick(number + 1)) };
    Firing { tenant: TENANT.to_owned(), schedule: seen.name.clone(), advance: Some(advance), ticks }
}

fn beside(name: &str, ticks: Vec<FireTick>) -> Firing {
    Firing { tenant: TENANT.to_owned(), schedule: name.to_owned(), advance: None, ticks }
}

async fn fire(store: &TestStore, firing: Firing) -> FireReport {
    store.fire(&[firing]).await.expect("fired")
}

async fn seen(store: &TestStore, name: &str) -> ScheduleView {
    let mut found = store.schedules(Some(TENANT), Some(name)).await.expect("listed");
    assert_eq!(found.len(), 1, "{found:?}");
    found.remove(0)
}

async fn ledger(store: &TestStore, name: &str) -> Vec<TickView> {
    let filter =
        TickFilter { tenant: TENANT.to_owned(), schedule: name.to_owned(), from: None, until: None, limit: 1_000 };
    let mut rows = store.ticks(&filter).await.expect("listed");
    rows.reverse();
    rows
}

async fn jobs_of(store: &TestStore) -> usize {
    let filter = JobFilter { tenant: TENANT.to_owned(), ..JobFilter::default() };
    store.jobs(&filter, &Page { after: None, limit: 1_000 }).await.expect("listed").len()
}

async fn a_schedule_is_kept_and_edited_under_guard(store: TestStore) {
    let first = made(&store, "nightly").await;
    assert_eq!((first.version, first.enabled, first.decided_at, first.next_at), (1, true, tick(0), Some(tick(1))));
    assert_eq!(first.spec, spec());
    let again = store.save_schedule(&fresh("nightly")).await;
    assert!(matches!(again, Err(StoreError::Conflict(_))), "{again:?}");
    let owner = ScheduleSpec { owner: Some("ops".to_owned()), ..spec() };
    let edit = SaveSchedule { spec: owner.clone(), seen: Some((1, tick(0))), ..fresh("nightly") };
    let second = store.save_schedule(&edit).await.expect("edited");
    assert_eq!((second.version, &second.spec, second.created_at), (2, &owner, first.created_at));
    let stale = store.save_schedule(&edit).await;
    assert!(matches!(stale, Err(StoreError::Conflict(_))), "{stale:?}");
    fire(&store, step(&second, 1, vec![row(1, TickOutcome::Ran)])).await;
    let overtaken = SaveSchedule { seen: Some((2, tick(0))), ..edit };
    let overtaken = store.save_schedule(&overtaken).await;
    assert!(matches!(overtaken, Err(StoreError::Conflict(_))), "a tick was decided meanwhile: {overtaken:?}");
    let wrong = SaveSchedule { spec: ScheduleSpec { cron: Some("61 * * * *".to_owned()), ..spec() }, ..fresh("wrong") };
    assert!(matches!(store.save_schedule(&wrong).await, Err(StoreError::Invalid(_))));
    assert!(store.remove_schedule(TENANT, "nightly").await.expect("removed"));
    assert!(!store.remove_schedule(TENANT, "nightly").await.expect("asked"));
    assert_eq!(ledger(&store, "nightly").await.len(), 1, "what happened stays");
}

async fn only_what_is_due_and_enabled_is_due(store: TestStore) {
    for (name, next_at, enabled) in [
        ("early", Some(tick(1)), true),
        ("late", Some(tick(3)), true),
        ("off", Some(tick(1)), false),
        ("over", None, true),
    ] {
        store.save_schedule(&SaveSchedule { next_at, enabled, ..fresh(name) }).await.expect("made");
    }
    let due = async |now: Instant| -> Vec<String> {
        store.due_schedules(now, 10).await.expect("asked").into_iter().map(|view| view.name).collect()
    };
    assert_eq!(due(tick(0)).await, Vec::<String>::new());
    assert_eq!(due(tick(1)).await, ["early"], "the instant itself belongs to it");
    assert_eq!(due(tick(9)).await, ["early", "late"]);
    assert_eq!(store.due_schedules(tick(9), 1).await.expect("asked").len(), 1);
}

async fn a_tick_starts_one_run_however_often_it_is_fired(store: TestStore) {
    let view = made(&store, "nightly").await;
    let firing = step(&view, 1, vec![row(1, TickOutcome::Ran)]);
    let report = fire(&store, firing.clone()).await;
    assert_eq!(
        (report.started.as_slice(), report.written, report.lost),
        (&[("nightly".to_owned(), tick(1))][..], 1, 0)
    );
    assert_eq!(report.dispatched.dispatches.len(), 1, "it may be published");
    let report = fire(&store, firing).await;
    assert_eq!((report.started.len(), report.written, report.lost), (0, 0, 1), "the same once more");
    let other = fire(&store, beside("nightly", vec![row(1, TickOutcome::Ran)])).await;
    assert_eq!((other.started.len(), other.written), (0, 0), "the key of the ledger stands in the way");
    assert_eq!(jobs_of(&store).await, 1);
    let moved = seen(&store, "nightly").await;
    assert_eq!((moved.decided_at, moved.next_at, moved.running), (tick(1), Some(tick(2)), 1));
    let rows = ledger(&store, "nightly").await;
    assert_eq!((rows[0].from, rows[0].to, rows[0].late_ms, rows[0].tries), (tick(0), tick(1), 7, 1));
    assert_eq!(job(&store, rows[0].job.expect("a job")).await.state, JobState::Queued);
}

async fn many_schedulers_at_once_start_each_tick_once(store: TestStore) {
    made(&store, "nightly").await;
    let mut handles = vec![store.handle()];
    if !store.embedded() {
        handles.push(store.second().await);
    }
    let barrier = Arc::new(tokio::sync::Barrier::new(8));
    let schedulers = (0..8).map(|index| {
        let (store, barrier) = (handles[index % handles.len()].clone(), Arc::clone(&barrier));
        tokio::spawn(async move {
            barrier.wait().await;
            let mut started = 0;
            loop {
                let view = store.schedules(Some(TENANT), Some("nightly")).await.expect("listed").remove(0);
                let number = (view.decided_at - tick(0)).num_hours() + 1;
                if number > 20 {
                    return started;
                }
                let report = store.fire(&[step(&view, number, vec![row(number, TickOutcome::Ran)])]).await;
                started += report.expect("fired").started.len();
            }
        })
    });
    let started: usize = futures::future::join_all(schedulers).await.into_iter().map(|count| count.expect("ran")).sum();
    assert_eq!((started, jobs_of(&store).await, ledger(&store, "nightly").await.len()), (20, 20, 20));
}

async fn a_job_that_two_ticks_of_one_call_name_is_asked_for_once(store: TestStore) {
    let unique = Some(Unique::new("key"));
    store.enqueue(&[NewJob { unique: unique.clone(), ..testing::job() }]).await.expect("enqueued");
    let job = testing::job();
    let first = Run::Job(Box::new(NewJob { unique, ..job.clone() }));
    let ticks = vec![
        FireTick { run: Some(first), ..row(1, TickOutcome::Ran) },
        FireTick { run: Some(Run::Job(Box::new(job))), ..row(2, TickOutcome::Ran) },
    ];
    assert_eq!(fire(&store, beside("nightly", ticks)).await.written, 2);
    assert_eq!(jobs_of(&store).await, 1, "as the first of them asked: its key is held");
}

async fn a_tick_and_its_batch_come_together_or_not_at_all(store: TestStore) {
    let view = made(&store, "nightly").await;
    let new = testing::batch();
    let run = Some(Run::Batch(Box::new(new.clone())));
    let mut wrong = new.clone();
    wrong.name = String::new();
    let refused = FireTick { run: Some(Run::Batch(Box::new(wrong))), ..row(1, TickOutcome::Ran) };
    assert!(matches!(store.fire(&[step(&view, 1, vec![refused])]).await, Err(StoreError::Invalid(_))));
    assert_eq!((ledger(&store, "nightly").await.len(), seen(&store, "nightly").await.decided_at), (0, tick(0)));
    let report = fire(&store, step(&view, 1, vec![FireTick { run, ..row(1, TickOutcome::Ran) }])).await;
    assert_eq!(report.started.len(), 1);
    assert_eq!(batch(&store, new.id).await.state, BatchState::Open);
    assert_eq!(ledger(&store, "nightly").await[0].batch, Some(new.id));
    let unmatched = FireTick { run: None, ..row(2, TickOutcome::Ran) };
    assert!(matches!(store.fire(&[beside("nightly", vec![unmatched])]).await, Err(StoreError::Invalid(_))));
}

async fn what_is_skipped_is_recorded_and_starts_nothing(store: TestStore) {
    let view = made(&store, "nightly").await;
    let many =
        FireTick { ticks: 40, reason: Some("nobody was there".to_owned()), ..row(1, TickOutcome::SkippedMissed) };
    fire(&store, step(&view, 2, vec![many, row(2, TickOutcome::SkippedOverlap)])).await;
    let rows = ledger(&store, "nightly").await;
    let told: Vec<_> = rows.iter().map(|row| (row.outcome, row.ticks, row.reason.as_deref(), row.active)).collect();
    let expected = [
        (TickOutcome::SkippedMissed, 40, Some("nobody was there"), false),
        (TickOutcome::SkippedOverlap, 1, None, false),
    ];
    assert_eq!((told.as_slice(), jobs_of(&store).await), (&expected[..], 0));
    // An operator runs the skipped slot by hand: it becomes a run, once.
    let by_hand =
        FireTick { was: Some(TickOutcome::SkippedOverlap), cause: TickCause::Manual, ..row(2, TickOutcome::Ran) };
    for expected in [1, 0] {
        assert_eq!(fire(&store, beside("nightly", vec![by_hand.clone()])).await.started.len(), expected);
    }
    let rows = ledger(&store, "nightly").await;
    assert_eq!((rows[1].outcome, rows[1].cause, jobs_of(&store).await), (TickOutcome::Ran, TickCause::Manual, 1));
}

async fn a_disabled_schedule_decides_nothing(store: TestStore) {
    let view = made(&store, "nightly").await;
    let off = SaveSchedule { enabled: false, seen: Some((view.version, view.decided_at)), ..fresh("nightly") };
    store.save_schedule(&off).await.expect("disabled");
    let view = seen(&store, "nightly").await;
    let report = fire(&store, step(&view, 1, vec![row(1, TickOutcome::Ran)])).await;
    assert_eq!((report.lost, report.written, jobs_of(&store).await), (1, 0, 0));
    assert_eq!(
        fire(&store, beside("nightly", vec![row(1, TickOutcome::Ran)])).await.started.len(),
        1,
        "by hand it runs"
    );
}

async fn a_run_that_has_ended_is_noted_with_its_state(store: TestStore) {
    let view = made(&store, "nightly").await;
    fire(&store, step(&view, 1, vec![row(1, TickOutcome::Ran)])).await;
    let view = seen(&store, "nightly").await;
    let new = testing::batch();
    let run = Some(Run::Batch(Box::new(new.clone())));
    fire(&store, step(&view, 2, vec![FireTick { run, ..row(2, TickOutcome::Ran) }])).await;
    assert_eq!((store.note_ended_runs().await.expect("looked"), seen(&store, "nightly").await.running), (0, 2));
    let worker = enter(&store).await;
    let claimed = claim_one(&store, worker).await;
    complete(&store, &[testing::done(&claimed)]).await;
    store.discard_batch(new.id).await.expect("taken back");
    assert_eq!(store.note_ended_runs().await.expect("looked"), 2);
    let rows = ledger(&store, "nightly").await;
    let told: Vec<_> = rows.iter().map(|row| (row.result.as_deref(), row.active, row.ended_at.is_some())).collect();
    assert_eq!(told, [(Some("done"), false, true), (Some("gone"), false, true)]);
    assert_eq!(seen(&store, "nightly").await.running, 0);
}

async fn startable(store: &TestStore) -> Vec<i64> {
    let found = store.startable_ticks(10).await.expect("asked");
    found.iter().map(|row| (row.tick - tick(0)).num_hours()).collect()
}

async fn a_buffered_tick_may_start_when_nothing_runs(store: TestStore) {
    let view = made(&store, "nightly").await;
    let ticks = vec![row(1, TickOutcome::Ran), row(2, TickOutcome::Buffered), row(3, TickOutcome::Buffered)];
    fire(&store, step(&view, 3, ticks)).await;
    let view = seen(&store, "nightly").await;
    assert_eq!((view.running, view.buffered, startable(&store).await), (1, 2, Vec::new()));
    let worker = enter(&store).await;
    let claimed = claim_one(&store, worker).await;
    complete(&store, &[testing::done(&claimed)]).await;
    store.note_ended_runs().await.expect("noted");
    assert_eq!(startable(&store).await, [2], "the oldest, and one of them");
    let turn = FireTick { was: Some(TickOutcome::Buffered), ..row(2, TickOutcome::Ran) };
    assert_eq!(fire(&store, beside("nightly", vec![turn.clone()])).await.started.len(), 1);
    assert_eq!(fire(&store, beside("nightly", vec![turn])).await.started.len(), 0, "its turn comes once");
    assert_eq!((startable(&store).await, jobs_of(&store).await), (Vec::new(), 2));
}

/// Starts a tick's batch for a planner.
async fn planned_by(store: &TestStore, holder: gristmill_core::id::WorkerId, was: Option<TickOutcome>) -> BatchId {
    let new = testing::batch();
    let id = new.id;
    let run = Some(Run::Batch(Box::new(new)));
    let report =
        fire(store, beside("nightly", vec![FireTick { run, was, holder: Some(holder), ..row(1, TickOutcome::Ran) }]))
            .await;
    assert_eq!(report.started.len(), 1);
    id
}

async fn a_plan_whose_planner_is_gone_gives_its_tick_back(store: TestStore) {
    made(&store, "nightly").await;
    let expected = [TickOutcome::Waiting, TickOutcome::Waiting, TickOutcome::Failed];
    let mut was = None;
    for (round, expected) in expected.into_iter().enumerate() {
        let planner = enter(&store).await;
        let planned = planned_by(&store, planner, was).await;
        assert_eq!(store.orphaned_plans(10).await.expect("asked"), [], "its planner is alive");
        store.retire_worker(planner).await.expect("left");
        assert_eq!(store.orphaned_plans(10).await.expect("asked"), [(TENANT.to_owned(), planned)]);
        assert!(store.release_tick(planned, "its planner is gone", true).await.expect("given back"));
        assert!(!store.release_tick(planned, "its planner is gone", true).await.expect("asked"), "once");
        let told = ledger(&store, "nightly").await.remove(0);
        assert_eq!((told.outcome, told.batch, told.reason.as_deref()), (expected, None, Some("its planner is gone")));
        assert_eq!(told.tries as usize, round + 1);
        assert_eq!(startable(&store).await, if round < 2 { vec![1] } else { Vec::new() }, "its turn has come already");
        was = Some(expected);
    }
    let planner = enter(&store).await;
    let by_hand = planned_by(&store, planner, was).await;
    assert!(store.release_tick(by_hand, "its source is ragged", false).await.expect("given back"));
    assert_eq!(ledger(&store, "nightly").await[0].outcome, TickOutcome::Failed, "what is wrong stays wrong");
}

fn range(from: i64, to: i64) -> NewBackfill {
    NewBackfill {
        id: Uuid::now_v7(),
        tenant: TENANT.to_owned(),
        schedule: "nightly".to_owned(),
        range: (tick(from), tick(to)),
        concurrency: 2,
        newest_first: false,
        tzdb: Some("2026g".to_owned()),
        ticks: (from..=to).map(|number| (tick(number), (tick(number - 1), tick(number)))).collect(),
    }
}

async fn a_backfill_keeps_its_order_and_its_concurrency(store: TestStore) {
    made(&store, "nightly").await;
    let backfill = NewBackfill { newest_first: true, ..range(1, 5) };
    assert_eq!(store.backfill(&backfill).await.expect("written"), 5);
    assert_eq!(startable(&store).await, [5, 4]);
    let turn = |number| FireTick {
        was: Some(TickOutcome::Waiting),
        cause: TickCause::Backfill,
        ..row(number, TickOutcome::Ran)
    };
    fire(&store, beside("nightly", vec![turn(5)])).await;
    assert_eq!(startable(&store).await, [4], "one runs already");
    assert_eq!(seen(&store, "nightly").await.running, 0, "the schedule's own ticks do not wait for it");
    fire(&store, beside("nightly", vec![turn(4)])).await;
    assert_eq!(startable(&store).await, Vec::<i64>::new());
    let worker = enter(&store).await;
    let claimed = super::claim(&store, worker, 1).await.remove(0);
    complete(&store, &[testing::done(&claimed)]).await;
    store.note_ended_runs().await.expect("noted");
    assert_eq!(startable(&store).await, [3]);
    let view = store.backfills(TENANT, "nightly").await.expect("listed").remove(0);
    assert_eq!((view.waiting, view.running, view.ended, view.newest_first), (3, 1, 1, true));
}

async fn a_backfill_leaves_alone_what_ran(store: TestStore) {
    let view = made(&store, "nightly").await;
    let ticks = vec![row(1, TickOutcome::SkippedMissed), row(2, TickOutcome::Ran), row(3, TickOutcome::Buffered)];
    fire(&store, step(&view, 3, ticks)).await;
    assert_eq!(store.backfill(&range(1, 4)).await.expect("written"), 2, "what was skipped, and what never was");
    let told: Vec<_> = ledger(&store, "nightly").await.iter().map(|row| (row.cause, row.outcome)).collect();
    let expected = [
        (TickCause::Backfill, TickOutcome::Waiting),
        (TickCause::Tick, TickOutcome::Ran),
        (TickCause::Tick, TickOutcome::Buffered),
        (TickCause::Backfill, TickOutcome::Waiting),
    ];
    assert_eq!(told, expected);
    let late: Vec<_> = ledger(&store, "nightly").await.iter().map(|row| (row.late_ms, row.ticks)).collect();
    assert_eq!(late, [(0, 1), (7, 1), (7, 1), (0, 1)], "what was decided of it before counts no more");
    assert_eq!(store.backfill(&range(1, 4)).await.expect("written"), 0, "they wait already");
}

async fn a_backfill_is_paused_and_called_off(store: TestStore) {
    made(&store, "nightly").await;
    let backfill = range(1, 3);
    store.backfill(&backfill).await.expect("written");
    assert_eq!(store.control_backfill(TENANT, backfill.id, Some(true)).await.expect("paused"), 3);
    assert_eq!(startable(&store).await, Vec::<i64>::new());
    store.control_backfill(TENANT, backfill.id, Some(false)).await.expect("let go");
    assert_eq!(startable(&store).await, [1, 2]);
    assert_eq!(store.control_backfill(TENANT, backfill.id, None).await.expect("called off"), 3);
    assert_eq!((startable(&store).await, ledger(&store, "nightly").await.len()), (Vec::new(), 0));
    let unknown = store.control_backfill(TENANT, Uuid::now_v7(), None).await;
    assert!(matches!(unknown, Err(StoreError::NotFound(_))), "{unknown:?}");
}

async fn a_tick_keeps_the_edition_of_the_rules_that_found_it(store: TestStore) {
    let view = made(&store, "nightly").await;
    let unknown = FireTick { tzdb: None, ..row(3, TickOutcome::SkippedMissed) };
    let ticks = vec![row(1, TickOutcome::Buffered), row(2, TickOutcome::SkippedMissed), unknown];
    fire(&store, step(&view, 3, ticks)).await;
    let editions = async || -> Vec<_> { ledger(&store, "nightly").await.into_iter().map(|row| row.tzdb).collect() };
    let (f, g) = (Some("2026f".to_owned()), Some("2026g".to_owned()));
    assert_eq!(editions().await, [f.clone(), f.clone(), None]);
    let turn =
        FireTick { was: Some(TickOutcome::Buffered), tzdb: Some("2027a".to_owned()), ..row(1, TickOutcome::Ran) };
    fire(&store, beside("nightly", vec![turn])).await;
    assert_eq!(editions().await, [f.clone(), f.clone(), None], "a start by newer rules does not find the tick anew");
    assert_eq!(store.backfill(&range(1, 4)).await.expect("written"), 3);
    assert_eq!(editions().await, [f, g.clone(), g.clone(), g], "a backfill finds it anew");
}

async fn a_row_of_an_older_program_says_no_edition(store: TestStore) {
    let view = made(&store, "nightly").await;
    fire(&store, step(&view, 1, vec![row(1, TickOutcome::Buffered)])).await;
    // As version 14 of the schema wrote it.
    let insert = "INSERT INTO schedule_tick (tenant, schedule, tick, cause, outcome, from_at, to_at, late_ms, ticks,
        tries, active, decided_at)
        SELECT tenant, 'older', tick, cause, outcome, from_at, to_at, late_ms, ticks, tries, active, decided_at
        FROM schedule_tick";
    store.tamper(insert).await;
    let row = ledger(&store, "older").await.remove(0);
    assert_eq!((row.outcome, row.tzdb), (TickOutcome::Buffered, None));
    let run = Some(Run::Job(Box::new(testing::job())));
    let turn = FireTick {
        was: Some(TickOutcome::Buffered),
        run,
        tzdb: Some("2026g".to_owned()),
        ..self::row(1, TickOutcome::Ran)
    };
    assert_eq!(fire(&store, beside("older", vec![turn])).await.started.len(), 1);
    assert_eq!(ledger(&store, "older").await[0].tzdb, None, "its starter did not find it");
}
