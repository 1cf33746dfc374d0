//! Decides which of the due ticks of a schedule run, wait or are skipped. Pure: instants and earlier runs are
//! arguments.

use chrono::TimeDelta;
use gristmill_core::Instant;
use gristmill_core::schedule::missed::MissedDecision;
use gristmill_core::schedule::{Busy, Due, DueTick, ScheduleError, Step, Timetable, tzdb};
use gristmill_store::{Advance, FireTick, ScheduleView, TickCause, TickOutcome};

/// The most due ticks that one decision considers.
const DUE_MAX: usize = 10_000;

/// The most skipped ticks that are recorded one by one; older ones share a row.
const SKIPPED_ROWS_MAX: usize = 500;

/// The decision about a schedule.
#[derive(Debug, Clone, PartialEq)]
pub struct Decision {
    /// Rows of the ledger for ticks that do not start now.
    pub rows: Vec<FireTick>,
    /// Ticks that start a run, in order, after those rows.
    pub runs: Vec<FireTick>,
    /// Whether runs under way are cancelled first.
    pub cancel: bool,
    /// The step of the schedule's clock.
    pub advance: Advance,
}

/// Decides the due ticks of a schedule, at most up to the first `runs_max` that run.
///
/// # Errors
///
/// When the schedule is not valid; it was checked when it was saved.
pub fn decide(view: &ScheduleView, now: Instant, runs_max: usize) -> Result<Decision, ScheduleError> {
    let timetable = Timetable::compile(&view.name, &view.spec)?;
    let due = due(&timetable, view.decided_at, now);
    let fates = view.spec.catch_up().judge(&due, now);
    let mut busy = Busy { running: view.running, buffered: view.buffered };
    let (mut rows, mut runs, mut cancel, mut to) = (Vec::new(), Vec::new(), false, view.decided_at);
    for (due, decision) in due.ticks.iter().zip(fates) {
        let step = match decision {
            MissedDecision::Skip => None,
            MissedDecision::Run => Some(view.spec.overlap().step(busy)),
        };
        if matches!(step, Some(Step::Run | Step::CancelAndRun)) && runs.len() == runs_max {
            break;
        }
        let row = |outcome, reason: Option<&str>| row(&timetable, due, now, outcome, reason);
        match step {
            None => rows.push(row(TickOutcome::SkippedMissed, Some("it was missed, and the policy skips it"))),
            Some(Step::Skip) => rows.push(row(TickOutcome::SkippedOverlap, Some("an earlier run was under way"))),
            Some(Step::Buffer) => {
                busy.buffered += 1;
                rows.push(row(TickOutcome::Buffered, Some("it waits for an earlier run")));
            }
            Some(step @ (Step::Run | Step::CancelAndRun)) => {
                // When several are due at once, the last one continues.
                cancel |= step == Step::CancelAndRun && busy.running > 0;
                busy.running += 1;
                runs.push(row(TickOutcome::Ran, None));
            }
        }
        to = due.tick;
    }
    let next_at = timetable.next(to).map(|tick| timetable.fires_at(tick));
    let advance = Advance { version: view.version, from: view.decided_at, to, next_at };
    // When even newer ones are due, none of these is worth a row of its own.
    let kept = if due.more { 0 } else { SKIPPED_ROWS_MAX };
    Ok(Decision { rows: gathered(rows, kept), runs, cancel, advance })
}

fn due(timetable: &Timetable, after: Instant, now: Instant) -> Due {
    let mut due = Due::default();
    let mut last = after;
    while let Some(tick) = timetable.next(last) {
        let fires_at = timetable.fires_at(tick);
        if fires_at > now {
            break;
        }
        if due.ticks.len() == DUE_MAX {
            due.more = true;
            break;
        }
        due.ticks.push(DueTick { tick, fires_at });
        last = tick;
    }
    due
}

fn row(timetable: &Timetable, due: &DueTick, now: Instant, outcome: TickOutcome, reason: Option<&str>) -> FireTick {
    FireTick {
        tick: due.tick,
        // Ticks skipped by the thousand have no interval recorded, because that would cost a backward search.
        interval: match outcome {
            TickOutcome::SkippedMissed => (due.tick, due.tick),
            _ => timetable.interval(due.tick),
        },
        cause: TickCause::Tick,
        outcome,
        late_ms: (now - due.fires_at).max(TimeDelta::zero()).num_milliseconds(),
        ticks: 1,
        reason: reason.map(str::to_owned),
        was: None,
        run: None,
        holder: None,
        about: None,
        tzdb: Some(tzdb().0.to_owned()),
    }
}

/// Keeps the newest skipped ticks one by one, and merges those before them into one row.
fn gathered(rows: Vec<FireTick>, kept: usize) -> Vec<FireTick> {
    let missed = rows.iter().filter(|row| row.outcome == TickOutcome::SkippedMissed).count();
    let together = missed.saturating_sub(kept);
    if together < 2 {
        return rows;
    }
    let (mut gathered, mut seen) = (Vec::with_capacity(rows.len() - together + 1), 0);
    for row in rows {
        if row.outcome == TickOutcome::SkippedMissed {
            seen += 1;
            if seen < together {
                continue;
            }
            if seen == together {
                gathered.push(FireTick { ticks: together as u64, ..row });
                continue;
            }
        }
        gathered.push(row);
    }
    gathered
}
