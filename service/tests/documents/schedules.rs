//! Schedules, ticks, backfills, triggers.

use gristmill_core::job::Priority;
use gristmill_core::schedule::{ScheduleSpec, Timetable};
use gristmill_service::documents::{
    BackfillDocument, BackfillReportDocument, IntervalDocument, NextTicksDocument, PlannedTickDocument, RunDocument,
    ScheduleDocument, ScheduleReportDocument, SlotDocument, SlotState, StartedBackfillDocument, TickDocument,
    TriggerDocument, TriggerReportDocument, WouldBackfillDocument, WouldRunDocument, WouldSaveScheduleDocument,
};
use gristmill_store::{ScheduleOrigin, ScheduleView, TickCause, TickOutcome};
use serde_json::json;
use uuid::Uuid;

use super::{Sample, at, id, sample};

fn spec() -> ScheduleSpec {
    serde_json::from_value(json!({
        "description": "Orders of the day",
        "owner": "retail",
        "cron": "30 1 * * *",
        "timezone": "Europe/London",
        "missed": "latest",
        "overlap": "buffer_one",
        "params": { "shop": "north" },
        "batch": "retail",
    }))
    .expect("a schedule")
}

fn small_spec() -> ScheduleSpec {
    serde_json::from_value(json!({ "every": "1h", "job": { "kind": "exec", "priority": Priority::Low } }))
        .expect("a schedule")
}

fn view() -> ScheduleView {
    ScheduleView {
        tenant: "acme".to_owned(),
        name: "nightly".to_owned(),
        origin: ScheduleOrigin::Command,
        spec: spec(),
        enabled: true,
        version: 4,
        decided_at: at(0),
        next_at: Some(at(10)),
        created_at: at(1),
        updated_at: at(2),
        running: 1,
        buffered: 2,
    }
}

fn tick() -> TickDocument {
    TickDocument {
        tenant: "acme".to_owned(),
        schedule: "nightly".to_owned(),
        tick: at(10),
        cause: TickCause::Tick,
        outcome: TickOutcome::Ran,
        from: at(0),
        to: at(10),
        late_ms: 1_250,
        ticks: 3,
        tries: 2,
        batch: Some(id(1)),
        job: Some(id(10)),
        active: true,
        result: Some("complete".to_owned()),
        backfill: Some(id(20)),
        reason: Some("two were missed".to_owned()),
        decided_at: at(11),
        tzdb: Some("2026f".to_owned()),
        started_at: Some(at(12)),
        ended_at: Some(at(13)),
        event: Some("msg_1".to_owned()),
        about: Some(json!({ "name": "orders.csv" })),
    }
}

fn small_tick() -> TickDocument {
    TickDocument {
        outcome: TickOutcome::SkippedOverlap,
        late_ms: 0,
        ticks: 1,
        tries: 0,
        batch: None,
        job: None,
        active: false,
        result: None,
        backfill: None,
        reason: None,
        tzdb: None,
        started_at: None,
        ended_at: None,
        event: None,
        about: None,
        ..tick()
    }
}

fn schedules() -> Vec<Sample> {
    let timetable = Timetable::compile("nightly", &spec()).expect("a timetable");
    // The clocks of London went forward at one o'clock on this day.
    let spring = "2026-03-29T00:00:00Z".parse().expect("an instant");
    let moved = PlannedTickDocument::new(&timetable, timetable.next(spring).expect("a tick"));
    let usual = PlannedTickDocument::new(&timetable, timetable.next(at(0)).expect("a tick"));
    assert!(moved.note.is_some() && usual.note.is_none());
    let whole = ScheduleDocument {
        next: Some(vec![moved.clone()]),
        last: Some(vec![tick()]),
        ..ScheduleDocument::from(&view())
    };
    let next = |ticks: &[_]| NextTicksDocument::new("nightly", &spec(), &timetable, at(0), ticks);
    let report = |affected| ScheduleReportDocument { dry_run: true, schedule: "nightly".to_owned(), affected };
    let would = |spec, next| WouldSaveScheduleDocument { dry_run: true, schedule: "nightly".to_owned(), spec, next };
    vec![
        sample("ScheduleDocument", whole, ScheduleDocument::new("main", "hourly", &small_spec(), None)),
        sample("PlannedTickDocument", moved.clone(), usual),
        sample("NextTicksDocument", next(&[moved.tick]), next(&[])),
        sample("ScheduleReportDocument", report(1), report(0)),
        sample("WouldSaveScheduleDocument", would(spec(), vec![at(10)]), would(small_spec(), Vec::new())),
    ]
}

fn runs() -> Vec<Sample> {
    let slot = IntervalDocument { tick: at(10), from: at(0), to: at(10) };
    let run = |run| RunDocument { schedule: "nightly".to_owned(), run };
    let would = WouldRunDocument { dry_run: true, schedule: "nightly".to_owned(), slot };
    let late = TickDocument { late_ms: 61_000, ..tick() };
    vec![
        sample("TickDocument", tick(), small_tick()),
        sample("SlotDocument", SlotDocument::known(&late, &spec()), SlotDocument::unknown(at(20), SlotState::Planned)),
        sample("RunDocument", run(tick()), run(small_tick())),
        sample("WouldRunDocument", &would, &would),
        sample("IntervalDocument", slot, slot),
    ]
}

fn backfills() -> Vec<Sample> {
    let whole = BackfillDocument {
        id: Uuid::from_u128(20),
        schedule: "nightly".to_owned(),
        from: at(0),
        to: at(30),
        concurrency: 2,
        newest_first: true,
        paused: true,
        waiting: 4,
        running: 2,
        ended: 3,
        failed: 1,
        created_at: at(40),
    };
    let minimal = BackfillDocument {
        concurrency: 1,
        newest_first: false,
        paused: false,
        waiting: 0,
        running: 0,
        ended: 0,
        failed: 0,
        ..whole.clone()
    };
    let schedule = || "nightly".to_owned();
    let started = |waiting| StartedBackfillDocument { backfill: Uuid::from_u128(20), schedule: schedule(), waiting };
    let slots = vec![IntervalDocument { tick: at(10), from: at(0), to: at(10) }];
    let would = |slots: Vec<_>| WouldBackfillDocument {
        dry_run: true,
        schedule: schedule(),
        asked: 3,
        would_run: slots.len(),
        slots,
    };
    let report = |affected| BackfillReportDocument { dry_run: false, backfill: Uuid::from_u128(20), affected };
    vec![
        sample("BackfillDocument", whole, minimal),
        sample("StartedBackfillDocument", started(4), started(0)),
        sample("WouldBackfillDocument", would(slots), would(Vec::new())),
        sample("BackfillReportDocument", report(4), report(0)),
    ]
}

fn triggers() -> Vec<Sample> {
    let rows = [tick(), TickDocument { outcome: TickOutcome::Waiting, ..small_tick() }, {
        TickDocument { outcome: TickOutcome::Failed, ..small_tick() }
    }];
    let report = |affected| TriggerReportDocument {
        dry_run: affected == 0,
        trigger: "hook/orders".to_owned(),
        event: "msg_1".to_owned(),
        affected,
    };
    vec![
        sample(
            "TriggerDocument",
            TriggerDocument::new("hook/orders", &spec(), &rows),
            TriggerDocument::new("watch/inbox", &small_spec(), &[]),
        ),
        sample("TriggerReportDocument", report(1), report(0)),
    ]
}

pub(super) fn samples() -> Vec<Sample> {
    [schedules(), runs(), backfills(), triggers()].into_iter().flatten().collect()
}

#[test]
fn a_slot_is_what_became_of_its_tick() {
    let state = |outcome, cause, late_ms| SlotState::of(&TickDocument { outcome, cause, late_ms, ..tick() }, &spec());
    assert_eq!(state(TickOutcome::Ran, TickCause::Tick, 60_000), SlotState::OnTime);
    assert_eq!(state(TickOutcome::Ran, TickCause::Tick, 60_001), SlotState::Late);
    assert_eq!(state(TickOutcome::Ran, TickCause::Manual, 90_000), SlotState::Manual);
    assert_eq!(state(TickOutcome::Ran, TickCause::Backfill, 90_000), SlotState::Backfilled);
    assert_eq!(state(TickOutcome::SkippedMissed, TickCause::Tick, 0), SlotState::Missed);
    assert_eq!(state(TickOutcome::SkippedOverlap, TickCause::Tick, 0), SlotState::Skipped);
    assert_eq!(state(TickOutcome::Buffered, TickCause::Tick, 0), SlotState::Waiting);
    assert_eq!(state(TickOutcome::Failed, TickCause::Backfill, 0), SlotState::Failed);
}
