//! One pass over everything that is due. Safe to run twice, and in two processes at once.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use gristmill_core::Instant;
use gristmill_core::id::WorkerId;
use gristmill_core::schedule::{Overlap, Target};
use gristmill_service::dispatcher::Dispatcher;
use gristmill_service::start::StartedRun;
use gristmill_service::{Actor, Order, Service};
use gristmill_store::{
    FireTick, Firing, GROUP_JOBS_MAX, Result, Run, ScheduleView, StoreError, StoreHandle, TickCause, TickFilter,
    TickOutcome,
};
use tokio::task::JoinSet;

use super::decide::{Decision, decide};
use super::planners::{Planners, source_of};
use super::{RunContext, sync};

/// The most schedules that one pass decides.
const SCHEDULES_MAX: u32 = 2_000;

/// The most jobs of one schedule that one pass starts.
const JOBS_MAX: usize = 100;

/// The most waiting ticks that one pass starts.
pub(super) const WAITING_MAX: u32 = 500;

/// The most ledger rows in one transaction; a decision is never split, and none has more rows than this.
const ROWS_MAX: usize = 1_000;

/// Which tick of which schedule.
pub(super) type Key = (String, String, Instant);

/// Decides ticks and starts runs, again and again.
#[derive(Debug)]
pub struct ScheduleRunner {
    pub(super) store: StoreHandle,
    service: Service,
    pub(super) run_context: RunContext,
    planners: Planners,
    planning: JoinSet<(Key, Result<StartedRun>)>,
    /// What is being planned: one scheduler never plans a tick twice at once.
    pub(super) in_hand: HashSet<Key>,
    /// Schedules, by tenant and name, whose next run is being planned. Until it is written down the schedule's clock
    /// stands still, so that the plan of any later tick would be refused.
    deciding: HashMap<(String, String), Instant>,
    /// Schedules whose newest run replaces those before it, by tenant and name.
    superseding: HashSet<(String, String)>,
    /// Whether this runner has looked for what a scheduler that died has left: its first pass does.
    looked_back: bool,
}

/// What a pass did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct PassReport {
    /// Schedules that had a tick to decide, or a tick that waited for its turn.
    pub schedules: u64,
    /// Jobs started.
    pub jobs: u64,
    /// Batches whose planning began.
    pub batches: u64,
    /// Ticks skipped, or made to wait.
    pub others: u64,
}

impl ScheduleRunner {
    /// A runner that has done nothing yet.
    pub fn new(store: StoreHandle, dispatcher: Dispatcher, run_context: RunContext) -> Self {
        let planners = Planners::default();
        let (planning, in_hand) = (JoinSet::new(), HashSet::new());
        let service = Service::new(Arc::clone(&store), dispatcher);
        Self {
            store,
            service,
            run_context,
            planners,
            planning,
            in_hand,
            deciding: HashMap::new(),
            superseding: HashSet::new(),
            looked_back: false,
        }
    }

    /// What runs are created with.
    pub fn run_context(&self) -> &RunContext {
        &self.run_context
    }

    /// Makes the store's schedules match the configuration.
    ///
    /// # Errors
    ///
    /// Store errors.
    pub async fn sync(&self, now: Instant) -> Result<sync::SyncReport> {
        let snapshot = self.run_context.snapshot.borrow().clone();
        sync::sync(&*self.store, &self.run_context.tenant, &snapshot.schedules, now).await
    }

    /// Notes which runs have ended, decides what is due at `now`, and starts what waited for its turn. Jobs are started
    /// when this returns; batches are planned in the background, see [`ScheduleRunner::planned`].
    ///
    /// # Errors
    ///
    /// Store errors. What was not decided is decided by the next pass.
    pub async fn run_once(&mut self, now: Instant, who: WorkerId) -> Result<PassReport> {
        self.reap();
        self.store.note_ended_runs().await?;
        self.give_back_orphans().await?;
        let mut report = PassReport::default();
        let due = self.store.due_schedules(now, SCHEDULES_MAX).await?;
        report.schedules = due.len() as u64;
        let mut firings = Vec::new();
        for view in &due {
            if let Some(firing) = self.decided(view, now, who, &mut report).await? {
                firings.push(firing);
            }
        }
        self.fire(firings, &mut report).await?;
        self.start_waiting(who, &mut report).await?;
        self.cancel_superseded().await?;
        Ok(report)
    }

    /// Waits until everything under planning is planned, and returns how that ended.
    ///
    /// # Errors
    ///
    /// The first error of the store.
    pub async fn planned(&mut self) -> Result<Vec<StartedRun>> {
        let mut ended = Vec::new();
        while let Some(joined) = self.planning.join_next().await {
            let Ok((key, started)) = joined else { continue };
            self.put_down(&key);
            ended.push(started?);
        }
        self.in_hand.clear();
        self.deciding.clear();
        Ok(ended)
    }

    fn reap(&mut self) {
        while let Some(joined) = self.planning.try_join_next() {
            match joined {
                Ok((key, result)) => {
                    if let Err(error) = result {
                        tracing::warn!(schedule = key.1, %error, "a run was not started yet, it is tried again");
                    }
                    self.put_down(&key);
                }
                // Which one it was is unknown. Those still in hand are safe: the ledger guards their ticks.
                Err(error) => {
                    tracing::error!(%error, "a planner broke off");
                    self.in_hand.clear();
                    self.deciding.clear();
                }
            }
        }
    }

    /// A tick is planned, or could not be.
    fn put_down(&mut self, key: &Key) {
        self.in_hand.remove(key);
        let schedule = (key.0.clone(), key.1.clone());
        if self.deciding.get(&schedule) == Some(&key.2) {
            self.deciding.remove(&schedule);
        }
    }

    /// Restarts the runs whose planner died.
    async fn give_back_orphans(&self) -> Result<()> {
        for (tenant, batch) in self.store.orphaned_plans(WAITING_MAX).await? {
            let reason = "its planner was gone before all its chunks were there";
            tracing::warn!(batch.id = %batch, reason, "the tick of a schedule is started anew");
            self.store.release_tick(batch, reason, true).await?;
            self.service.take_back(&Order::new(tenant, Actor::Duty("tick")).because(reason), batch).await;
        }
        Ok(())
    }

    /// Decides one schedule, and returns what may be written at once. Planning a batch begins here.
    async fn decided(
        &mut self,
        view: &ScheduleView,
        now: Instant,
        who: WorkerId,
        report: &mut PassReport,
    ) -> Result<Option<Firing>> {
        if self.deciding.contains_key(&(view.tenant.clone(), view.name.clone())) {
            return Ok(None);
        }
        let batch = matches!(view.spec.target(), Ok(Target::Batch(_)));
        let runs_max = if batch { 1 } else { JOBS_MAX };
        let Decision { mut rows, runs, cancel, advance } = match decide(view, now, runs_max) {
            Ok(decision) => decision,
            Err(error) => {
                tracing::debug!(schedule = view.name, %error, "a schedule cannot be read");
                return Ok(None);
            }
        };
        report.others += rows.len() as u64;
        if cancel {
            self.supersede(view);
        }
        for tick in runs {
            rows.push(if batch { tick } else { self.job_of(view, tick) });
        }
        for row in &mut rows {
            row.holder = Some(who);
        }
        let starts_batch = batch && rows.last().is_some_and(|row| row.outcome == TickOutcome::Ran);
        let firing =
            Firing { tenant: view.tenant.clone(), schedule: view.name.clone(), advance: Some(advance), ticks: rows };
        if starts_batch {
            self.plan(view.spec.clone(), firing, report);
            return Ok(None);
        }
        Ok(Some(firing))
    }

    pub(super) fn job_of(&self, view: &ScheduleView, tick: FireTick) -> FireTick {
        match self.run_context.job(&view.tenant, &view.name, &view.spec, &tick) {
            Ok(job) => FireTick { run: Some(Run::Job(Box::new(job))), ..tick },
            Err(error) => {
                let reason = error.to_string();
                tracing::warn!(schedule = view.name, "a run could not be started; `gristmill schedule show` says why");
                tracing::debug!(schedule = view.name, reason, "why");
                FireTick { outcome: TickOutcome::Failed, reason: Some(reason), ..tick }
            }
        }
    }

    /// Plans the batch of the firing's last tick, in the background.
    pub(super) fn plan(
        &mut self,
        spec: gristmill_core::schedule::ScheduleSpec,
        firing: Firing,
        report: &mut PassReport,
    ) {
        let Some(tick) = firing.ticks.last().map(|row| row.tick) else { return };
        let key = (firing.tenant.clone(), firing.schedule.clone(), tick);
        if !self.in_hand.insert(key.clone()) {
            return;
        }
        if firing.advance.is_some() {
            self.deciding.insert((key.0.clone(), key.1.clone()), tick);
        }
        report.batches += 1;
        let turn = self.planners.turn(source_of(&self.run_context, &spec));
        let (service, run_context) = (self.service.clone(), self.run_context.clone());
        let order = Order::new(firing.tenant.clone(), actor(&firing.schedule));
        self.planning.spawn(async move {
            let _turn = turn.await;
            let started = service.start_batch_of(&order, &run_context, &spec, firing).await;
            (key, started)
        });
    }

    /// Writes decisions in groups. A decision that the store refuses does not hold up the others.
    pub(super) async fn fire(&self, firings: Vec<Firing>, report: &mut PassReport) -> Result<()> {
        let (mut group, mut rows) = (Vec::new(), 0);
        for firing in firings {
            if rows + firing.ticks.len() > ROWS_MAX.min(GROUP_JOBS_MAX) && !group.is_empty() {
                self.fire_group(std::mem::take(&mut group), report).await?;
                rows = 0;
            }
            rows += firing.ticks.len();
            group.push(firing);
        }
        if group.is_empty() { Ok(()) } else { self.fire_group(group, report).await }
    }

    async fn fire_group(&self, group: Vec<Firing>, report: &mut PassReport) -> Result<()> {
        match self.service.fire(&group).await {
            Ok(fired) => {
                report.jobs += fired.started.len() as u64;
                Ok(())
            }
            Err(StoreError::Invalid(_)) if group.len() > 1 => {
                for firing in group {
                    Box::pin(self.fire_group(vec![firing], report)).await?;
                }
                Ok(())
            }
            Err(StoreError::Invalid(reason)) => {
                for firing in group {
                    tracing::warn!(schedule = firing.schedule, "a run was refused; `gristmill schedule show` says why");
                    tracing::debug!(schedule = firing.schedule, reason, "why");
                    self.service.fire(&[refused(firing, &reason)]).await?;
                }
                Ok(())
            }
            Err(error) => Err(error),
        }
    }

    /// From the next run of the schedule on, earlier runs are cancelled.
    pub(super) fn supersede(&mut self, view: &ScheduleView) {
        self.superseding.insert((view.tenant.clone(), view.name.clone()));
    }

    /// Cancels the runs that the newest run of a schedule replaces, but only once that run is in the ledger: a source
    /// that cannot be opened costs the run before it nothing. A scheduler that has stalled and decides once more
    /// cancels nothing of its successor's, because the newest run always stays.
    async fn cancel_superseded(&mut self) -> Result<()> {
        if !self.looked_back {
            let left = |view: &ScheduleView| view.spec.overlap() == Overlap::CancelRunning && view.running > 1;
            let views = self.store.schedules(None, None).await?;
            self.superseding.extend(views.into_iter().filter(left).map(|view| (view.tenant, view.name)));
            self.looked_back = true;
        }
        for (tenant, name) in self.superseding.clone() {
            let planned = self.in_hand.iter().any(|(of, schedule, _)| *of == tenant && *schedule == name);
            self.cancel_all_but_newest(&tenant, &name).await?;
            if !planned {
                self.superseding.remove(&(tenant, name));
            }
        }
        Ok(())
    }

    async fn cancel_all_but_newest(&self, tenant: &str, name: &str) -> Result<()> {
        let filter =
            TickFilter { tenant: tenant.to_owned(), schedule: name.to_owned(), from: None, until: None, limit: 1_000 };
        let reason = "the next tick of its schedule came, whose overlap is cancel_running";
        let order = Order::new(tenant, actor(name)).because(reason);
        let mut active = self.store.ticks(&filter).await?;
        active.retain(|row| row.active && row.cause != TickCause::Backfill);
        active.sort_by_key(|row| std::cmp::Reverse(row.tick));
        for row in active.iter().skip(1) {
            let cancelled = match (row.batch, row.job) {
                (Some(batch), _) => self.service.cancel_batch(&order, batch).await,
                (None, Some(job)) => self.service.cancel_job(&order, job).await,
                (None, None) => continue,
            };
            match cancelled {
                // It has ended by itself meanwhile, or is gone.
                Ok(_) | Err(StoreError::Conflict(_) | StoreError::NotFound(_)) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

/// The actor that starts the runs of a ledger: `hook/NAME` and `watch/NAME` name it themselves.
fn actor(ledger: &str) -> Actor {
    Actor::Trigger(if ledger.contains('/') { ledger.to_owned() } else { format!("schedule/{ledger}") })
}

/// The same decision with its runs failed.
fn refused(mut firing: Firing, reason: &str) -> Firing {
    for tick in firing.ticks.iter_mut().filter(|tick| tick.run.is_some()) {
        tick.run = None;
        tick.outcome = TickOutcome::Failed;
        tick.reason = Some(reason.to_owned());
    }
    firing
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::path::PathBuf;
    use std::time::Duration;

    use chrono::TimeDelta;
    use gristmill_core::duration::Span;
    use gristmill_core::id::DEFAULT_TENANT;
    use gristmill_core::schedule::ScheduleSpec;
    use gristmill_jobs::RegistryOptions;
    use gristmill_jobs::pool::ItemPool;
    use gristmill_jobs::process::Processors;
    use gristmill_service::start::ConfigSnapshot;
    use gristmill_store::testing::TestStore;
    use gristmill_store::{SaveSchedule, ScheduleOrigin};
    use tokio::sync::watch;
    use uuid::Uuid;

    use super::super::planners::OF_ONE_SOURCE;
    use super::*;

    fn run_context() -> RunContext {
        let snapshot = ConfigSnapshot { batches: BTreeMap::new(), ..ConfigSnapshot::default() };
        let pool = ItemPool::new(1).expect("threads");
        RunContext {
            tenant: DEFAULT_TENANT.to_owned(),
            snapshot: watch::channel(Arc::new(snapshot)).1,
            base_dir: PathBuf::new(),
            spool_dir: PathBuf::new(),
            spool_bytes_max: 0,
            kinds: RegistryOptions { pool, processors: Processors::default() },
            job_defaults: Arc::new(|_| ()),
        }
    }

    async fn every_minute(store: &TestStore, from: Instant) {
        let spec = ScheduleSpec {
            every: Some(Span(Duration::from_secs(60))),
            batch: Some("slow".to_owned()),
            ..ScheduleSpec::default()
        };
        let save = SaveSchedule {
            tenant: DEFAULT_TENANT.to_owned(),
            name: "slow".to_owned(),
            origin: ScheduleOrigin::Command,
            spec,
            enabled: true,
            decided_at: from,
            next_at: Some(from + TimeDelta::minutes(1)),
            seen: None,
        };
        store.save_schedule(&save).await.expect("saved");
    }

    /// Its source takes longer than its interval: no planner comes to an end here.
    #[tokio::test]
    async fn while_a_run_is_being_planned_the_next_tick_begins_no_second_plan() {
        let store = TestStore::sqlite(false).await;
        let zero: Instant = "2026-07-01T00:00:00Z".parse().expect("an instant");
        every_minute(&store, zero).await;
        let broker = gristmill_broker::Broker::connect(&gristmill_broker::Settings::default()).await.expect("a broker");
        let dispatcher = Dispatcher::new(store.handle(), broker, 1_000);
        let mut runner = ScheduleRunner::new(store.handle(), dispatcher, run_context());
        let mut turns = Vec::new();
        for _ in 0..OF_ONE_SOURCE {
            turns.push(runner.planners.turn("batch slow".to_owned()).await);
        }
        let who = WorkerId(Uuid::now_v7());
        let mut begun = Vec::new();
        for minute in 1..=3 {
            let report = runner.run_once(zero + TimeDelta::minutes(minute), who).await.expect("a pass");
            begun.push(report.batches);
        }
        assert_eq!(begun, [1, 0, 0]);
        drop(turns);
        // There is no such batch: the run fails, that is written down, and the schedule goes on.
        runner.planned().await.expect("planned");
        let report = runner.run_once(zero + TimeDelta::minutes(3), who).await.expect("a pass");
        assert_eq!(report.batches, 1);
    }
}
