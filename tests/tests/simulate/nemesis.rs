//! Who makes things go wrong, apart from what goes wrong by itself.

use std::sync::Arc;
use std::time::Duration;

use chrono::TimeDelta;
use gristmill_core::id::{DEFAULT_TENANT, JobId};
use gristmill_core::job::JobState;
use gristmill_store::{JobFilter, Page};
use gristmill_testkit::Random;
use tokio::time::{Instant, sleep, sleep_until};

use crate::plan::{Mutant, Story};
use crate::world::{Doom, Process, World};

/// One thing that went wrong, in a story in which nothing else did.
#[derive(Debug, Clone)]
pub(crate) struct Blow {
    /// When it was over: from then on time counts.
    pub(crate) at: Instant,
    /// The jobs that waited, or ran where nobody was left to run them.
    pub(crate) waiting: Vec<JobId>,
}

/// Rages for as long as the plan says. Of a calm story, what it did.
pub(crate) async fn rage(world: &Arc<World>, mut random: Random) -> Option<Blow> {
    match world.case.story {
        Story::Storm | Story::Clocks => {
            storm(world, &mut random).await;
            None
        }
        Story::Kill => Some(kill(world, &mut random).await),
        Story::Purge => Some(purge(world, &mut random).await),
        Story::FaultRates => Some(outage(world, &mut random).await),
        Story::Backlog => {
            backlog(world, &mut random).await;
            None
        }
    }
}

async fn storm(world: &Arc<World>, random: &mut Random) {
    let end = Instant::now() + world.plan.storm;
    let mut leapt = Leapt::default();
    let pace = random.between(600, 6_000);
    while Instant::now() < end {
        sleep(random.millis(100, pace)).await;
        if world.plan.leaps && random.happens(400) {
            leap(world, random, &mut leapt);
            continue;
        }
        match random.below(100) {
            0..=59 => strike(world, random),
            60..=74 => {
                let length = random.millis(500, 8_000);
                go_away(world, random.happens(300), length).await;
            }
            75..=79 => {
                // Long enough for workers to ask the store.
                let length = random.millis(30_000, 40_000);
                go_away(world, false, length).await;
            }
            80..=89 => purged(world),
            _ => {}
        }
    }
    world.clock.thaw();
    // Somebody sets the clock: as late as it has ever been, or else what was written down then would be
    // in the future, and what waits for a time would wait for as much longer.
    world.clock.leap(leapt.most - leapt.now);
}

/// By how much the clock is wrong, and was at most.
#[derive(Debug, Default)]
struct Leapt {
    now: TimeDelta,
    most: TimeDelta,
}

impl Leapt {
    fn by(&mut self, by: TimeDelta) {
        self.now += by;
        self.most = self.most.max(self.now);
    }
}

fn strike(world: &Arc<World>, random: &mut Random) {
    let living = world.living("");
    let busy: Vec<Process> = living.iter().filter(|process| world.is_busy(process)).cloned().collect();
    // It hurts most where something runs.
    let those = if busy.is_empty() || random.happens(300) { living } else { busy };
    let Some(victim) = those.get(random.below(those.len() as u64) as usize) else { return };
    let [kill, stall, stop] = world.plan.blades;
    match random.below(kill + stall + stop) {
        blade if blade < kill => world.kill(victim),
        blade if blade < kill + stall => {
            let (from, to) = world.plan.stalls[random.below(5) as usize];
            world.stall(victim, random.millis(from, to));
        }
        _ => world.stop(victim),
    }
}

async fn go_away(world: &Arc<World>, blocked: bool, length: Duration) {
    world.count(|figures| figures.outages += 1);
    world.tell(if blocked { "the broker is blocked" } else { "the broker is away" }, length.as_millis() as u64);
    if blocked {
        world.broker.blocked()
    } else {
        world.broker.away()
    }
    sleep(length).await;
    world.broker.back();
    world.tell("the broker is back", 0);
}

fn purged(world: &Arc<World>) {
    let lost = world.broker.purge();
    world.tell("the broker loses all that waits", lost as u64);
}

fn leap(world: &Arc<World>, random: &mut Random, leapt: &mut Leapt) {
    world.count(|figures| figures.leaps += 1);
    let seconds = i64::try_from(match random.below(3) {
        0 => random.between(1, 30),
        1 => random.between(30, 600),
        _ => 3_600,
    });
    let by = TimeDelta::seconds(seconds.unwrap_or(1));
    match random.below(5) {
        0 | 1 => {
            world.clock.leap(by);
            leapt.by(by);
            world.tell("the clock leaps forward", by.num_seconds() as u64);
        }
        2 | 3 => {
            world.clock.leap(-by);
            leapt.by(-by);
            world.tell("the clock goes back", by.num_seconds() as u64);
        }
        _ => {
            world.clock.freeze();
            world.tell("the clock stands still", 0);
            let (clock, until) = (world.clock.clone(), Instant::now() + random.millis(500, 20_000));
            tokio::spawn(async move {
                sleep_until(until).await;
                clock.thaw();
            });
        }
    }
}

/// A worker dies at a call that the seed chooses, when there is work.
async fn kill(world: &Arc<World>, random: &mut Random) -> Blow {
    sleep(random.millis(1_000, 6_000)).await;
    let doom = match world.case.mutant {
        // Whoever comes next with messages in its hands.
        Some(Mutant::AckBeforeTheClaim) => Doom { process: "worker".to_owned(), call: "claim", after: 0 },
        Some(_) | None => {
            let call = ["claim", "claim", "claim", "complete", "beat"][random.below(5) as usize];
            let process = format!("worker {}", random.between(1, world.plan.workers));
            Doom { process, call, after: random.below(4) }
        }
    };
    let process = doom.process.clone();
    world.doom(doom);
    sleep(Duration::from_secs(6)).await;
    // Whether or not that call ever came, it dies now.
    if let Some(victim) = world.living(&process).first() {
        world.kill(victim);
    }
    let (at, waiting) = world.killed().unwrap_or((Instant::now(), Vec::new()));
    Blow { at, waiting }
}

async fn purge(world: &Arc<World>, random: &mut Random) -> Blow {
    sleep(random.millis(2_000, 9_000)).await;
    purged(world);
    Blow { at: Instant::now(), waiting: waiting(world).await }
}

async fn outage(world: &Arc<World>, random: &mut Random) -> Blow {
    sleep(random.millis(1_000, 4_000)).await;
    let length = random.millis(1_000, 20_000);
    go_away(world, random.happens(300), length).await;
    Blow { at: Instant::now(), waiting: waiting(world).await }
}

/// The jobs that could be claimed now.
async fn waiting(world: &World) -> Vec<JobId> {
    let filter =
        JobFilter { tenant: DEFAULT_TENANT.to_owned(), states: vec![JobState::Queued], ..JobFilter::default() };
    let jobs = world.store.jobs(&filter, &Page { after: None, limit: 1_000 }).await.expect("the store answers");
    jobs.into_iter().map(|job| job.id).collect()
}

async fn backlog(world: &Arc<World>, random: &mut Random) {
    let end = Instant::now() + world.plan.storm;
    while Instant::now() < end {
        sleep(Duration::from_secs(5)).await;
        let living = world.living("worker");
        if let Some(victim) = living.get(random.below(living.len() as u64) as usize) {
            world.kill(victim);
        }
    }
}
