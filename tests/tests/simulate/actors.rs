//! The handlers of a simulation: they do nothing, take their time, and end as the seed wants.

use std::future::pending;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use gristmill_core::aggregate::Aggregation;
use gristmill_core::chunk::{ChunkResult, SetAside};
use gristmill_core::job::ClaimedJob;
use gristmill_core::settle::Ending;
use gristmill_jobs::kind::aggregate::AggregateHandler;
use gristmill_jobs::{Finish, Handler, JobContext, Registry};
use gristmill_testkit::random::{Random, mix};
use serde_json::json;
use tokio::time::sleep;

use crate::history::Told;
use crate::items::{self, Lot};
use crate::world::{Process, World};

/// How much longer than it may a job takes that hangs.
const TOO_LONG: Duration = Duration::from_secs(4);

/// The kinds of a process.
pub(crate) fn registry(world: &Arc<World>, process: &Process) -> Registry {
    let hand = |kind| Arc::new(Hand { world: Arc::clone(world), process: process.clone(), kind });
    let mut registry = Registry::default();
    let aggregation = items::aggregation();
    registry.insert("chunk", hand(Kind::Chunk(aggregation)));
    registry.insert("aggregate", hand(Kind::Aggregate));
    registry.insert("webhook", hand(Kind::Webhook));
    registry.insert("work", hand(Kind::Work));
    registry.insert("heard", hand(Kind::Work));
    registry
}

struct Hand {
    world: Arc<World>,
    process: Process,
    kind: Kind,
}

enum Kind {
    Chunk(Aggregation),
    /// The real one.
    Aggregate,
    /// What the batch sends. Its waits are those of the product, with the product's own random numbers; so it
    /// always says by itself when to come again.
    Webhook,
    Work,
}

/// What one run does.
enum Deed {
    EndWell,
    Fail,
    FailUntil(Duration),
    GiveUp,
    Snooze(Duration),
    Panic,
    Hang,
    Murder,
}

#[async_trait]
impl Handler for Hand {
    async fn run(&self, context: JobContext) -> Finish {
        self.world.count(|figures| figures.attempts += 1);
        let job = &context.job;
        let name = self.world.history(|history| {
            history.begins(&self.process.name, job);
            history.name(job.fence.job.0)
        });
        let mut random = Random::new(mix(self.world.case.seed ^ mix(name)) ^ mix(u64::from(job.fence.attempt)));
        let deed = if is_condemned(job) { Deed::EndWell } else { self.deed(name, &mut random) };
        self.takes(random.millis(1, self.world.plan.hands.longest)).await;
        match deed {
            Deed::EndWell => self.end_well(context, random.draw() >> 32).await,
            Deed::Fail => Finish::failed("not this time"),
            Deed::FailUntil(wait) => Finish::failed_until("come again", wait),
            Deed::Snooze(wait) => Finish::snooze("not yet", wait),
            Deed::GiveUp => Finish::permanent("it never works"),
            // Without the hook that would print it.
            Deed::Panic => std::panic::resume_unwind(Box::new("a simulated panic")),
            Deed::Hang => {
                self.takes(context.job.timeout + TOO_LONG).await;
                Finish::done(None)
            }
            Deed::Murder => {
                self.world.note(&self.process, "dies of its job", Some(job.fence.job.0), 0);
                self.world.kill(&self.process);
                pending().await
            }
        }
    }
}

impl Hand {
    async fn takes(&self, time: Duration) {
        sleep(time).await;
        self.process.life.turn().await;
    }

    fn deed(&self, name: u64, random: &mut Random) -> Deed {
        let hands = self.world.plan.hands;
        let plain = matches!(self.kind, Kind::Chunk(_) | Kind::Work);
        if plain && mix(self.world.case.seed ^ mix(name ^ 0xdead)) % 1_000 < hands.murder {
            return Deed::Murder;
        }
        let (draw, wait) = (random.below(1_000), random.millis(500, 6_000));
        if self.world.is_calm() {
            return Deed::EndWell;
        }
        match draw {
            n if n < hands.fail / 4 => Deed::Snooze(wait),
            n if n < hands.fail / 2 => Deed::FailUntil(wait),
            n if n < hands.fail => {
                if plain {
                    Deed::Fail
                } else {
                    Deed::FailUntil(wait)
                }
            }
            n if n < hands.fail + hands.give_up => Deed::GiveUp,
            n if plain && n < hands.fail + hands.give_up + hands.panic => Deed::Panic,
            n if plain && n < hands.fail + hands.give_up + hands.panic + hands.hang => Deed::Hang,
            _ => Deed::EndWell,
        }
    }

    async fn end_well(&self, context: JobContext, token: u64) -> Finish {
        match &self.kind {
            Kind::Chunk(aggregation) => self.chunk(&context, aggregation, token),
            Kind::Aggregate => {
                let finish = AggregateHandler.run(context).await;
                match finish.ending {
                    // The product would draw how long to wait, and that has no seed.
                    Ending::Failed { retry_after: None } => {
                        let ending = Ending::Failed { retry_after: Some(Duration::from_secs(1)) };
                        Finish { ending, ..finish }
                    }
                    _ => finish,
                }
            }
            Kind::Webhook | Kind::Work => Finish::done(Some(json!({ "token": token }))),
        }
    }

    fn chunk(&self, context: &JobContext, aggregation: &Aggregation, token: u64) -> Finish {
        let job = &context.job;
        let (batch, seq) = (job.batch.expect("a chunk's batch"), job.seq.expect("a chunk's number"));
        let mut told = Told { token, ..Told::default() };
        let condemned = is_condemned(job);
        let (mut absorber, mut set_aside) = (aggregation.absorber(), Vec::new());
        for position in items::positions(&job.payload) {
            match items::lot(batch, seq, position) {
                // It has killed its workers: it is only read.
                _ if condemned => {
                    set_aside.push(bad(position));
                    told.bad.push(position);
                }
                Lot::Good => {
                    absorber.absorb(&items::item(batch, position, token)).expect("an item that fits");
                    told.ok.push(position);
                }
                Lot::Skipped => told.skipped.push(position),
                Lot::Bad => {
                    set_aside.push(bad(position));
                    told.bad.push(position);
                }
            }
        }
        let mut finish = Finish::done(None);
        finish.chunk = Some(ChunkResult {
            ok: told.ok.len() as u64,
            skipped: told.skipped.len() as u64,
            quarantined: told.bad.len() as u64,
            partial: absorber.partial(),
            parts: Vec::new(),
            set_aside,
        });
        self.world.history(|history| history.told.insert(job.fence, told));
        finish
    }
}

/// Whether a chunk is only read, to set its one item aside.
fn is_condemned(job: &ClaimedJob) -> bool {
    !job.payload["condemned"].is_null()
}

fn bad(position: u64) -> SetAside {
    let reason = "it is bad".to_owned();
    SetAside { position, line: None, stage: "process".to_owned(), reason, item: json!({ "position": position }) }
}
