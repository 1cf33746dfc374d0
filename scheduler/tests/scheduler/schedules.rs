//! Schedules: each tick once, none forgotten, whatever happens to the scheduler or the clock.

use std::collections::BTreeMap;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use chrono::TimeDelta;
use gristmill_core::Instant;
use gristmill_core::batch::BatchState;
use gristmill_core::duration::Span;
use gristmill_core::id::{DEFAULT_TENANT, WorkerId};
use gristmill_core::schedule::{JobSpec, Missed, Overlap, ScheduleSpec};
use gristmill_scheduler::schedules::sync::sync;
use gristmill_scheduler::{ConfigSnapshot, RunContext, ScheduleRunner};
use gristmill_service::control::schedule::next_at;
use gristmill_service::start::StartedRun;
use gristmill_store::testing::TestStore;
use gristmill_store::{
    BatchFilter, FireTick, Firing, NewBackfill, Page, SaveSchedule, ScheduleOrigin, ScheduleView, StoreHandle,
    TickCause, TickFilter, TickOutcome, TickView,
};
use gristmill_testkit::random::{Random, seed};
use tokio::sync::watch;
use uuid::Uuid;

use crate::env::{TestEnv, env, order};

/// The instant at which the tests create their schedules: midnight in summer.
fn zero() -> Instant {
    "2026-07-01T00:00:00Z".parse().expect("an instant")
}

fn minutes(count: i64) -> Instant {
    zero() + TimeDelta::minutes(count)
}

/// A job at this interval.
fn every(seconds: u64) -> ScheduleSpec {
    let job = JobSpec { kind: "told".to_owned(), ..JobSpec::default() };
    ScheduleSpec { every: Some(Span(Duration::from_secs(seconds))), job: Some(job), ..ScheduleSpec::default() }
}

/// A batch at this interval.
fn batch_every(seconds: u64) -> ScheduleSpec {
    ScheduleSpec { job: None, batch: Some("test".to_owned()), ..every(seconds) }
}

async fn made(store: &StoreHandle, name: &str, spec: &ScheduleSpec) -> ScheduleView {
    let save = SaveSchedule {
        tenant: DEFAULT_TENANT.to_owned(),
        name: name.to_owned(),
        origin: ScheduleOrigin::Command,
        spec: spec.clone(),
        enabled: true,
        decided_at: zero(),
        next_at: next_at(name, spec, zero()),
        seen: None,
    };
    store.save_schedule(&save).await.expect("made")
}

/// A run context over a batch `test` with this definition.
pub(crate) fn run_context(env: &TestEnv, definition: &str) -> RunContext {
    let start = env.start(definition, "id,amount\n1,10.10\n2,20.20\n");
    let batches = BTreeMap::from([(start.name, start.definition)]);
    let (_, snapshot) = watch::channel(Arc::new(ConfigSnapshot { batches, ..ConfigSnapshot::default() }));
    RunContext {
        tenant: DEFAULT_TENANT.to_owned(),
        snapshot,
        base_dir: start.base_dir,
        spool_dir: start.spool_dir,
        spool_bytes_max: start.spool_bytes_max,
        kinds: start.kinds,
        job_defaults: Arc::new(|job| job.queue = "clock".to_owned()),
    }
}

pub(crate) const DEFINITION: &str =
    r#"{ "source": { "csv": "input.csv" }, "chunk": 1, "aggregate": { "rows": "count" } }"#;

fn schedule_runner(env: &TestEnv) -> ScheduleRunner {
    ScheduleRunner::new(Arc::clone(&env.store), env.dispatcher.clone(), run_context(env, DEFINITION))
}

async fn ledger(store: &StoreHandle, name: &str) -> Vec<TickView> {
    let filter = TickFilter {
        tenant: DEFAULT_TENANT.to_owned(),
        schedule: name.to_owned(),
        from: None,
        until: None,
        limit: 10_000,
    };
    let mut rows = store.ticks(&filter).await.expect("listed");
    rows.reverse();
    rows
}

/// The ledger in brief: minute and outcome of each tick.
async fn told(store: &StoreHandle, name: &str) -> String {
    let word = |row: &TickView| {
        let many = if row.ticks > 1 { format!("x{}", row.ticks) } else { String::new() };
        format!("{}:{}{many}", (row.tick - zero()).num_minutes(), row.outcome)
    };
    ledger(store, name).await.iter().map(word).collect::<Vec<_>>().join(" ")
}

async fn run_once(schedule_runner: &mut ScheduleRunner, now: Instant) {
    let who = WorkerId(Uuid::now_v7());
    schedule_runner.run_once(now, who).await.expect("a pass");
    schedule_runner.planned().await.expect("planned");
}

async fn batches(env: &TestEnv) -> Vec<gristmill_store::BatchView> {
    let filter = BatchFilter { tenant: DEFAULT_TENANT.to_owned(), ..BatchFilter::default() };
    env.store.batches(&filter, &Page::default()).await.expect("listed")
}

/// The same schedule, which runs every tick that it has missed.
fn all(spec: ScheduleSpec) -> ScheduleSpec {
    ScheduleSpec { missed: Missed::All, overlap: Some(Overlap::Allow), missed_max: Some(1_000), ..spec }
}

#[tokio::test]
async fn a_tick_starts_its_job_once_when_its_time_has_come() {
    let env = env().await;
    let payload =
        serde_json::json!({ "day": "{{ schedule.from | date('%d.%m.%Y %H:%M') }}", "shop": "{{ params.shop }}" });
    let mut spec = ScheduleSpec { timezone: Some("Europe/London".to_owned()), ..every(600) };
    spec.params = Some(serde_json::json!({ "shop": "north" }));
    spec.job.as_mut().expect("a job").payload = payload;
    made(&env.store, "tenth", &spec).await;
    let mut schedule_runner = schedule_runner(&env);
    for (now, expected) in [(9, ""), (10, "10:ran"), (10, "10:ran"), (11, "10:ran"), (20, "10:ran 20:skipped_overlap")]
    {
        run_once(&mut schedule_runner, minutes(now)).await;
        assert_eq!(told(&env.store, "tenth").await, expected, "after {now} minutes");
    }
    let job = env.job(ledger(&env.store, "tenth").await[0].job.expect("a job")).await;
    assert_eq!(job.payload, serde_json::json!({ "day": "01.07.2026 01:00", "shop": "north" }));
    assert_eq!(job.queue, "clock", "settings of kinds hold");
}

#[tokio::test]
async fn a_run_is_cancelled_only_when_the_one_that_takes_its_place_has_begun() {
    let env = env().await;
    let spec = ScheduleSpec { overlap: Some(Overlap::CancelRunning), ..batch_every(600) };
    made(&env.store, "replaces", &spec).await;
    let mut schedule_runner = schedule_runner(&env);
    run_once(&mut schedule_runner, minutes(10)).await;
    let input = env.path().join("input.csv");
    let text = std::fs::read(&input).expect("the input is there");
    std::fs::remove_file(&input).expect("removed");
    run_once(&mut schedule_runner, minutes(20)).await;
    run_once(&mut schedule_runner, minutes(21)).await;
    assert_eq!(told(&env.store, "replaces").await, "10:ran 20:failed");
    assert_eq!(batches(&env).await[0].state, BatchState::Sealed, "the next run could not begin: this one goes on");
    std::fs::write(&input, text).expect("written");
    run_once(&mut schedule_runner, minutes(30)).await;
    run_once(&mut schedule_runner, minutes(31)).await;
    assert_eq!(told(&env.store, "replaces").await, "10:ran 20:failed 30:ran");
    let states: Vec<BatchState> = batches(&env).await.iter().map(|batch| batch.state).collect();
    assert_eq!(states, [BatchState::Sealed, BatchState::Cancelled], "newest first");
}

#[tokio::test]
async fn a_scheduler_that_takes_over_cancels_what_the_newest_run_has_replaced_and_nothing_else() {
    let env = env().await;
    let allowed = every(600);
    made(&env.store, "replaces", &ScheduleSpec { overlap: Some(Overlap::Allow), ..allowed.clone() }).await;
    // It has a tick in the pass that takes over, too: what is decided then must not keep that pass from looking back.
    let other = ScheduleSpec { overlap: Some(Overlap::CancelRunning), ..every(60) };
    made(&env.store, "another", &other).await;
    let mut former = schedule_runner(&env);
    for now in [10, 20, 30] {
        run_once(&mut former, minutes(now)).await;
    }
    // As after a death between the start of a run and the cancelling of earlier ones.
    let seen = env.store.schedules(None, Some("replaces")).await.expect("listed").remove(0);
    let save = SaveSchedule {
        tenant: seen.tenant.clone(),
        name: seen.name.clone(),
        origin: seen.origin,
        spec: ScheduleSpec { overlap: Some(Overlap::CancelRunning), ..allowed },
        enabled: true,
        decided_at: seen.decided_at,
        next_at: seen.next_at,
        seen: Some((seen.version, seen.decided_at)),
    };
    env.store.save_schedule(&save).await.expect("edited");
    run_once(&mut schedule_runner(&env), minutes(31)).await;
    run_once(&mut former, minutes(31)).await;
    let active: Vec<i64> = ledger(&env.store, "replaces")
        .await
        .iter()
        .filter(|row| row.active)
        .map(|row| (row.tick - zero()).num_minutes())
        .collect();
    assert_eq!(active, [30], "the newest goes on, whoever cleans up");
}

#[tokio::test]
async fn a_tick_and_its_batch_are_one_and_the_batch_knows_its_interval() {
    let env = env().await;
    let definition = DEFINITION.replace("input.csv", "{{ params.schedule.name }}-{{ schedule.from | date('%Y') }}.csv");
    std::fs::write(env.path().join("nightly-2026.csv"), "id\n1\n2\n3\n").expect("written");
    let mut schedule_runner =
        ScheduleRunner::new(Arc::clone(&env.store), env.dispatcher.clone(), run_context(&env, &definition));
    made(&env.store, "nightly", &batch_every(3_600)).await;
    run_once(&mut schedule_runner, minutes(60)).await;
    let rows = ledger(&env.store, "nightly").await;
    let batch = env.store.batch(DEFAULT_TENANT, rows[0].batch.expect("a batch")).await.expect("asked").expect("there");
    assert_eq!((batch.state, batch.counts.input), (BatchState::Sealed, 3));
    let plan = env.store.batch_plan(batch.id).await.expect("asked").expect("there");
    assert_eq!(plan.params["schedule"]["from"], "2026-07-01T00:00:00Z");
    assert_eq!(plan.params["schedule"]["to"], "2026-07-01T01:00:00Z");
    env.work().await;
    run_once(&mut schedule_runner, minutes(61)).await;
    assert_eq!(ledger(&env.store, "nightly").await[0].result.as_deref(), Some("complete"));
}

#[tokio::test]
async fn a_source_that_is_not_there_fails_the_tick_and_not_the_schedule() {
    let env = env().await;
    let definition = DEFINITION.replace("input.csv", "{{ schedule.tick | date('%H') }}.csv");
    std::fs::write(env.path().join("02.csv"), "id\n1\n").expect("written");
    let mut schedule_runner =
        ScheduleRunner::new(Arc::clone(&env.store), env.dispatcher.clone(), run_context(&env, &definition));
    made(&env.store, "nightly", &batch_every(3_600)).await;
    run_once(&mut schedule_runner, minutes(60)).await;
    run_once(&mut schedule_runner, minutes(120)).await;
    assert_eq!(told(&env.store, "nightly").await, "60:failed 120:ran");
    let reason = ledger(&env.store, "nightly").await[0].reason.clone().expect("a reason");
    assert!(reason.contains("01.csv"), "{reason}");
    assert_eq!(batches(&env).await.len(), 1);
}

#[tokio::test]
async fn missed_ticks_follow_the_policy_and_are_all_accounted_for() {
    let env = env().await;
    let policies = [
        (ScheduleSpec { missed: Missed::Skip, ..every(600) }, "10:skipped_missed 20:skipped_missed 30:skipped_missed"),
        (ScheduleSpec { missed: Missed::Latest, ..every(600) }, "10:skipped_missed 20:skipped_missed 30:ran"),
        (ScheduleSpec { missed: Missed::All, overlap: Some(Overlap::Allow), ..every(600) }, "10:ran 20:ran 30:ran"),
        (
            ScheduleSpec { missed: Missed::All, missed_max: Some(2), overlap: Some(Overlap::Allow), ..every(600) },
            "10:skipped_missed 20:ran 30:ran",
        ),
        (
            ScheduleSpec {
                missed: Missed::All,
                missed_within: Some(Span(Duration::from_secs(600))),
                overlap: Some(Overlap::BufferAll),
                ..every(600)
            },
            "10:skipped_missed 20:skipped_missed 30:ran",
        ),
        // Each runs also where nothing is said of overlapping.
        (ScheduleSpec { missed: Missed::All, ..every(600) }, "10:ran 20:buffered 30:buffered"),
    ];
    let mut schedule_runner = schedule_runner(&env);
    for (index, (spec, _)) in policies.iter().enumerate() {
        made(&env.store, &format!("s{index}"), spec).await;
    }
    // Nothing ran for 38 minutes: a scheduler that was down, a laptop that slept, a clock that leapt forward.
    run_once(&mut schedule_runner, minutes(38)).await;
    for (index, (spec, expected)) in policies.iter().enumerate() {
        assert_eq!(told(&env.store, &format!("s{index}")).await, *expected, "{} {}", spec.missed, spec.overlap());
    }
}

#[tokio::test]
async fn a_clock_that_goes_back_repeats_nothing() {
    let env = env().await;
    made(&env.store, "tenth", &ScheduleSpec { overlap: Some(Overlap::Allow), ..every(600) }).await;
    let mut schedule_runner = schedule_runner(&env);
    for now in [10, 20, 5, 10, 15, 20, 29, 30] {
        run_once(&mut schedule_runner, minutes(now)).await;
    }
    assert_eq!(told(&env.store, "tenth").await, "10:ran 20:ran 30:ran");
}

#[tokio::test]
async fn a_thousand_missed_ticks_are_counted_and_do_not_fill_the_ledger() {
    let env = env().await;
    made(&env.store, "busy", &every(1)).await;
    let mut schedule_runner = schedule_runner(&env);
    for _ in 0..4 {
        run_once(&mut schedule_runner, minutes(400)).await;
    }
    let rows = ledger(&env.store, "busy").await;
    assert_eq!(rows.iter().map(|row| row.ticks).sum::<u64>(), 400 * 60, "each tick is accounted for");
    assert!(rows.len() < 1_100, "{} rows", rows.len());
    assert_eq!(rows.iter().filter(|row| row.outcome == TickOutcome::Ran).count(), 1, "the latest runs");
    assert_eq!(rows.last().map(|row| row.tick), Some(minutes(400)));
}

#[tokio::test]
async fn an_overlapping_tick_waits_its_turn_or_cancels_what_runs() {
    let env = env().await;
    let with = |overlap| ScheduleSpec { overlap: Some(overlap), ..every(600) };
    made(&env.store, "waits", &with(Overlap::BufferAll)).await;
    made(&env.store, "cancels", &with(Overlap::CancelRunning)).await;
    let mut schedule_runner = schedule_runner(&env);
    for now in [10, 20, 30] {
        run_once(&mut schedule_runner, minutes(now)).await;
    }
    assert_eq!(told(&env.store, "waits").await, "10:ran 20:buffered 30:buffered");
    assert_eq!(told(&env.store, "cancels").await, "10:ran 20:ran 30:ran");
    run_once(&mut schedule_runner, minutes(31)).await;
    let results: Vec<_> = ledger(&env.store, "cancels").await.into_iter().map(|row| row.result).collect();
    assert_eq!(results, [Some("cancelled".to_owned()), Some("cancelled".to_owned()), None]);
    let first = ledger(&env.store, "waits").await[0].job.expect("a job");
    env.store.cancel_job(DEFAULT_TENANT, first, "it is enough", false).await.expect("ended");
    run_once(&mut schedule_runner, minutes(32)).await;
    assert_eq!(told(&env.store, "waits").await, "10:ran 20:ran 30:buffered");
}

#[tokio::test]
async fn a_plan_that_was_cut_off_is_begun_anew_and_ends_once() {
    let env = env().await;
    made(&env.store, "nightly", &batch_every(3_600)).await;
    let mut schedule_runner = schedule_runner(&env);
    // A planner that got as far as committing the tick and the batch, and died with its process.
    let gone = env.worker(Duration::ZERO).await;
    let view = env.store.schedules(None, None).await.expect("listed").remove(0);
    let mut decision =
        gristmill_scheduler::schedules::decide::decide(&view, minutes(60), 1).expect("it can be decided");
    let tick = decision.runs.remove(0);
    let start = env.start(DEFINITION, "id\n1\n2\n");
    let batch = gristmill_store::NewBatch {
        id: gristmill_core::id::BatchId(Uuid::now_v7()),
        tenant: DEFAULT_TENANT.to_owned(),
        name: start.name,
        definition: start.definition,
        fingerprint: gristmill_core::chunk::SourceFingerprint::default(),
        params: serde_json::Value::Null,
        idempotency_key: None,
        trace: None,
    };
    let run = Some(gristmill_store::Run::Batch(Box::new(batch)));
    let firing = Firing {
        tenant: DEFAULT_TENANT.to_owned(),
        schedule: "nightly".to_owned(),
        advance: Some(decision.advance),
        ticks: vec![FireTick { run, holder: Some(gone), ..tick }],
    };
    assert_eq!(env.store.fire(&[firing]).await.expect("fired").started.len(), 1);
    env.store.retire_worker(gone).await.expect("it is gone");
    run_once(&mut schedule_runner, minutes(61)).await;
    run_once(&mut schedule_runner, minutes(61)).await;
    let rows = ledger(&env.store, "nightly").await;
    assert_eq!((rows.len(), rows[0].outcome, rows[0].tries), (1, TickOutcome::Ran, 2));
    let there = batches(&env).await;
    assert_eq!((there.len(), there[0].state, there[0].counts.input), (1, BatchState::Sealed, 2));
}

#[tokio::test]
async fn a_slot_runs_once_by_hand_and_by_itself_together() {
    let env = env().await;
    let view = made(&env.store, "nightly", &batch_every(3_600)).await;
    let run_context = run_context(&env, DEFINITION);
    let slot = FireTick {
        tick: minutes(60),
        interval: (minutes(0), minutes(60)),
        cause: TickCause::Manual,
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
    let by_hand = Firing { tenant: view.tenant.clone(), schedule: view.name.clone(), advance: None, ticks: vec![slot] };
    let first = env.service().start_run(&order(), &run_context, &view.spec, by_hand.clone()).await.expect("started");
    assert!(matches!(first, StartedRun::Planned(_)), "{first:?}");
    let second = env.service().start_run(&order(), &run_context, &view.spec, by_hand).await.expect("asked");
    assert_eq!(second, StartedRun::Lost);
    run_once(&mut schedule_runner(&env), minutes(60)).await;
    assert_eq!((told(&env.store, "nightly").await.as_str(), batches(&env).await.len()), ("60:ran", 1));
    let moved = env.store.schedules(None, None).await.expect("listed").remove(0);
    assert_eq!(moved.decided_at, minutes(60), "its time has passed");
}

#[tokio::test]
async fn a_backfill_runs_its_slots_in_order_and_marks_them() {
    let env = env().await;
    made(&env.store, "nightly", &batch_every(3_600)).await;
    let ticks = (1..=3).map(|hour| {
        let tick = minutes(60 * hour) - TimeDelta::days(1);
        (tick, (tick - TimeDelta::hours(1), tick))
    });
    let backfill = NewBackfill {
        id: Uuid::now_v7(),
        tenant: DEFAULT_TENANT.to_owned(),
        schedule: "nightly".to_owned(),
        range: (minutes(-1_440), minutes(-1_000)),
        concurrency: 1,
        newest_first: true,
        tzdb: None,
        ticks: ticks.collect(),
    };
    assert_eq!(env.store.backfill(&backfill).await.expect("written"), 3);
    let mut schedule_runner = schedule_runner(&env);
    let mut order = Vec::new();
    for _ in 0..4 {
        run_once(&mut schedule_runner, minutes(1)).await;
        order.push(told(&env.store, "nightly").await.matches("ran").count());
        env.work().await;
    }
    assert_eq!(order, [1, 2, 3, 3], "one at a time");
    let mut rows = ledger(&env.store, "nightly").await;
    rows.sort_by_key(|row| row.started_at);
    let hours: Vec<_> = rows.iter().map(|row| (row.tick - zero() + TimeDelta::days(1)).num_hours()).collect();
    assert_eq!(hours, [3, 2, 1], "the newest first");
    assert!(rows.iter().all(|row| row.cause == TickCause::Backfill && row.result.is_some()));
    let plan = env.store.batch_plan(rows[0].batch.expect("a batch")).await.expect("asked").expect("there");
    assert_eq!(plan.params["schedule"]["backfill"], true);
}

#[tokio::test]
async fn the_configurations_schedules_become_the_stores() {
    let env = env().await;
    let file = |entries: &[(&str, ScheduleSpec)]| -> BTreeMap<String, ScheduleSpec> {
        entries.iter().map(|(name, spec)| ((*name).to_owned(), spec.clone())).collect()
    };
    let synced = async |wanted: &BTreeMap<String, ScheduleSpec>, now| {
        let report = sync(&*env.store, DEFAULT_TENANT, wanted, now).await.expect("synced");
        format!("{:?} {:?} {:?} {:?}", report.made, report.edited, report.removed, report.taken)
    };
    made(&env.store, "mine", &every(60)).await;
    let both = file(&[("a", every(600)), ("b", every(600)), ("mine", every(600))]);
    assert_eq!(synced(&both, minutes(0)).await, r#"["a", "b"] [] [] ["mine"]"#);
    assert_eq!(synced(&both, minutes(5)).await, r#"[] [] [] ["mine"]"#, "the same again changes nothing");
    let owned = ScheduleSpec { owner: Some("ops".to_owned()), ..every(600) };
    let edited = file(&[("a", owned), ("c", every(60))]);
    assert_eq!(synced(&edited, minutes(25)).await, r#"["c"] ["a"] ["b"] []"#);
    let views = env.store.schedules(Some(DEFAULT_TENANT), None).await.expect("listed");
    let told: Vec<_> = views.iter().map(|view| (view.name.as_str(), view.decided_at, view.version)).collect();
    let expected = [("a", minutes(0), 2), ("c", minutes(25), 1), ("mine", minutes(0), 1)];
    assert_eq!(told, expected, "an edit beside its time forgets no tick; a new schedule has no past");
    synced(&file(&[("a", every(900))]), minutes(40)).await;
    let view = env.store.schedules(Some(DEFAULT_TENANT), Some("a")).await.expect("listed").remove(0);
    assert_eq!((view.decided_at, view.next_at), (minutes(40), Some(minutes(45))), "another time begins now");
}

/// What a scheduler that is killed leaves behind: polls a future this many times and drops it.
pub(crate) async fn killed_after<F: Future>(polls: u32, future: F) -> Option<F::Output> {
    let mut future = pin!(future);
    let mut left = polls;
    std::future::poll_fn(move |context| {
        if left == 0 {
            return Poll::Ready(None);
        }
        left -= 1;
        future.as_mut().poll(context).map(Some)
    })
    .await
}

/// Kills the scheduler at random points and compares the ledger with what it should be.
async fn survive(store: StoreHandle, env: &TestEnv, kills: u32) {
    let seed = seed();
    let mut random = Random::new(seed);
    let dispatcher =
        gristmill_service::dispatcher::Dispatcher::new(Arc::clone(&store), env.dispatcher.broker().clone(), 20_000);
    made(&store, "jobs", &all(every(60))).await;
    made(&store, "batches", &all(batch_every(600))).await;
    let (mut killed, mut minute, mut passes) = (0, 0, 0);
    while killed < kills {
        let mut schedule_runner =
            ScheduleRunner::new(Arc::clone(&store), dispatcher.clone(), run_context(env, DEFINITION));
        let who = ground_worker(&store).await;
        // The life of one leader: passes a minute apart, until it is killed somewhere in one.
        let life = async {
            loop {
                minute += 1;
                passes += 1;
                schedule_runner.run_once(minutes(minute), who).await.expect("a pass");
                if passes % 3 == 0 {
                    schedule_runner.planned().await.expect("planned");
                }
            }
        };
        let polls = 1 + u32::try_from(random.below(60)).expect("a few");
        let ended: Option<()> = killed_after(polls, life).await;
        assert_eq!(ended, None, "nobody lives for ever");
        drop(schedule_runner);
        store.retire_worker(who).await.expect("its lease runs out");
        killed += 1;
    }
    let end = minutes(minute + 1);
    let mut schedule_runner = ScheduleRunner::new(Arc::clone(&store), dispatcher, run_context(env, DEFINITION));
    let mut busy = true;
    while busy {
        run_once(&mut schedule_runner, end).await;
        let views = store.schedules(None, None).await.expect("listed");
        let waits = |row: &TickView| matches!(row.outcome, TickOutcome::Buffered | TickOutcome::Waiting);
        busy = views.iter().any(|view| view.next_at.is_some_and(|next| next <= end))
            || ledger(&store, "batches").await.iter().any(waits);
    }
    for (name, step) in [("jobs", 1), ("batches", 10)] {
        let rows = ledger(&store, name).await;
        let found: Vec<i64> = rows.iter().map(|row| (row.tick - zero()).num_minutes()).collect();
        let expected: Vec<i64> = (1..=minute + 1).filter(|minute| minute % step == 0).collect();
        assert_eq!(found, expected, "{name}, seed {seed}");
        let lost: Vec<_> = rows.iter().filter(|row| row.outcome != TickOutcome::Ran).collect();
        assert!(lost.iter().all(|row| row.tries >= 3), "{name}, seed {seed}: {lost:?}");
    }
    each_tick_has_its_run(&store, minute + 1, seed).await;
}

/// A job for each tick of the schedule of jobs, and a planned batch for each that ran.
async fn each_tick_has_its_run(store: &StoreHandle, ticks: i64, seed: u64) {
    let jobs = store.queues(DEFAULT_TENANT).await.expect("listed");
    let jobs = jobs.iter().find(|queue| queue.name == "clock").map_or(0, |queue| queue.queued);
    assert_eq!(i64::try_from(jobs), Ok(ticks), "a job for each tick, seed {seed}");
    let filter = BatchFilter { tenant: DEFAULT_TENANT.to_owned(), ..BatchFilter::default() };
    let all = store.batches(&filter, &Page { after: None, limit: 1_000 }).await.expect("listed");
    let sealed = all.iter().filter(|batch| batch.state == BatchState::Sealed).count();
    let ran = ledger(store, "batches").await.iter().filter(|row| row.outcome == TickOutcome::Ran).count();
    assert_eq!(sealed, ran, "a batch planned to its end for each tick that ran, seed {seed}");
}

async fn ground_worker(store: &StoreHandle) -> WorkerId {
    let worker = gristmill_store::testing::worker(Duration::from_secs(600));
    store.register_worker(&worker).await.expect("entered");
    worker.id
}

#[tokio::test]
async fn a_hundred_killed_leaders_leave_exactly_the_expected_ledger_on_sqlite() {
    let env = env().await;
    survive(Arc::clone(&env.store), &env, 100).await;
}

#[tokio::test]
async fn a_hundred_killed_leaders_leave_exactly_the_expected_ledger_on_postgres() {
    let (env, store) = (env().await, TestStore::postgres(false).await);
    survive(store.handle(), &env, 100).await;
}
