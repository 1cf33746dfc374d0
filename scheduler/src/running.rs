//! The loop: duties on timers and on the heartbeat, by whoever leads.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use gristmill_broker::BrokerError;
use gristmill_core::id::WorkerId;
use gristmill_service::dispatcher::Dispatcher;
use gristmill_service::failure_budget::FailureBudgets;
use gristmill_store::{NewWorker, Result, StoreError, StoreHandle};
use tokio::sync::watch;
use tokio::time::{Instant, MissedTickBehavior};
use tokio_cron_scheduler::JobSchedulerError;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::heartbeat::{Beats, Heartbeat};
use crate::late::{late, spools};
use crate::limits;
use crate::outbox_relay::OutboxRelay;
use crate::plan::{STALLED_AFTER, resume};
use crate::probe::{LOST_AFTER, probe};
use crate::promote::promote;
use crate::reconcile::reconcile;
use crate::rescue::rescue;
use crate::returned::returned;
use crate::schedules::{RunContext, ScheduleRunner};
use crate::settings::Settings;
use crate::watch::Watcher;

/// The name of the leadership in the store.
const LEADERSHIP: &str = "scheduler";

/// How long leadership lasts without being renewed, which happens every second. Short, because
/// nothing but double work depends on it.
const LEADS_FOR: Duration = Duration::from_secs(5);

/// How long the scheduler's own row counts as alive without a beat.
const LEASE: Duration = Duration::from_secs(15);

/// How long a stop waits for batches that are being planned.
const PLANNING_ENDS: Duration = Duration::from_secs(20);

/// How often watched folders are looked at.
const WATCH_EVERY: Duration = Duration::from_secs(1);

/// The most returned messages that are here and not dealt with.
const RETURNED_PREFETCH: u16 = 100;

/// What a scheduler is made of.
#[derive(Debug, Clone)]
pub struct SchedulerOptions {
    /// The truth.
    pub store: StoreHandle,
    /// The road over the broker. Whoever connected the broker closes it, after the scheduler.
    pub dispatcher: Dispatcher,
    /// How often it looks after things.
    pub settings: Settings,
    /// What schedules are served with; `None` serves none.
    pub schedules: Option<RunContext>,
}

/// Why a scheduler could not begin.
#[derive(Debug, thiserror::Error)]
pub enum SchedulerError {
    /// The store did not let it in.
    #[error("the scheduler cannot enter the store: {0}")]
    Store(#[from] StoreError),
    /// The broker refused it for good.
    #[error("the scheduler cannot take returned messages: {0}")]
    Broker(#[from] BrokerError),
    /// No heartbeat.
    #[error("the scheduler's heartbeat did not begin: {0}")]
    Heartbeat(#[from] JobSchedulerError),
}

/// Looks after things until `shutdown`. A duty that fails is tried again at its next time.
///
/// # Errors
///
/// When it cannot begin.
pub async fn run(
    options: SchedulerOptions,
    shutdown: impl Future<Output = ()>,
) -> std::result::Result<(), SchedulerError> {
    let stop = CancellationToken::new();
    let schedules = options.schedules.clone();
    let scheduler = Scheduler::enter(options).await?;
    let watcher = schedules
        .clone()
        .map(|run_context| Watcher::new(Arc::clone(&scheduler.store), scheduler.dispatcher.clone(), run_context));
    let schedule_runner = schedules.map(|run_context| {
        ScheduleRunner::new(Arc::clone(&scheduler.store), scheduler.dispatcher.clone(), run_context)
    });
    let heartbeat = Heartbeat::start().await?;
    // At once, so that the duties do not wait for a beat to learn that they lead.
    Duty::new("beat").record(scheduler.live().await);
    tracing::info!("scheduler begins");
    let duties = async {
        tokio::join!(
            scheduler.promoting(&stop),
            scheduler.beating(&heartbeat, &stop),
            scheduler.reconciling(&stop),
            scheduler.returning(&stop),
            scheduler.ticking(schedule_runner, heartbeat.beats(), &stop),
            scheduler.watching(watcher, &stop),
        )
    };
    let asked = async {
        tokio::select! {
            () = shutdown => stop.cancel(),
            () = stop.cancelled() => {}
        }
    };
    let (((), (), (), returned, (), ()), ()) = tokio::join!(duties, asked);
    heartbeat.stop().await;
    scheduler.leave().await;
    tracing::info!("scheduler ends");
    returned.map_err(SchedulerError::from)
}

/// What the duties share.
struct Scheduler {
    store: StoreHandle,
    dispatcher: Dispatcher,
    budgets: FailureBudgets,
    settings: Settings,
    who: watch::Sender<NewWorker>,
    leads: AtomicBool,
}

impl Scheduler {
    async fn enter(options: SchedulerOptions) -> Result<Self> {
        let SchedulerOptions { store, dispatcher, settings, schedules: _ } = options;
        let who = gristmill_service::process::incarnation("scheduler", LEASE);
        store.register_worker(&who).await?;
        Ok(Self {
            budgets: FailureBudgets::new(Arc::clone(&store)),
            store,
            dispatcher,
            settings,
            who: watch::Sender::new(who),
            leads: AtomicBool::new(false),
        })
    }

    /// Says that this process is there. By itself: a broker that is slow to answer holds up the duties
    /// that publish, and must not cost the leadership.
    async fn living(&self, mut beats: Beats, stop: &CancellationToken) {
        let mut alive = Duty::new("beat");
        while beats.next(stop).await {
            alive.record(self.live().await);
        }
    }

    async fn promoting(&self, stop: &CancellationToken) {
        let mut promoting = Duty::new("promote");
        let mut ticks = self.ticks();
        while next(&mut ticks, stop).await {
            if !self.leads() {
                continue;
            }
            // Until nothing is due: a burst must not wait for as many ticks as it has groups.
            while let Some(moved) =
                promoting.record(promote(&self.store, &self.dispatcher, self.settings.rows_max).await)
            {
                if moved < u64::from(self.settings.rows_max) || stop.is_cancelled() {
                    break;
                }
            }
        }
    }

    /// Takes what nobody has published, and feeds the queues that have room again.
    async fn relaying(&self, mut beats: Beats, stop: &CancellationToken) {
        let (mut relaying_duty, mut timer) = (Duty::new("relay"), Timer::new(self.settings.outbox_relay.0));
        let (mut relay, mut ticks) = (OutboxRelay::default(), self.ticks());
        loop {
            let beaten = tokio::select! {
                biased;
                () = stop.cancelled() => return,
                () = beats.beat() => true,
                _ = ticks.tick() => false,
            };
            if !self.leads() {
                continue;
            }
            if beaten && timer.due(Instant::now()) {
                relaying_duty.record(relay.relay(&self.store, &self.dispatcher, self.settings.rows_max).await);
            } else {
                relay.feed(&self.dispatcher).await;
            }
        }
    }

    /// Does a duty on the heartbeat, each time that it is due while this process leads.
    async fn minding<T, F: Future<Output = Result<T>>>(
        &self,
        name: &'static str,
        every: Duration,
        (mut beats, stop): (Beats, &CancellationToken),
        duty: impl Fn() -> F,
    ) {
        let (mut record, mut timer) = (Duty::new(name), Timer::new(every));
        loop {
            if self.leads() && timer.due(Instant::now()) {
                record.record(duty().await);
            }
            if !beats.next(stop).await {
                return;
            }
        }
    }

    /// The duties that hang on the heartbeat, each by itself.
    async fn beating(&self, heartbeat: &Heartbeat, stop: &CancellationToken) {
        let (store, dispatcher, batch) = (&self.store, &self.dispatcher, self.settings.rows_max);
        let Settings { rescue: rescues, outbox_relay: relays, probe: probes, .. } = &self.settings;
        let beats = || (heartbeat.beats(), stop);
        tokio::join!(
            self.living(heartbeat.beats(), stop),
            self.relaying(heartbeat.beats(), stop),
            self.minding("rescue", rescues.0, beats(), || rescue(store, dispatcher, &self.budgets, batch)),
            self.minding("late", relays.0, beats(), || late(store, dispatcher)),
            self.minding("age", relays.0, beats(), || limits::age(store, dispatcher, batch)),
            self.minding("probe", probes.0, beats(), || probe(store, dispatcher, LOST_AFTER)),
        );
    }

    fn ticks(&self) -> tokio::time::Interval {
        let mut ticks = tokio::time::interval(self.settings.promote.0.max(Duration::from_millis(1)));
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        ticks
    }

    /// Decides what is due: on each heartbeat, and at the very instant when it is known to lie before the next.
    async fn ticking(&self, schedule_runner: Option<ScheduleRunner>, mut beats: Beats, stop: &CancellationToken) {
        let Some(mut schedule_runner) = schedule_runner else { return };
        let (mut syncing, mut ticking) = (Duty::new("schedules"), Duty::new("tick"));
        let mut snapshot = schedule_runner.run_context().snapshot.clone();
        let mut in_step = false;
        while !stop.is_cancelled() {
            in_step &= self.leads() && !snapshot.has_changed().unwrap_or(false);
            let mut soon = None;
            if self.leads() {
                if !in_step {
                    snapshot.mark_unchanged();
                    in_step = syncing.record(self.in_step(&schedule_runner).await).is_some();
                }
                soon = ticking.record(self.tick(&mut schedule_runner).await).flatten();
            }
            tokio::select! {
                () = stop.cancelled() => {}
                () = beats.beat() => {}
                () = tokio::time::sleep(soon.unwrap_or(Duration::from_secs(3_600))) => {}
            }
        }
        // What is being planned is planned to its end: another scheduler would begin it anew.
        if tokio::time::timeout(PLANNING_ENDS, schedule_runner.planned()).await.is_err() {
            tracing::warn!("batches of schedules were still being planned; their ticks are started anew");
        }
    }

    /// Looks at watched folders, by itself because a slow share must not hold up the clock.
    async fn watching(&self, watcher: Option<Watcher>, stop: &CancellationToken) {
        let Some(mut watcher) = watcher else { return };
        let mut watching = Duty::new("watch");
        let begun = Instant::now();
        let mut ticks = tokio::time::interval(WATCH_EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        while next(&mut ticks, stop).await {
            if self.leads() {
                watching.record(watcher.run_once(begun.elapsed()).await);
            }
        }
    }

    async fn in_step(&self, schedule_runner: &ScheduleRunner) -> Result<()> {
        let report = schedule_runner.sync(self.store.now().await?).await?;
        if report != crate::schedules::sync::SyncReport::default() {
            tracing::info!(made = ?report.made, edited = ?report.edited, removed = ?report.removed, "schedules of the configuration");
        }
        let snapshot = Arc::clone(&schedule_runner.run_context().snapshot.borrow());
        let changed = limits::sync(&self.store, &self.dispatcher, &snapshot.limits, &snapshot.queues).await?;
        if changed > 0 {
            tracing::info!(changed, "limits and queues of the configuration");
        }
        Ok(())
    }

    /// One pass by the database's clock, and how long it is to the next tick when that comes before a heartbeat.
    async fn tick(&self, schedule_runner: &mut ScheduleRunner) -> Result<Option<Duration>> {
        let id = self.who.borrow().id;
        let now = self.store.now().await?;
        schedule_runner.run_once(now, id).await?;
        let now = self.store.now().await?;
        let beat = chrono::TimeDelta::milliseconds(1_500);
        let next = self.store.due_schedules(now + beat, 1).await?.first().and_then(|view| view.next_at);
        // What is due already is being planned, or is more than one pass decides.
        Ok(next.map(|next| (next - now).to_std().unwrap_or(Duration::from_millis(100)).max(Duration::from_millis(5))))
    }

    /// By itself, because a large store takes it long and nothing else may wait for it.
    async fn reconciling(&self, stop: &CancellationToken) {
        let (mut reconciling, mut planning) = (Duty::new("reconcile"), Duty::new("plan"));
        let mut clearing = Duty::new("spools");
        let mut ticks = tokio::time::interval(self.settings.reconcile.0.max(Duration::from_secs(1)));
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        while next(&mut ticks, stop).await {
            if self.leads() {
                planning.record(resume(&self.store, &self.dispatcher, STALLED_AFTER).await);
                clearing.record(spools(&self.store, self.settings.copy_keep.0).await);
                reconciling.record(reconcile(&self.store, &self.dispatcher, &self.budgets).await);
            }
        }
    }

    /// Every scheduler takes returned messages: the broker shares them out by itself.
    async fn returning(&self, stop: &CancellationToken) -> std::result::Result<(), BrokerError> {
        if !self.dispatcher.broker().carries() {
            stop.cancelled().await;
            return Ok(());
        }
        let consumer = match self.dispatcher.broker().consume_returned(RETURNED_PREFETCH).await {
            Ok(consumer) => consumer,
            Err(error) => {
                // All duties end together, so that the process says why instead of limping on.
                stop.cancel();
                return Err(error);
            }
        };
        let mut returning = Duty::new("returned");
        while !stop.is_cancelled() {
            let wait = Duration::from_millis(500);
            if returning.record(returned(&self.store, &self.dispatcher, &consumer, wait).await).is_none() {
                tokio::time::sleep(wait).await;
            }
        }
        consumer.stop().await;
        Ok(())
    }

    /// Says that this process is there, and asks whether it leads. An embedded store has only one
    /// process at work, which need not wait until a dead one's leadership has run out.
    async fn live(&self) -> Result<()> {
        let who = self.who.borrow().clone();
        if !self.store.beat(who.id, LEASE, 0).await? {
            let fresh = NewWorker { id: WorkerId(Uuid::now_v7()), ..who };
            self.store.register_worker(&fresh).await?;
            self.who.send_replace(fresh);
        }
        let id = self.who.borrow().id;
        let leads = self.store.embedded() || self.store.lead(LEADERSHIP, id, LEADS_FOR).await?.is_some();
        if leads != self.leads.swap(leads, Ordering::Relaxed) {
            tracing::info!(leads, "leadership changed");
        }
        Ok(())
    }

    fn leads(&self) -> bool {
        self.leads.load(Ordering::Relaxed)
    }

    /// Leaves at once what others would have to wait for.
    async fn leave(&self) {
        let id = self.who.borrow().id;
        let left = async {
            if self.leads() && !self.store.embedded() {
                self.store.lead(LEADERSHIP, id, Duration::ZERO).await?;
            }
            self.store.retire_worker(id).await
        };
        if let Err(error) = left.await {
            tracing::warn!(%error, "the scheduler's lease runs out by itself");
        }
    }
}

/// The next tick; `false` when it is time to stop.
async fn next(ticks: &mut tokio::time::Interval, stop: &CancellationToken) -> bool {
    tokio::select! {
        biased;
        () = stop.cancelled() => false,
        _ = ticks.tick() => true,
    }
}

/// Says once that a duty fails, and once that it works again: it is called every second.
struct Duty {
    name: &'static str,
    fails: bool,
}

impl Duty {
    fn new(name: &'static str) -> Self {
        Self { name, fails: false }
    }

    fn record<T>(&mut self, result: Result<T>) -> Option<T> {
        match result {
            Ok(done) => {
                if std::mem::take(&mut self.fails) {
                    tracing::info!(duty = self.name, "works again");
                }
                Some(done)
            }
            Err(error) => {
                if !std::mem::replace(&mut self.fails, true) {
                    tracing::warn!(duty = self.name, %error, "a duty failed, it is tried again");
                }
                None
            }
        }
    }
}

/// When a duty that hangs on the heartbeat is due.
struct Timer {
    every: Duration,
    last: Option<Instant>,
}

impl Timer {
    fn new(every: Duration) -> Self {
        Self { every, last: None }
    }

    /// Due a little early rather than a whole beat late.
    fn due(&mut self, now: Instant) -> bool {
        let early = Duration::from_millis(500);
        let due = self.last.is_none_or(|last| now - last + early >= self.every);
        if due {
            self.last = Some(now);
        }
        due
    }
}
