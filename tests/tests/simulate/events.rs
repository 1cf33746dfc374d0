//! Events: a client publishes, a subscription hears them, and in the end each was heard once, in an order without gaps.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use gristmill_core::duration::Span;
use gristmill_core::event::subscription::{From, SubscriptionSpec};
use gristmill_core::event::{Event, EventDraft};
use gristmill_core::id::DEFAULT_TENANT;
use gristmill_core::one_or_many::OneOrMany;
use gristmill_core::retry::RetryPolicy;
use gristmill_core::schedule::JobSpec;
use gristmill_jobs::RegistryOptions;
use gristmill_jobs::pool::ItemPool;
use gristmill_jobs::process::Processors;
use gristmill_service::Service;
use gristmill_service::dispatcher::Dispatcher;
use gristmill_service::events::Router;
use gristmill_service::start::{ConfigSnapshot, RunContext};
use gristmill_store::{EventFilter, JobFilter, NewSubscription, Page, Publication, StoreHandle, SubscriptionOrigin};
use gristmill_testkit::Random;
use serde_json::json;
use tokio::sync::watch;
use tokio::time::sleep;

use crate::world::World;

/// The one subscription.
const NAME: &str = "hears";

/// What it means.
const MEANT: [&str; 2] = ["order.", "batch."];

/// A router as a scheduler has it. The stages of batches are checked on one thread for all runs.
pub(crate) fn router(store: &StoreHandle, dispatcher: &Dispatcher) -> Router {
    static POOL: OnceLock<ItemPool> = OnceLock::new();
    let pool = POOL.get_or_init(|| ItemPool::new(1).expect("a thread")).clone();
    let (_, snapshot) = watch::channel(Arc::new(ConfigSnapshot::default()));
    let context = RunContext {
        tenant: DEFAULT_TENANT.to_owned(),
        snapshot,
        base_dir: PathBuf::new(),
        spool_dir: PathBuf::new(),
        spool_bytes_max: 0,
        kinds: RegistryOptions { pool, processors: Processors::default() },
        job_defaults: Arc::new(|job| {
            job.retry = RetryPolicy::Fixed(Span(Duration::from_secs(1)));
            (job.max_attempts, job.timeout) = (20, Duration::from_secs(30));
        }),
    };
    Router::new(Service::new(store.clone(), dispatcher.clone()), Some(context))
}

/// Makes the subscription, before anything goes wrong.
pub(crate) async fn subscribe(world: &World) {
    let spec = SubscriptionSpec {
        types: OneOrMany::Many(MEANT.map(|begin| format!("{begin}*")).to_vec()),
        job: Some(JobSpec { kind: "heard".to_owned(), ..JobSpec::default() }),
        rows: Some(3),
        from: From::Beginning,
        ..SubscriptionSpec::default()
    };
    let (tenant, name, origin) = (DEFAULT_TENANT.to_owned(), NAME.to_owned(), SubscriptionOrigin::Command);
    let subscription = NewSubscription { tenant, name, spec, origin };
    world.store.save_subscription(&subscription, false).await.expect("the store answers");
}

/// A client publishes, and asks again until the store has said that it has each.
pub(crate) async fn publish(world: Arc<World>, mut random: Random) {
    let (mut lives, count) = (1, random.between(1, 8));
    let mut process = world.process("publisher", lives);
    let (mut store, _) = world.ground(&process, &mut random);
    for number in 0..count {
        let (id, stream) = (format!("event-{number}"), format!("stream {}", number % 2));
        // One in three is not meant.
        let kind = if number % 3 == 2 { "refund.paid" } else { "order.paid" };
        let draft = EventDraft {
            stream: Some(stream.clone()),
            data: json!({ "number": number }),
            ..EventDraft::new(&id, "simulation", kind)
        };
        let event = Publication { tenant: DEFAULT_TENANT.to_owned(), draft, user: None, job: None };
        loop {
            let published = store.publish_events(std::slice::from_ref(&event));
            tokio::select! {
                biased;
                () = process.gone.notified() => {
                    lives += 1;
                    sleep(random.millis(100, 3_000)).await;
                    process = world.process("publisher", lives);
                    (store, _) = world.ground(&process, &mut random);
                }
                done = published => match done {
                    Ok(_) => break,
                    Err(_) => sleep(Duration::from_millis(300)).await,
                },
            }
        }
        world.work(|work| work.events.push((id, stream)));
        sleep(random.millis(0, 4_000)).await;
    }
    process.life.end();
    world.leave(&process);
}

/// What is still to be done.
pub(crate) async fn left(world: &World) -> Vec<String> {
    if !world.plan.events {
        return Vec::new();
    }
    let mut left = Vec::new();
    let subscriptions = world.store.subscriptions(None).await.expect("the store answers");
    let behind = subscriptions.iter().filter(|view| view.lag > 0);
    left.extend(behind.map(|view| format!("the subscription {} is behind by {}", view.name, view.lag)));
    if world.store.sequence_events(1).await.expect("the store answers") > 0 {
        left.push("an event had no position".to_owned());
    }
    left
}

async fn all(world: &World) -> Vec<Event> {
    let mut filter = EventFilter { tenant: DEFAULT_TENANT.to_owned(), limit: 1_000, ..EventFilter::default() };
    let mut all = Vec::new();
    loop {
        let found = world.store.list_events(&filter).await.expect("the store answers");
        let last = found.len() < 1_000;
        filter.after = found.last().and_then(|event| event.position);
        all.extend(found);
        if last {
            return all;
        }
    }
}

/// Nothing was lost, nothing is out of order, and what was meant was heard once.
pub(crate) async fn judge(world: &World) {
    let events = all(world).await;
    let mut streams: BTreeMap<&str, u64> = BTreeMap::new();
    for (index, event) in events.iter().enumerate() {
        if event.position != Some(index as u64 + 1) {
            world.violation(format!("event {} of all has the position {:?}", index + 1, event.position));
        }
        let seq = streams.entry(&event.stream).or_default();
        *seq += 1;
        if event.seq != Some(*seq) {
            world.violation(format!("event {seq} of its stream has the number {:?}", event.seq));
        }
        if (event.kind == "batch.created") != (*seq == 1 && event.stream.starts_with("batch/")) {
            world.violation(format!("`{}` is number {seq} in the stream of a batch", event.kind));
        }
    }
    published(world, &events);
    heard(world, &events).await;
}

fn published(world: &World, events: &[Event]) {
    let promised = world.work(|work| work.events.clone());
    for stream in ["stream 0", "stream 1"] {
        let said: Vec<&str> = promised.iter().filter(|(_, of)| of == stream).map(|(id, _)| id.as_str()).collect();
        let kept: Vec<&str> =
            events.iter().filter(|event| event.stream == stream).map(|event| event.id.as_str()).collect();
        if said != kept {
            world.violation(format!("{said:?} were confirmed in this order, and {kept:?} are there"));
        }
    }
}

async fn heard(world: &World, events: &[Event]) {
    let meant = |event: &&Event| MEANT.iter().any(|begin| event.kind.starts_with(begin));
    let meant: BTreeSet<u64> = events.iter().filter(meant).filter_map(|event| event.position).collect();
    let mut heard: BTreeMap<u64, u32> = BTreeMap::new();
    let filter =
        JobFilter { tenant: DEFAULT_TENANT.to_owned(), kind: Some("heard".to_owned()), ..JobFilter::default() };
    for listed in world.store.jobs(&filter, &Page { after: None, limit: 1_000 }).await.expect("the store answers") {
        let job = world.store.job(DEFAULT_TENANT, listed.id).await.expect("the store answers").expect("it was listed");
        *heard.entry(job.payload["position"].as_u64().unwrap_or_default()).or_default() += 1;
    }
    for position in meant.iter().filter(|position| heard.get(position) != Some(&1)) {
        world.violation(format!("event {position} was heard {:?} times", heard.get(position)));
    }
    for position in heard.keys().filter(|position| !meant.contains(position)) {
        world.violation(format!("event {position} was heard, and is not meant"));
    }
    let view = world.store.subscriptions(None).await.expect("the store answers").remove(0);
    let skipped = events.len() as u64 - meant.len() as u64;
    if (view.delivered, view.skipped, view.refused) != (meant.len() as u64, skipped, 0) {
        let counted = (view.delivered, view.skipped, view.refused);
        world.violation(format!(
            "the subscription counts {counted:?}, and {} of {} were meant",
            meant.len(),
            events.len()
        ));
    }
}
