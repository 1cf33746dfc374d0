//! Schedules, the ledger of their ticks, and backfills.

use std::cmp::Reverse;
use std::collections::{BTreeSet, HashSet};

use async_trait::async_trait;
use gristmill_core::Instant;
use gristmill_core::id::{BatchId, WorkerId};
use uuid::Uuid;

use super::state::{State, WorkerState};
use super::transition::{Transition, report};
use super::{ReferenceStore, create, insert};
use crate::backfills::{check_backfill, no_backfill};
use crate::check;
use crate::error::Result;
use crate::schedules::{changed_meanwhile, check_save};
use crate::sql::ticks::EVENTS_MAX;
use crate::ticks::{self, check_firings};
use crate::{
    BackfillView, Backfills, FIRE_TRIES_MAX, FireReport, FireTick, Firing, LEDGERS_MAX, LedgerTally, NewBackfill, Run,
    SaveSchedule, ScheduleView, Schedules, TALLIED_MAX, TickCause, TickFilter, TickOutcome, TickView, Ticks,
};

/// A row of the ledger, and which process planned its run.
#[derive(Debug, Clone)]
pub(super) struct Tick {
    pub(super) view: TickView,
    pub(super) holder: Option<WorkerId>,
}

/// A backfill and its tenant.
#[derive(Debug, Clone)]
pub(super) struct Backfill {
    pub(super) tenant: String,
    pub(super) view: BackfillView,
}

#[async_trait]
impl Schedules for ReferenceStore {
    async fn save_schedule(&self, save: &SaveSchedule) -> Result<ScheduleView> {
        check_save(save)?;
        let mut t = Transition::begin(self);
        let key = (save.tenant.clone(), save.name.clone());
        let known = t.state.schedules.get(&key);
        if known.map(|known| (known.version, known.decided_at)) != save.seen {
            return Err(changed_meanwhile(&save.name));
        }
        let view = ScheduleView {
            tenant: save.tenant.clone(),
            name: save.name.clone(),
            origin: save.origin,
            spec: save.spec.clone(),
            enabled: save.enabled,
            version: known.map_or(1, |known| known.version + 1),
            decided_at: save.decided_at,
            next_at: save.next_at,
            created_at: known.map_or(t.now, |known| known.created_at),
            updated_at: t.now,
            running: 0,
            buffered: 0,
        };
        t.state.schedules.insert(key, view.clone());
        let view = counted(&t.state, &view);
        t.commit()?;
        Ok(view)
    }

    async fn remove_schedule(&self, tenant: &str, name: &str) -> Result<bool> {
        let mut t = Transition::begin(self);
        let gone = t.state.schedules.remove(&(tenant.to_owned(), name.to_owned())).is_some();
        t.commit()?;
        Ok(gone)
    }

    async fn schedules(&self, tenant: Option<&str>, name: Option<&str>) -> Result<Vec<ScheduleView>> {
        let t = Transition::begin(self);
        let asked = |view: &&ScheduleView| {
            tenant.is_none_or(|tenant| view.tenant == tenant) && name.is_none_or(|name| view.name == name)
        };
        Ok(t.state.schedules.values().filter(asked).map(|view| counted(&t.state, view)).collect())
    }

    async fn due_schedules(&self, now: Instant, limit: u32) -> Result<Vec<ScheduleView>> {
        let t = Transition::begin(self);
        let due = |view: &&ScheduleView| view.enabled && view.next_at.is_some_and(|next| next <= now);
        let mut found: Vec<ScheduleView> =
            t.state.schedules.values().filter(due).map(|view| counted(&t.state, view)).collect();
        found.sort_by(|one, other| {
            (one.next_at, &one.tenant, &one.name).cmp(&(other.next_at, &other.tenant, &other.name))
        });
        found.truncate(usize::try_from(limit).unwrap_or(usize::MAX));
        Ok(found)
    }
}

/// The schedule with what it has under way.
fn counted(state: &State, view: &ScheduleView) -> ScheduleView {
    let its = state.ticks.values().filter(|tick| tick.view.tenant == view.tenant && tick.view.schedule == view.name);
    let (mut running, mut buffered) = (0, 0);
    for tick in its {
        running += u64::from(tick.view.active && tick.view.cause != TickCause::Backfill);
        buffered += u64::from(tick.view.outcome == TickOutcome::Buffered);
    }
    ScheduleView { running, buffered, ..view.clone() }
}

#[async_trait]
impl Ticks for ReferenceStore {
    async fn fire(&self, firings: &[Firing]) -> Result<FireReport> {
        check_firings(firings)?;
        let mut t = Transition::begin(self);
        let held: Vec<&Firing> = firings.iter().filter(|firing| advance(&mut t.state, firing)).collect();
        let mut written = HashSet::new();
        for firing in &held {
            for tick in &firing.ticks {
                if write(&mut t, firing, tick) {
                    written.insert((firing.tenant.clone(), firing.schedule.clone(), tick.tick.timestamp_micros()));
                }
            }
        }
        for (tenant, kind, subject, data) in ticks::reported(&held, &written) {
            report(&mut t, &tenant, kind, subject, data);
        }
        let lost = (firings.len() - held.len()) as u64;
        let mut report = FireReport { written: written.len() as u64, lost, ..FireReport::default() };
        let mut jobs = Vec::new();
        for (firing, tick) in ticks::runs(&held, &written) {
            report.started.push((firing.schedule.clone(), tick.tick));
            match &tick.run {
                Some(Run::Batch(batch)) => {
                    create::insert_batch(&mut t, batch)?;
                }
                Some(Run::Job(job)) => jobs.push(job.as_ref().clone()),
                None => {}
            }
        }
        insert::new_jobs(&mut t, &jobs)?;
        report.dispatched = t.commit()?.dispatched;
        Ok(report)
    }

    async fn note_ended_runs(&self) -> Result<u64> {
        let mut t = Transition::begin(self);
        let (now, mut noted) = (t.now, 0);
        let State { ticks, batches, jobs, .. } = &mut t.state;
        for tick in ticks.values_mut().map(|tick| &mut tick.view).filter(|tick| tick.active) {
            let batch =
                tick.batch.and_then(|id| batches.get(&id)).map(|batch| (batch.state.is_final(), batch.state.as_str()));
            let job = tick.job.and_then(|id| jobs.get(&id)).map(|job| (job.state.is_final(), job.state.as_str()));
            let (ended, word) = batch.or(job).unwrap_or((true, "gone"));
            if ended {
                tick.active = false;
                tick.ended_at = Some(now);
                tick.result = Some(word.to_owned());
                noted += 1;
            }
        }
        t.commit()?;
        Ok(noted)
    }

    async fn startable_ticks(&self, limit: u32) -> Result<Vec<TickView>> {
        let t = Transition::begin(self);
        let ticks = || t.state.ticks.values().map(|tick| &tick.view);
        let same = |one: &TickView, other: &TickView| one.tenant == other.tenant && one.schedule == other.schedule;
        let mut found = Vec::new();
        for view in ticks().filter(|view| view.outcome == TickOutcome::Buffered) {
            let runs = ticks().any(|other| same(view, other) && other.active && other.cause != TickCause::Backfill);
            let first = ticks()
                .filter(|other| same(view, other) && other.outcome == TickOutcome::Buffered)
                .all(|other| view.tick <= other.tick);
            if !runs && first {
                found.push(view.clone());
            }
        }
        found.extend(ticks().filter(|view| view.outcome == TickOutcome::Waiting && view.backfill.is_none()).cloned());
        for backfill in t.state.backfills.values().filter(|backfill| !backfill.view.paused) {
            let its = || ticks().filter(|view| view.backfill == Some(backfill.view.id));
            let running = its().filter(|view| view.active).count();
            let room = usize::try_from(backfill.view.concurrency).unwrap_or(usize::MAX).saturating_sub(running);
            let mut waiting: Vec<TickView> =
                its().filter(|view| view.outcome == TickOutcome::Waiting).cloned().collect();
            if backfill.view.newest_first {
                waiting.sort_by_key(|view| Reverse(view.tick));
            }
            found.extend(waiting.into_iter().take(room));
        }
        found.truncate(usize::try_from(limit).unwrap_or(usize::MAX));
        Ok(found)
    }

    async fn orphaned_plans(&self, limit: u32) -> Result<Vec<(String, BatchId)>> {
        use gristmill_core::batch::BatchState;
        let t = Transition::begin(self);
        let alive = |id: &WorkerId| {
            let worker = t.state.workers.get(id);
            worker.is_some_and(|worker| worker.state == WorkerState::Alive && worker.lease_until >= t.now)
        };
        let mut found: Vec<(String, BatchId)> = t
            .state
            .ticks
            .values()
            .filter(|tick| tick.view.active && tick.holder.is_some_and(|holder| !alive(&holder)))
            .filter_map(|tick| tick.view.batch.and_then(|id| t.state.batches.get(&id)))
            .filter(|batch| batch.state == BatchState::Open)
            .map(|batch| (batch.tenant.clone(), batch.id))
            .collect();
        found.sort_by_key(|(_, id)| *id);
        found.truncate(usize::try_from(limit).unwrap_or(usize::MAX));
        Ok(found)
    }

    async fn release_tick(&self, batch: BatchId, reason: &str, again: bool) -> Result<bool> {
        let mut t = Transition::begin(self);
        let its = |view: &&mut TickView| view.batch == Some(batch) && view.outcome == TickOutcome::Ran;
        let Some(view) = t.state.ticks.values_mut().map(|tick| &mut tick.view).find(its) else { return Ok(false) };
        let spent = i64::from(view.tries) >= i64::from(FIRE_TRIES_MAX) || !again;
        view.outcome = if spent { TickOutcome::Failed } else { TickOutcome::Waiting };
        (view.batch, view.active) = (None, false);
        view.reason = Some(check::plain(reason, check::REASON_CHARS_MAX));
        t.commit()?;
        Ok(true)
    }

    async fn ticks(&self, filter: &TickFilter) -> Result<Vec<TickView>> {
        let t = Transition::begin(self);
        let asked = |view: &&TickView| {
            view.tenant == filter.tenant
                && view.schedule == filter.schedule
                && filter.from.is_none_or(|from| view.tick >= from)
                && filter.until.is_none_or(|until| view.tick <= until)
        };
        let limit = usize::try_from(filter.limit.clamp(1, 10_000)).unwrap_or(usize::MAX);
        Ok(t.state.ticks.values().rev().map(|tick| &tick.view).filter(asked).take(limit).cloned().collect())
    }

    async fn events(&self, tenant: &str, schedule: &str, events: &[String]) -> Result<Vec<TickView>> {
        check::at_most(events.len(), EVENTS_MAX, "events")?;
        let t = Transition::begin(self);
        let asked = |view: &&TickView| {
            let named = view.event.as_ref().is_some_and(|event| events.contains(event));
            view.tenant == tenant && view.schedule == schedule && named
        };
        Ok(t.state.ticks.values().map(|tick| &tick.view).filter(asked).cloned().collect())
    }

    async fn newest_ticks(&self, tenant: &str, schedules: &[String]) -> Result<Vec<TickView>> {
        check::at_most(schedules.len(), LEDGERS_MAX, "ledgers")?;
        let t = Transition::begin(self);
        let newest = |name: &String| newest_first(&t.state, tenant, name).next().cloned();
        Ok(schedules.iter().collect::<BTreeSet<_>>().into_iter().filter_map(newest).collect())
    }

    async fn tallies(&self, tenant: &str, schedules: &[String], newest: u32) -> Result<Vec<LedgerTally>> {
        check::at_most(schedules.len(), LEDGERS_MAX, "ledgers")?;
        let t = Transition::begin(self);
        let most = usize::try_from(newest.clamp(1, TALLIED_MAX)).unwrap_or(usize::MAX);
        let tally = |name: &String| {
            let rows: Vec<&TickView> = newest_first(&t.state, tenant, name).take(most).collect();
            let count = |what: &dyn Fn(&TickView) -> bool| rows.iter().filter(|row| what(row)).count() as u64;
            LedgerTally {
                schedule: name.clone(),
                last: rows.first().map(|row| row.tick),
                rows: rows.len() as u64,
                running: count(&|row| row.active),
                waiting: count(&|row| matches!(row.outcome, TickOutcome::Buffered | TickOutcome::Waiting)),
                failed: count(&|row| row.outcome == TickOutcome::Failed),
            }
        };
        Ok(schedules.iter().collect::<BTreeSet<_>>().into_iter().map(tally).collect())
    }
}

/// The rows of a ledger, newest first.
fn newest_first<'s>(state: &'s State, tenant: &'s str, schedule: &'s str) -> impl Iterator<Item = &'s TickView> {
    let own = move |view: &&TickView| view.tenant == tenant && view.schedule == schedule;
    state.ticks.values().rev().map(|tick| &tick.view).filter(own)
}

/// Advances a schedule's clock, if no other scheduler has advanced it.
fn advance(state: &mut State, firing: &Firing) -> bool {
    let Some(advance) = firing.advance else { return true };
    let key = (firing.tenant.clone(), firing.schedule.clone());
    let Some(view) = state.schedules.get_mut(&key) else { return false };
    if !view.enabled || view.version != advance.version || view.decided_at != advance.from {
        return false;
    }
    (view.decided_at, view.next_at) = (advance.to, advance.next_at);
    true
}

/// Writes a row of the ledger, if it finds there what it expects.
fn write(t: &mut Transition<'_>, firing: &Firing, tick: &FireTick) -> bool {
    let now = t.now;
    let key = (firing.tenant.clone(), firing.schedule.clone(), tick.tick);
    let known = t.state.ticks.get(&key).map(|known| known.view.clone());
    if known.as_ref().map(|known| known.outcome) != tick.was {
        return false;
    }
    let ran = tick.outcome == TickOutcome::Ran;
    let (batch, job) = match &tick.run {
        Some(Run::Batch(batch)) => (Some(batch.id), None),
        Some(Run::Job(job)) => (None, Some(job.id)),
        None => (None, None),
    };
    let fresh = TickView {
        tenant: firing.tenant.clone(),
        schedule: firing.schedule.clone(),
        tick: tick.tick,
        cause: tick.cause,
        outcome: tick.outcome,
        from: tick.interval.0,
        to: tick.interval.1,
        late_ms: tick.late_ms,
        ticks: tick.ticks.max(1),
        tries: u32::from(ran),
        batch,
        job,
        active: ran,
        result: None,
        backfill: None,
        reason: tick.reason.as_deref().map(|reason| check::plain(reason, check::REASON_CHARS_MAX)),
        decided_at: now,
        tzdb: tick.tzdb.as_deref().map(|tzdb| check::plain(tzdb, check::EDITION_CHARS_MAX)),
        started_at: ran.then_some(now),
        ended_at: None,
        event: None,
        about: None,
    };
    let view = match known {
        None => fresh,
        Some(known) => TickView {
            cause: if known.cause == TickCause::Backfill { known.cause } else { tick.cause },
            from: known.from,
            to: known.to,
            ticks: known.ticks,
            tries: known.tries + u32::from(ran),
            backfill: known.backfill,
            decided_at: known.decided_at,
            tzdb: known.tzdb,
            started_at: if ran { Some(now) } else { known.started_at },
            event: known.event,
            about: known.about,
            ..fresh
        },
    };
    t.state.ticks.insert(key, Tick { view, holder: tick.holder });
    true
}

#[async_trait]
impl Backfills for ReferenceStore {
    async fn backfill(&self, asked: &NewBackfill) -> Result<u64> {
        check_backfill(asked)?;
        let mut t = Transition::begin(self);
        let view = BackfillView {
            id: asked.id,
            schedule: asked.schedule.clone(),
            from: asked.range.0,
            to: asked.range.1,
            concurrency: asked.concurrency,
            newest_first: asked.newest_first,
            paused: false,
            waiting: 0,
            running: 0,
            ended: 0,
            failed: 0,
            created_at: t.now,
        };
        t.state.backfills.insert(asked.id, Backfill { tenant: asked.tenant.clone(), view });
        let mut waiting = 0;
        for (tick, interval) in &asked.ticks {
            let key = (asked.tenant.clone(), asked.schedule.clone(), *tick);
            let made_up = [TickOutcome::SkippedMissed, TickOutcome::SkippedOverlap, TickOutcome::Failed];
            let known = t.state.ticks.get(&key).map(|known| known.view.clone());
            if known.as_ref().is_some_and(|known| !made_up.contains(&known.outcome)) {
                continue;
            }
            let (from, to) = known.map_or(*interval, |known| (known.from, known.to));
            let firing = Firing { tenant: key.0.clone(), schedule: key.1.clone(), advance: None, ticks: Vec::new() };
            let row = FireTick {
                tick: *tick,
                interval: (from, to),
                cause: TickCause::Backfill,
                outcome: TickOutcome::Waiting,
                late_ms: 0,
                ticks: 1,
                reason: None,
                was: None,
                run: None,
                holder: None,
                about: None,
                tzdb: asked.tzdb.clone(),
            };
            t.state.ticks.remove(&key);
            write(&mut t, &firing, &row);
            if let Some(tick) = t.state.ticks.get_mut(&key) {
                tick.view.backfill = Some(asked.id);
            }
            waiting += 1;
        }
        t.commit()?;
        Ok(waiting)
    }

    async fn control_backfill(&self, tenant: &str, id: Uuid, paused: Option<bool>) -> Result<u64> {
        let mut t = Transition::begin(self);
        let found = t.state.backfills.get_mut(&id).filter(|backfill| backfill.tenant == tenant);
        found.ok_or_else(|| no_backfill(id))?.view.paused = paused.unwrap_or(true);
        let waits = |view: &TickView| view.backfill == Some(id) && view.outcome == TickOutcome::Waiting;
        let waiting = t.state.ticks.values().filter(|tick| waits(&tick.view)).count() as u64;
        if paused.is_none() {
            t.state.ticks.retain(|_, tick| !waits(&tick.view));
        }
        t.commit()?;
        Ok(waiting)
    }

    async fn backfills(&self, tenant: &str, schedule: &str) -> Result<Vec<BackfillView>> {
        let t = Transition::begin(self);
        let asked = |backfill: &&Backfill| backfill.tenant == tenant && backfill.view.schedule == schedule;
        let counted = |backfill: &Backfill| {
            let its = |what: fn(&TickView) -> bool| {
                let mine = t.state.ticks.values().filter(|tick| tick.view.backfill == Some(backfill.view.id));
                mine.filter(|tick| what(&tick.view)).count() as u64
            };
            BackfillView {
                waiting: its(|view| matches!(view.outcome, TickOutcome::Waiting | TickOutcome::Buffered)),
                running: its(|view| view.active),
                ended: its(|view| view.outcome == TickOutcome::Ran && !view.active),
                failed: its(|view| view.outcome == TickOutcome::Failed),
                ..backfill.view.clone()
            }
        };
        Ok(t.state.backfills.values().rev().filter(asked).take(100).map(counted).collect())
    }
}
