//! Schedules, the ledger of their ticks, and backfills: what an operation does there, and what can be seen of them.
//! Their instants are numbers of hours, the same on both sides, and past on both: a schedule that follows a batch does
//! so from then on.

use chrono::TimeDelta;
use gristmill_core::Instant;
use gristmill_core::schedule::{Ending, JobSpec, ScheduleSpec};
use gristmill_store::testing;
use gristmill_store::{
    Advance, FireTick, Firing, NewBackfill, Result, Run, SaveSchedule, ScheduleOrigin, ScheduleView, TickCause,
    TickFilter, TickOutcome, TickView,
};

use crate::apply::Told;
use crate::made::{new_batch, new_job};
use crate::operation::{Fired, Follows, Operation, SCHEDULES, Started, TRIGGERS};
use crate::side::{Side, TENANTS, batch_id, batch_name, number_of_backfill, numbered_backfill, worker_id};

pub(crate) const OUTCOMES: [TickOutcome; 6] = [
    TickOutcome::Ran,
    TickOutcome::SkippedMissed,
    TickOutcome::SkippedOverlap,
    TickOutcome::Buffered,
    TickOutcome::Waiting,
    TickOutcome::Failed,
];

/// The number of a tick that lies beyond the lifetime of these tests.
const FAR_AHEAD: i64 = 1_000_000;

fn tick(number: i64) -> Instant {
    Instant::UNIX_EPOCH + TimeDelta::hours(400_000 + number)
}

fn hour(at: Instant) -> i64 {
    (at - tick(0)).num_hours()
}

/// An instant of the ledger: a whole hour, or one of the store's own, which differs between the sides.
fn when(at: Instant) -> String {
    let past = at - tick(0);
    if past == TimeDelta::hours(past.num_hours()) { past.num_hours().to_string() } else { "its own time".to_owned() }
}

fn schedule_name(schedule: usize) -> String {
    format!("schedule{schedule}")
}

/// The name of a ledger: those of schedules come first, then those of runs started by events.
pub(crate) fn ledger_name(ledger: usize) -> String {
    let schedules = usize::try_from(SCHEDULES).unwrap_or(0);
    match ledger.checked_sub(schedules) {
        None => schedule_name(ledger),
        Some(0) => "hook/orders".to_owned(),
        Some(_) => "watch/inbox".to_owned(),
    }
}

/// The names of all ledgers.
fn ledgers() -> impl Iterator<Item = String> {
    (0..SCHEDULES + TRIGGERS).map(|ledger| ledger_name(usize::try_from(ledger).unwrap_or(0)))
}

async fn seen(side: &Side, name: &str) -> Option<ScheduleView> {
    side.store.schedules(Some(TENANTS[0]), Some(name)).await.expect("listed").pop()
}

pub(crate) async fn apply(told: &mut Told<'_>, operation: &Operation) -> Result<String> {
    let side = told.side;
    let (store, tenant) = (&side.store, TENANTS[0]);
    match operation {
        Operation::SaveSchedule { schedule, enabled, edit, follows } => {
            let save = save(side, *schedule, *enabled, *edit, *follows).await;
            store.save_schedule(&save).await.map(|view| told_schedule(&view))
        }
        Operation::RemoveSchedule { schedule } => {
            Ok(format!("was there {}", store.remove_schedule(tenant, &schedule_name(*schedule)).await?))
        }
        Operation::DueSchedules { tick: at } => {
            let due = store.due_schedules(tick(*at), 10).await?;
            Ok(format!("{:?}", due.iter().map(|view| &view.name).collect::<Vec<_>>()))
        }
        // A batch belongs to one tick: its id is as new as the run.
        Operation::Fire { rows, .. } if is_taken(side, rows).await => Ok("its batch is taken".to_owned()),
        Operation::Fire { schedule, step, stale, rows } => {
            fire(told, firing(side, *schedule, *step, *stale, rows).await).await
        }
        Operation::NoteEnded => Ok(format!("noted {}", store.note_ended_runs().await?)),
        Operation::Startable { limit } => {
            let mut rows: Vec<String> = Vec::new();
            for row in store.startable_ticks(*limit).await? {
                rows.push(told_tick(side, &row).await);
            }
            rows.sort();
            // Which of many come first is defined only within one schedule.
            let all = u32::try_from(rows.len()).ok() != Some(*limit);
            Ok(if all { format!("{rows:?}") } else { format!("{limit} rows") })
        }
        Operation::Orphaned => {
            let plans = store.orphaned_plans(10).await?;
            let named = plans.iter().map(|(tenant, batch)| format!("{tenant} {}", batch_name(*batch)));
            let mut plans: Vec<_> = named.collect();
            plans.sort();
            Ok(format!("{plans:?}"))
        }
        Operation::Unfire { batch, again } => {
            Ok(format!("given back {}", store.release_tick(batch_id(*batch), "its planner is gone", *again).await?))
        }
        Operation::Backfill { number, .. } if is_known(side, *number).await => Ok("its id is taken".to_owned()),
        Operation::Backfill { number, schedule, ticks, concurrency, newest_first } => {
            let (first, last) = (ticks.iter().min().copied().unwrap_or(0), ticks.iter().max().copied().unwrap_or(0));
            let backfill = NewBackfill {
                id: numbered_backfill(*number),
                tenant: tenant.to_owned(),
                schedule: schedule_name(*schedule),
                concurrency: *concurrency,
                newest_first: *newest_first,
                ..backfilled(first, last, (*concurrency > 1).then(|| "2026g".to_owned()))
            };
            Ok(format!("waiting {}", store.backfill(&backfill).await?))
        }
        Operation::SteerBackfill { number, paused } => {
            Ok(format!("waiting {}", store.control_backfill(tenant, numbered_backfill(*number), *paused).await?))
        }
        other => unreachable!("{other:?} is not about schedules"),
    }
}

/// The ticks of a stretch, found by the rules of that edition.
fn backfilled(first: i64, last: i64, tzdb: Option<String>) -> NewBackfill {
    NewBackfill {
        id: numbered_backfill(0),
        tenant: TENANTS[0].to_owned(),
        schedule: schedule_name(0),
        range: (tick(first), tick(last)),
        concurrency: 1,
        newest_first: false,
        tzdb,
        ticks: (first..=last).map(|number| (tick(number), (tick(number - 1), tick(number)))).collect(),
    }
}

/// Fires, and records the outcome.
pub(crate) async fn fire(told: &mut Told<'_>, firing: Firing) -> Result<String> {
    let report = told.side.store.fire(&[firing]).await?;
    let started: Vec<_> = report.started.iter().map(|(name, at)| format!("{name} {}", when(*at))).collect();
    let dispatched = told.dispatched(&report.dispatched).await;
    Ok(format!("{started:?} written {} lost {} {dispatched}", report.written, report.lost))
}

async fn is_taken(side: &Side, rows: &[Fired]) -> bool {
    are_taken(side, rows.iter().filter_map(|row| row.run.as_ref())).await
}

/// Whether a batch that is to be started exists, or was started before.
pub(crate) async fn are_taken(side: &Side, runs: impl Iterator<Item = &Started>) -> bool {
    let mut taken = Vec::new();
    for name in ledgers() {
        taken.extend(ledger(side, TENANTS[0], &name).await);
    }
    let mut taken: Vec<_> = taken.into_iter().filter_map(|row| row.batch).collect();
    for run in runs {
        let Started::Batch(batch) = run else { continue };
        let id = batch_id(*batch);
        if taken.contains(&id) || side.store.batch_plan(id).await.expect("asked").is_some() {
            return true;
        }
        taken.push(id);
    }
    false
}

pub(crate) async fn ledger(side: &Side, tenant: &str, schedule: &str) -> Vec<TickView> {
    let (tenant, schedule) = (tenant.to_owned(), schedule.to_owned());
    let filter = TickFilter { tenant, schedule, from: None, until: None, limit: 1_000 };
    side.store.ticks(&filter).await.expect("listed")
}

async fn is_known(side: &Side, backfill: usize) -> bool {
    for schedule in 0..SCHEDULES {
        let schedule = schedule_name(usize::try_from(schedule).unwrap_or(0));
        let known = side.store.backfills(TENANTS[0], &schedule).await.expect("listed");
        if known.iter().any(|one| one.id == numbered_backfill(backfill)) {
            return true;
        }
    }
    false
}

async fn save(side: &Side, schedule: usize, enabled: bool, edit: bool, follows: Option<Follows>) -> SaveSchedule {
    let job = JobSpec { kind: "work".to_owned(), ..JobSpec::default() };
    let name = schedule_name(schedule);
    let seen = if edit { seen(side, &name).await } else { None };
    let first = if follows.is_some_and(|follows| follows.ahead) { FAR_AHEAD } else { 0 };
    let decided_at = seen.as_ref().map_or(tick(first), |view| view.decided_at);
    let spec = ScheduleSpec { job: Some(job), ..ScheduleSpec::default() };
    let spec = match follows {
        None => ScheduleSpec { cron: Some("@hourly".to_owned()), ..spec },
        Some(Follows { ending, .. }) => {
            let after = Some(testing::batch().name);
            ScheduleSpec { after, ending: Ending::ALL.get(ending).copied(), ..spec }
        }
    };
    SaveSchedule {
        tenant: TENANTS[0].to_owned(),
        name,
        origin: ScheduleOrigin::Command,
        spec,
        enabled,
        decided_at,
        next_at: follows.is_none().then_some(decided_at + TimeDelta::hours(1)),
        seen: seen.map(|view| (view.version, view.decided_at)),
    }
}

async fn firing(side: &Side, schedule: usize, step: bool, stale: bool, rows: &[Fired]) -> Firing {
    let name = schedule_name(schedule);
    let last = rows.iter().map(|row| row.tick).max().unwrap_or(0);
    let advance = seen(side, &name).await.filter(|_| step).map(|view| Advance {
        version: view.version + i64::from(stale),
        from: view.decided_at,
        to: tick(last),
        next_at: Some(tick(last + 1)),
    });
    Firing { tenant: TENANTS[0].to_owned(), schedule: name, advance, ticks: rows.iter().map(fire_tick).collect() }
}

/// What is started, as the store takes it.
pub(crate) fn run_of(run: &Started) -> Run {
    match run {
        Started::Job(asked) => Run::Job(Box::new(new_job(asked))),
        Started::Batch(batch) => Run::Batch(Box::new(new_batch(*batch, None, 1, false))),
    }
}

fn fire_tick(row: &Fired) -> FireTick {
    let outcome = if row.run.is_some() { TickOutcome::Ran } else { OUTCOMES[1 + row.outcome % 5] };
    let run = row.run.as_ref().map(run_of);
    FireTick {
        tick: tick(row.tick),
        interval: (tick(row.tick - 1), tick(row.tick)),
        cause: TickCause::Tick,
        outcome,
        late_ms: 7,
        ticks: 1,
        reason: None,
        was: row.was.map(|was| OUTCOMES[was % 6]),
        run,
        holder: row.holder.map(worker_id),
        about: None,
        tzdb: row.holder.map(|holder| format!("2026{holder}")),
    }
}

/// Everything that can be seen of schedules, one per line.
pub(crate) async fn look(side: &Side, lines: &mut Vec<String>) {
    let store = &side.store;
    lines.extend(store.schedules(None, None).await.expect("listed").iter().map(told_schedule));
    for (tenant, name) in TENANTS.iter().flat_map(|tenant| ledgers().map(move |name| (tenant, name))) {
        // Which of several batches that one group has ended is followed first is not defined.
        let mut followed = Vec::new();
        for row in ledger(side, tenant, &name).await {
            let told = told_tick(side, &row).await;
            if row.about.is_some() { &mut followed } else { &mut *lines }.push(told);
        }
        followed.sort();
        lines.extend(followed);
    }
    for schedule in 0..SCHEDULES {
        let schedule = schedule_name(usize::try_from(schedule).unwrap_or(0));
        let mut backfills = Vec::new();
        for one in store.backfills(TENANTS[0], &schedule).await.expect("listed") {
            backfills.push(format!(
                "backfill {:?} {schedule} {} {} {} {} {} waiting {} running {} ended {} failed {}",
                number_of_backfill(one.id),
                hour(one.from),
                hour(one.to),
                one.concurrency,
                one.newest_first,
                one.paused,
                one.waiting,
                one.running,
                one.ended,
                one.failed
            ));
        }
        backfills.sort();
        lines.extend(backfills);
    }
}

fn told_schedule(view: &ScheduleView) -> String {
    let ScheduleView { tenant, name, enabled, version, running, buffered, .. } = view;
    let (decided, next) = (hour(view.decided_at), view.next_at.map(hour));
    let follows = (&view.spec.after, view.spec.ending);
    format!(
        "{tenant} {name} {enabled} version {version} {decided} {next:?} {follows:?} running {running} buffered {buffered}"
    )
}

pub(crate) async fn told_tick(side: &Side, row: &TickView) -> String {
    let job = match row.job {
        Some(job) => side.name(job).await,
        None => "none".to_owned(),
    };
    let TickView { tenant, schedule, cause, outcome, late_ms, ticks, tries, active, result, reason, .. } = row;
    let about = row.about.as_ref().map(ToString::to_string);
    format!(
        "{tenant} {schedule} {} {cause} {outcome} {} {} {late_ms} {ticks} tries {tries} {:?} {job} {active} {result:?} {:?} {reason:?} {} {} {:?} {about:?} {:?}",
        when(row.tick),
        when(row.from),
        when(row.to),
        row.batch.map(batch_name),
        row.backfill.and_then(number_of_backfill),
        row.started_at.is_some(),
        row.ended_at.is_some(),
        row.event,
        row.tzdb
    )
}
