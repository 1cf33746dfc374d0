//! Processes that live again after each death: workers and schedulers.

use std::sync::Arc;
use std::time::Duration;

use gristmill_broker::Consumer;
use gristmill_core::duration::Span;
use gristmill_scheduler::duties::probe::{LOST_AFTER, Prober};
use gristmill_scheduler::duties::promote::promote;
use gristmill_scheduler::duties::reconcile::reconcile;
use gristmill_scheduler::duties::relay::OutboxRelay;
use gristmill_scheduler::duties::rescue::rescue;
use gristmill_scheduler::duties::returned::returned;
use gristmill_scheduler::plan;
use gristmill_service::dispatcher::Dispatcher;
use gristmill_service::events::Router;
use gristmill_service::failure_budget::FailureBudgets;
use gristmill_store::StoreHandle;
use gristmill_testkit::Random;
use gristmill_worker::{Settings, WorkerOptions};
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use crate::actors;
use crate::events;
use crate::plan::Mutant;
use crate::world::{Process, World};

/// The queues on which there is work.
pub(crate) const QUEUES: [&str; 2] = ["default", "second"];

/// Longer than any run.
const NEVER: Duration = Duration::from_secs(24 * 3_600);

/// A planner that has been silent for so long is gone. The product waits longer.
const STALLED_AFTER: Duration = Duration::from_secs(20);

/// Which role a process has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    Worker,
    Scheduler,
}

/// One life after the other, until the run ends.
pub(crate) async fn lives(world: Arc<World>, role: Role, slot: u64, mut random: Random) {
    let name = match role {
        Role::Worker => format!("worker {slot}"),
        Role::Scheduler => format!("scheduler {slot}"),
    };
    for number in 1.. {
        let process = world.process(&name, number);
        let stop = CancellationToken::new();
        world.stops(&name, &stop);
        let life = random.fork();
        let (world_of_it, process_of_it) = (Arc::clone(&world), process.clone());
        let task = tokio::spawn(async move {
            match role {
                Role::Worker => work(world_of_it, process_of_it, stop, life).await,
                Role::Scheduler => look_after(world_of_it, process_of_it, stop, life).await,
            }
        });
        let handle = task.abort_handle();
        tokio::select! {
            biased;
            () = process.gone.notified() => handle.abort(),
            ended = task => {
                if let Err(error) = ended {
                    world.violation(format!("a process broke: {error}"));
                }
                world.note(&process, "ends", None, 0);
                process.life.end();
                world.leave(&process);
            }
        }
        sleep(random.millis(100, if world.is_calm() { 1_000 } else { 8_000 })).await;
    }
}

async fn work(world: Arc<World>, process: Process, stop: CancellationToken, mut random: Random) {
    let (store, dispatcher) = world.ground(&process, &mut random);
    let queues = if world.plan.named_queues { QUEUES.map(str::to_owned).to_vec() } else { Vec::new() };
    let settings =
        Settings { slots: world.plan.slots, queues, drain: Span(Duration::from_secs(3)), ..Settings::default() };
    let alone = world.case.mutant.is_some_and(Mutant::takes_the_second_look_along);
    let options = WorkerOptions {
        store,
        dispatcher,
        registry: actors::registry(&world, &process),
        layers: Default::default(),
        settings,
        fallback_after: if alone { NEVER } else { Duration::from_secs(30) },
        role: "worker".to_owned(),
    };
    if let Err(error) = gristmill_worker::run(options, stop.cancelled_owned()).await {
        world.note(&process, &format!("ends badly: {}", kind_of(&error)), None, 0);
    }
}

fn kind_of(error: &gristmill_worker::WorkerError) -> &'static str {
    match error {
        gristmill_worker::WorkerError::Store(_) => "the store",
        gristmill_worker::WorkerError::Broker(_) => "the broker",
        gristmill_worker::WorkerError::Settings(_) => "the settings",
        gristmill_worker::WorkerError::Runner(_) => "the runner",
    }
}

/// What a scheduler has at hand.
struct Desk {
    world: Arc<World>,
    store: StoreHandle,
    dispatcher: Dispatcher,
    budgets: FailureBudgets,
    relay: OutboxRelay,
    prober: Prober,
    given_up: Option<Consumer>,
    router: Router,
    due: [Option<Instant>; 6],
}

/// Duty by duty, in an order of its own each time. Two schedulers both do everything: leadership only
/// saves double work, and nothing may depend on it.
async fn look_after(world: Arc<World>, process: Process, stop: CancellationToken, mut random: Random) {
    let (store, dispatcher) = world.ground(&process, &mut random);
    let given_up = match dispatcher.broker().carries() {
        true => dispatcher.broker().consume_returned(10).await.ok(),
        false => None,
    };
    let mut desk = Desk {
        budgets: FailureBudgets::new(store.clone()),
        relay: OutboxRelay::default(),
        prober: Prober::default(),
        due: [None; 6],
        router: events::router(&store, &dispatcher),
        world: Arc::clone(&world),
        store,
        dispatcher,
        given_up,
    };
    while !stop.is_cancelled() {
        process.life.turn().await;
        let mut order: Vec<usize> = (0..8).collect();
        for place in (1..order.len()).rev() {
            order.swap(place, random.below(place as u64 + 1) as usize);
        }
        for duty in order {
            desk.duty(duty).await;
        }
        sleep(random.millis(300, 700)).await;
    }
    if let Some(consumer) = desk.given_up {
        consumer.stop().await;
    }
}

impl Desk {
    /// A duty that fails is tried again at its next time.
    async fn duty(&mut self, number: usize) {
        let lacks = |mutant| self.world.case.mutant == Some(mutant);
        let (no_rescue, no_relay) = (lacks(Mutant::NoRescue), lacks(Mutant::NoRelay));
        let (no_probe, no_returned) = (lacks(Mutant::NoProbe), lacks(Mutant::NoReturned));
        match number {
            0 => drop(promote(&*self.store, &self.dispatcher, 100).await),
            1 if self.is_due(0, 1) && !no_rescue => {
                drop(rescue(&*self.store, &self.dispatcher, &self.budgets, 100).await);
            }
            2 if self.is_due(1, 1) && !no_relay => drop(self.relay.relay(&*self.store, &self.dispatcher, 100).await),
            3 if self.is_due(2, 5) && !no_probe => {
                drop(self.prober.probe(&self.store, &self.dispatcher, LOST_AFTER).await);
            }
            3 if !no_probe => drop(self.prober.go_on(&self.store, &self.dispatcher, LOST_AFTER).await),
            4 if self.is_due(3, 20) => drop(reconcile(&self.store, &self.dispatcher, &self.budgets).await),
            5 if self.is_due(4, 10) => drop(plan::resume(&self.store, &self.dispatcher, STALLED_AFTER).await),
            6 if self.is_due(5, 1) && !no_returned => {
                if let Some(consumer) = &self.given_up {
                    drop(returned(&self.store, &self.dispatcher, consumer, Duration::ZERO).await);
                }
            }
            7 if self.world.plan.events => drop(self.router.round().await),
            _ => {}
        }
    }

    fn is_due(&mut self, duty: usize, seconds: u64) -> bool {
        let now = Instant::now();
        let due = self.due[duty].is_none_or(|due| now >= due);
        if due {
            // A little early rather than a whole round late.
            self.due[duty] = Some(now + Duration::from_millis(seconds * 1_000 - 400));
        }
        due
    }
}
