//! Events that start runs: the end of another batch, and what hooks and watched folders report.

use gristmill_core::batch::BatchState;
use gristmill_core::id::BatchId;
use gristmill_core::schedule::{Ending, JobSpec, ScheduleSpec};
use gristmill_store::testing::{self, TestStore};
use gristmill_store::{
    BatchEnd, Completion, FireTick, Firing, JobFilter, LedgerTally, NewBatch, NewEvent, Page, Run, SaveSchedule,
    ScheduleOrigin, StoreError, TickCause, TickFilter, TickOutcome, TickView,
};
use serde_json::{Value, json};

use super::{TENANT, claim, claim_one, complete, enter};

conformance!(
    an_event_starts_its_job_once_however_often_it_is_told,
    many_who_tell_of_one_event_at_once_get_the_same_job,
    events_of_the_same_instant_are_all_kept,
    an_event_without_a_job_waits_and_is_started_with_what_is_known_of_it,
    an_event_that_no_store_could_keep_is_refused_whole,
    the_end_of_a_batch_is_an_event_for_those_that_follow_it,
    each_generation_of_a_followed_batch_is_followed_once,
    endings_that_were_not_asked_for_are_not_followed,
    a_schedule_that_is_off_records_what_it_did_not_follow,
    ledgers_are_tallied_by_their_newest_rows,
);

fn told(event: &str) -> NewEvent {
    NewEvent {
        tenant: TENANT.to_owned(),
        schedule: "hook/orders".to_owned(),
        event: event.to_owned(),
        about: json!({ "id": event, "body": { "n": 1 } }),
        job: Some(Box::new(testing::job())),
    }
}

async fn ledger(store: &TestStore, name: &str) -> Vec<TickView> {
    let filter =
        TickFilter { tenant: TENANT.to_owned(), schedule: name.to_owned(), from: None, until: None, limit: 1_000 };
    let mut rows = store.ticks(&filter).await.expect("listed");
    rows.reverse();
    rows
}

async fn jobs_of(store: &TestStore, kind: &str) -> usize {
    let filter = JobFilter { tenant: TENANT.to_owned(), kind: Some(kind.to_owned()), ..JobFilter::default() };
    store.jobs(&filter, &Page { after: None, limit: 1_000 }).await.expect("listed").len()
}

async fn an_event_starts_its_job_once_however_often_it_is_told(store: TestStore) {
    let first = told("evt_1");
    let kind = first.job.as_ref().expect("a job").kind.clone();
    let noted = store.note_event(&first).await.expect("noted");
    let job = first.job.as_ref().map(|job| job.id);
    assert!(noted.fresh);
    assert_eq!((noted.tick.outcome, noted.tick.job, noted.tick.active), (TickOutcome::Ran, job, true));
    assert_eq!((noted.tick.event.as_deref(), &noted.tick.about), (Some("evt_1"), &Some(first.about.clone())));
    assert_eq!(noted.dispatched.moved, 1);
    let again = store.note_event(&told("evt_1")).await.expect("noted");
    assert!(!again.fresh);
    assert_eq!((again.tick, again.dispatched.moved), (noted.tick, 0), "the first one's job, and nothing new");
    let elsewhere = NewEvent { schedule: "hook/refunds".to_owned(), ..told("evt_1") };
    assert!(store.note_event(&elsewhere).await.expect("noted").fresh, "each ledger has its own keys");
    assert_eq!(jobs_of(&store, &kind).await, 2);
    let worker = enter(&store).await;
    for claimed in claim(&store, worker, 5).await {
        complete(&store, &[testing::done(&claimed)]).await;
    }
    assert_eq!(store.note_ended_runs().await.expect("noted"), 2);
    let rows = ledger(&store, "hook/orders").await;
    assert_eq!((rows.len(), rows[0].active, rows[0].result.as_deref()), (1, false, Some("done")));
    assert!(!store.note_event(&told("evt_1")).await.expect("noted").fresh, "it is known after its end too");
}

async fn many_who_tell_of_one_event_at_once_get_the_same_job(store: TestStore) {
    let telling = (0..16).map(|_| {
        let store = store.handle();
        tokio::spawn(async move { store.note_event(&told("evt_1")).await.expect("noted") })
    });
    let (mut fresh, mut jobs) = (0, Vec::new());
    for noted in telling.collect::<Vec<_>>() {
        let noted = noted.await.expect("no panic");
        fresh += u32::from(noted.fresh);
        jobs.push(noted.tick.job.expect("a job"));
    }
    jobs.dedup();
    assert_eq!((fresh, jobs.len()), (1, 1), "one of them was first, and all are told of its job");
    assert_eq!(jobs_of(&store, &testing::job().kind).await, 1);
}

async fn events_of_the_same_instant_are_all_kept(store: TestStore) {
    let telling = (0..16).map(|number| {
        let store = store.handle();
        tokio::spawn(async move { store.note_event(&told(&format!("evt_{number}"))).await.expect("noted").fresh })
    });
    for fresh in telling.collect::<Vec<_>>() {
        assert!(fresh.await.expect("no panic"));
    }
    let rows = ledger(&store, "hook/orders").await;
    assert_eq!(rows.len(), 16);
    assert_eq!(jobs_of(&store, &testing::job().kind).await, 16);
}

async fn an_event_without_a_job_waits_and_is_started_with_what_is_known_of_it(store: TestStore) {
    let noted = store.note_event(&NewEvent { job: None, ..told("evt_1") }).await.expect("noted");
    assert_eq!((noted.tick.outcome, noted.tick.tries, noted.tick.active), (TickOutcome::Waiting, 0, false));
    let waiting = store.startable_ticks(10).await.expect("asked");
    assert_eq!(waiting, [noted.tick]);
    let row = &waiting[0];
    let tick = FireTick {
        tick: row.tick,
        interval: (row.from, row.to),
        cause: TickCause::Tick,
        outcome: TickOutcome::Ran,
        late_ms: 0,
        ticks: 1,
        reason: None,
        was: Some(TickOutcome::Waiting),
        run: Some(Run::Batch(Box::new(testing::batch()))),
        holder: None,
        about: None,
        tzdb: None,
    };
    let firing = Firing { tenant: TENANT.to_owned(), schedule: row.schedule.clone(), advance: None, ticks: vec![tick] };
    assert_eq!(store.fire(std::slice::from_ref(&firing)).await.expect("fired").started.len(), 1);
    assert_eq!(store.fire(&[firing]).await.expect("fired").started.len(), 0);
    let rows = ledger(&store, "hook/orders").await;
    assert_eq!((rows[0].outcome, rows[0].event.as_deref()), (TickOutcome::Ran, Some("evt_1")));
    assert_eq!(rows[0].about, told("evt_1").about.into(), "a start does not touch what is known of the event");
}

async fn an_event_that_no_store_could_keep_is_refused_whole(store: TestStore) {
    for event in ["", &"x".repeat(301)] {
        let refused = store.note_event(&told(event)).await;
        assert!(matches!(refused, Err(StoreError::Invalid(_))), "{refused:?}");
    }
    let mut nameless = testing::job();
    nameless.kind = String::new();
    let refused = store.note_event(&NewEvent { job: Some(Box::new(nameless)), ..told("evt_1") }).await;
    assert!(matches!(refused, Err(StoreError::Invalid(_))), "{refused:?}");
    assert!(ledger(&store, "hook/orders").await.is_empty());
}

fn follows(name: &str, ending: Option<Ending>, enabled: bool, made: gristmill_core::Instant) -> SaveSchedule {
    let job = JobSpec { kind: "work".to_owned(), ..JobSpec::default() };
    let after = Some(testing::batch().name);
    SaveSchedule {
        tenant: TENANT.to_owned(),
        name: name.to_owned(),
        origin: ScheduleOrigin::Command,
        spec: ScheduleSpec { after, ending, job: Some(job), ..ScheduleSpec::default() },
        enabled,
        decided_at: made,
        next_at: None,
        seen: None,
    }
}

/// A batch of one chunk that ends in that state.
async fn ended(store: &TestStore, new: &NewBatch, state: BatchState) -> BatchId {
    store.create_batch(new).await.expect("created");
    store.add_chunks(new.id, &testing::chunks(1, 10)).await.expect("added");
    store.seal(new.id).await.expect("sealed");
    let worker = enter(store).await;
    let chunk = claim_one(store, worker).await;
    complete(store, &[testing::chunk_done(&chunk, 10)]).await;
    end(store, new.id, state, worker).await;
    new.id
}

async fn end(store: &TestStore, batch: BatchId, state: BatchState, worker: gristmill_core::id::WorkerId) {
    let aggregate = claim_one(store, worker).await;
    let end = BatchEnd { batch, generation: aggregate.generation, state, result: Value::Null, reason: None };
    let completion = Completion { batch_end: Some(end), ..testing::done(&aggregate) };
    complete(store, std::slice::from_ref(&completion)).await;
    let again = store.complete(&[completion]).await.expect("asked");
    assert_eq!(again.settled, 0, "an answer that was lost is asked for again");
}

async fn the_end_of_a_batch_is_an_event_for_those_that_follow_it(store: TestStore) {
    let now = store.now().await.expect("now");
    store.save_schedule(&follows("one", None, true, now)).await.expect("made");
    store.save_schedule(&follows("two", None, true, now)).await.expect("made");
    let later = now + chrono::TimeDelta::days(1);
    store.save_schedule(&follows("later", None, true, later)).await.expect("made");
    let mut other = follows("other", None, true, now);
    other.spec.after = Some("another".to_owned());
    store.save_schedule(&other).await.expect("made");
    let new = testing::batch();
    let id = ended(&store, &new, BatchState::Complete).await;
    for name in ["one", "two"] {
        let rows = ledger(&store, name).await;
        let [row] = &rows[..] else { panic!("{name}: {rows:?}") };
        assert_eq!(
            (row.outcome, row.cause, row.event.as_deref()),
            (TickOutcome::Waiting, TickCause::Tick, Some(&*format!("{id}/0")))
        );
        let about = json!({ "batch": id, "name": new.name, "generation": 0, "state": "complete" });
        assert_eq!(row.about, Some(about));
        let followed = super::batch(&store, id).await;
        assert_eq!(
            (row.from, Some(row.to)),
            (followed.created_at, followed.finished_at),
            "its interval is the batch's"
        );
    }
    for name in ["later", "other"] {
        assert_eq!(ledger(&store, name).await, [], "{name}");
    }
    let waiting = store.startable_ticks(10).await.expect("asked");
    assert_eq!(waiting.iter().map(|row| row.schedule.as_str()).collect::<Vec<_>>(), ["one", "two"]);
}

async fn each_generation_of_a_followed_batch_is_followed_once(store: TestStore) {
    let now = store.now().await.expect("now");
    store.save_schedule(&follows("one", Some(Ending::Settled), true, now)).await.expect("made");
    let new = testing::batch();
    store.create_batch(&new).await.expect("created");
    store.add_chunks(new.id, &testing::chunks(1, 10)).await.expect("added");
    store.seal(new.id).await.expect("sealed");
    let worker = enter(&store).await;
    let chunk = claim_one(&store, worker).await;
    complete(&store, &[testing::dead(&chunk)]).await;
    end(&store, new.id, BatchState::Halted, worker).await;
    store.redrive_dead(TENANT, &[chunk.fence.job], false).await.expect("redriven");
    let chunk = claim_one(&store, worker).await;
    complete(&store, &[testing::chunk_done(&chunk, 10)]).await;
    end(&store, new.id, BatchState::Complete, worker).await;
    let rows = ledger(&store, "one").await;
    let told: Vec<_> = rows
        .iter()
        .map(|row| row.about.as_ref().map(|about| (about["generation"].clone(), about["state"].clone())))
        .collect();
    assert_eq!(told, [Some((json!(0), json!("halted"))), Some((json!(1), json!("complete")))]);
}

async fn endings_that_were_not_asked_for_are_not_followed(store: TestStore) {
    let now = store.now().await.expect("now");
    for ending in Ending::ALL {
        store.save_schedule(&follows(ending.as_str(), Some(ending), true, now)).await.expect("made");
    }
    ended(&store, &testing::batch(), BatchState::Complete).await;
    ended(&store, &testing::batch(), BatchState::Halted).await;
    let cancelled = testing::batch();
    store.create_batch(&cancelled).await.expect("created");
    store.cancel_batch(TENANT, cancelled.id, "no", false).await.expect("cancelled");
    for (name, expected) in
        [("done", vec!["complete"]), ("halted", vec!["halted"]), ("settled", vec!["complete", "halted"])]
    {
        let rows = ledger(&store, name).await;
        let states: Vec<_> = rows.iter().filter_map(|row| row.about.as_ref()?["state"].as_str()).collect();
        assert_eq!(states, expected, "{name}");
    }
}

async fn a_schedule_that_is_off_records_what_it_did_not_follow(store: TestStore) {
    let now = store.now().await.expect("now");
    store.save_schedule(&follows("off", None, false, now)).await.expect("made");
    ended(&store, &testing::batch(), BatchState::Complete).await;
    let rows = ledger(&store, "off").await;
    assert_eq!(
        (rows[0].outcome, rows[0].reason.as_deref()),
        (TickOutcome::SkippedMissed, Some("the schedule was switched off"))
    );
    assert_eq!(store.startable_ticks(10).await.expect("asked"), []);
}

async fn ledgers_are_tallied_by_their_newest_rows(store: TestStore) {
    let tell = async |schedule: &str, event: &str, job: bool| {
        let job = job.then(|| Box::new(testing::job()));
        let (tenant, schedule, event) = (TENANT.to_owned(), schedule.to_owned(), event.to_owned());
        let event = NewEvent { tenant, schedule, event, about: json!({}), job };
        store.note_event(&event).await.expect("noted").tick
    };
    for number in 0..3 {
        tell("hook/a", &number.to_string(), number == 0).await;
    }
    let last = tell("hook/a", "last", true).await;
    tell("hook/b", "one", false).await;
    let (tenant, schedule, event) = ("other".to_owned(), "hook/a".to_owned(), "theirs".to_owned());
    let other = NewEvent { tenant, schedule, event, about: json!({}), job: None };
    store.note_event(&other).await.expect("noted");
    let names = ["hook/none", "hook/b", "hook/a", "hook/a"].map(str::to_owned);
    let tallies = store.tallies(TENANT, &names, 100).await.expect("tallied");
    let numbers = |of: &LedgerTally| (of.schedule.clone(), of.rows, of.running, of.waiting, of.failed);
    let expected = [("hook/a", 4, 2, 2, 0), ("hook/b", 1, 0, 1, 0), ("hook/none", 0, 0, 0, 0)];
    let expected =
        expected.map(|(name, rows, running, waiting, failed)| (name.to_owned(), rows, running, waiting, failed));
    assert_eq!(tallies.iter().map(numbers).collect::<Vec<_>>(), expected, "each ledger once, by name");
    assert_eq!((tallies[0].last, tallies[2].last), (Some(last.tick), None));
    let newest = store.tallies(TENANT, &names[2..], 2).await.expect("tallied");
    assert_eq!(numbers(&newest[0]), ("hook/a".to_owned(), 2, 1, 1, 0), "its newest two rows");
    let rows = store.newest_ticks(TENANT, &names).await.expect("asked");
    let keys: Vec<_> = rows.iter().map(|row| (row.schedule.as_str(), row.event.as_deref())).collect();
    assert_eq!(keys, [("hook/a", Some("last")), ("hook/b", Some("one"))]);
    let many: Vec<String> = (0..1_001).map(|number| format!("hook/{number}")).collect();
    assert!(matches!(store.tallies(TENANT, &many, 1).await, Err(StoreError::Invalid(_))));
    assert!(matches!(store.newest_ticks(TENANT, &many).await, Err(StoreError::Invalid(_))));
}
