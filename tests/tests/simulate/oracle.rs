//! The judge: from what handlers told and creators were promised alone, it says what must be there now.
//! It shares no code with what it judges; it only reads what people would be shown.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use gristmill_core::batch::BatchState;
use gristmill_core::id::{BatchId, DEFAULT_TENANT, JobId};
use gristmill_core::job::JobState;
use gristmill_store::{BatchFilter, BatchView, JobFilter, JobView, Page, QuarantineFilter, QuarantineView};
use serde_json::Value;
use tokio::time::{Instant, sleep};

use crate::events;
use crate::history::Told;
use crate::items;
use crate::nemesis::Blow;
use crate::people;
use crate::plan::Story;
use crate::world::{PlannedBatch, World};

/// How long it may take until all is done, once nothing goes wrong any more.
const PATIENCE: Duration = Duration::from_secs(600);

/// A dead worker's jobs are claimed again within its lease and two seconds.
const AFTER_DEATH: Duration = Duration::from_secs(17);

/// Lost messages are found within this.
const AFTER_LOSS: Duration = Duration::from_secs(40);

/// A broker that is back carries what waited within this.
const AFTER_OUTAGE: Duration = Duration::from_secs(5);

/// What one job of the slowest calm story takes at most.
const ONE_JOB: Duration = Duration::from_secs(3);

/// Lets time pass until nothing is left to do. A run that never gets there is stuck.
pub(crate) async fn until_quiet(world: &World) {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Err(error) = people::resume(world).await {
            world.violation(format!("what is paused cannot be resumed: {error}"));
            return;
        }
        let left = left(world).await;
        if left.is_empty() {
            return;
        }
        if Instant::now() >= deadline {
            world.violation(format!("it is stuck: {}", left.join(", ")));
            return;
        }
        sleep(Duration::from_secs(1)).await;
    }
}

/// What is still to be done.
async fn left(world: &World) -> Vec<String> {
    let mut left = Vec::new();
    let open = [JobState::Scheduled, JobState::Queued, JobState::Running, JobState::Retry];
    for job in jobs(world, |filter| filter.states = open.to_vec()).await {
        left.push(format!("a {} {} is {}", job.kind, world.history(|history| history.name(job.id.0)), job.state));
    }
    for batch in batches(world).await {
        if !batch.state.is_final() {
            left.push(format!("batch #{} is {}", world.history(|history| history.name(batch.id.0)), batch.state));
        }
    }
    let backlog = world.store.outbox_backlog().await.expect("the store answers");
    if backlog.rows > 0 {
        left.push(format!("{} rows are in the outbox", backlog.rows));
    }
    left.extend(events::left(world).await);
    let census = world.broker.census();
    if census.ready + census.unacked + census.given_up > 0 {
        left.push(format!("the broker holds {census:?}"));
    }
    if world.living("").iter().any(|process| process.life.is_stalled()) {
        left.push("somebody is stalled".to_owned());
    }
    left
}

/// Looks now and then, while all goes on.
pub(crate) async fn watch(world: &World) {
    loop {
        sleep(Duration::from_secs(2)).await;
        for batch in batches(world).await {
            let counts = batch.counts;
            if batch.remaining > batch.chunks || !counts.reconcile() {
                world.violation(format!(
                    "a batch of {} chunks has {} remaining and {counts:?}",
                    batch.chunks, batch.remaining
                ));
            }
        }
    }
}

/// Judges a run that has come to its end.
pub(crate) async fn judge(world: &World, blow: Option<&Blow>) {
    let planned = world.work(|work| work.batches.clone());
    let views = batches(world).await;
    for batch in &planned {
        promised_batch(world, batch, &views);
    }
    if views.len() > planned.len() {
        world.violation(format!("there are {} batches under {} keys", views.len(), planned.len()));
    }
    for view in &views {
        let of_it = planned.iter().find(|planned| planned.id == Some(view.id));
        batch(world, view, of_it.map(|planned| planned.items)).await;
    }
    promised_jobs(world).await;
    every_job(world).await;
    if world.case.story == Story::Backlog {
        // Each process counts by itself for a fifth of a second, and what a dead worker held comes back.
        let (deepest, window) = (world.broker.deepest(), world.plan.window);
        if deepest > 2 * window {
            world.violation(format!("{deepest} messages waited on the broker, and the window is {window}"));
        }
    }
    if let Some(blow) = blow {
        recovery(world, blow);
    }
}

fn promised_batch(world: &World, planned: &PlannedBatch, views: &[BatchView]) {
    let found = planned.id.and_then(|id| views.iter().find(|view| view.id == id));
    if planned.sealed && found.is_none() {
        world.violation(format!("{} was confirmed and is gone", planned.key));
    }
}

async fn promised_jobs(world: &World) {
    let planned = world.work(|work| work.jobs.clone());
    let made = jobs(world, |filter| filter.kind = Some("work".to_owned())).await;
    let ids: BTreeSet<JobId> = made.iter().map(|job| job.id).collect();
    if made.len() > planned.len() {
        world.violation(format!("there are {} jobs under {} keys", made.len(), planned.len()));
    }
    for job in planned.iter().filter(|job| job.id.is_some_and(|id| !ids.contains(&id))) {
        world.violation(format!("{} was confirmed and is gone", job.key));
    }
}

async fn every_job(world: &World) {
    let copies = world.broker.copies();
    for listed in jobs(world, |_| ()).await {
        let Some(job) = world.store.job(DEFAULT_TENANT, listed.id).await.expect("the store answers") else { continue };
        let name = world.history(|history| history.name(job.id.0));
        if job.attempt > job.max_attempts {
            world.violation(format!("job #{name} has had {} attempts of {}", job.attempt, job.max_attempts));
        }
        let accepted = world.history(|history| history.done.get(&job.id).copied());
        if (job.state == JobState::Done) != accepted.is_some() {
            world.violation(format!("job #{name} is {}, but the completion accepted was {accepted:?}", job.state));
        }
        if job.state != JobState::Dead {
            continue;
        }
        world.count(|figures| figures.dead += 1);
        if job.error.is_none() || job.attempts.is_empty() {
            world.violation(format!("job #{name} is dead, and nothing says why"));
        }
        if world.plan.dispatcher && !copies.contains(&job.id) {
            world.violation(format!("job #{name} is dead, and the broker has no copy of it"));
        }
    }
}

/// Where each of a batch's items is, and whether the result says the same.
async fn batch(world: &World, view: &BatchView, planned: Option<u64>) {
    let name = world.history(|history| history.name(view.id.0));
    let say = |what: String| {
        world.violation(format!("batch #{name} ({}, generation {}): {what}", view.state, view.generation))
    };
    let counts = view.counts;
    if view.remaining > 0 || counts.pending() > 0 || !counts.reconcile() {
        say(format!("it has ended with {} chunks remaining and {counts:?}", view.remaining));
    }
    let mut places = Places::default();
    for job in jobs(world, |filter| filter.batch = Some(view.id)).await.iter().filter(|job| job.kind == "chunk") {
        place(world, job, &mut places).await;
    }
    for row in quarantine(world, view.id).await.iter().filter(|row| row.state == "redriven") {
        // It is the item of another chunk now.
        places.bad.retain(|(position, seq)| (*position, *seq) != (row.position, row.seq));
    }
    for (what, found, said) in [
        ("ok", places.ok.len(), counts.ok),
        ("skipped", places.skipped.len(), counts.skipped),
        ("quarantined", places.bad.len() + places.dead.len(), counts.quarantined),
        ("cancelled", places.cancelled.len(), counts.cancelled),
    ] {
        if found as u64 != said {
            say(format!("{found} items are {what}, but it says {said}"));
        }
    }
    if matches!(view.state, BatchState::Complete | BatchState::Halted) {
        exactly_once(&places, planned, &say);
        result(view, &places, &say);
    }
    endings(world, view, &say).await;
}

/// What became of items, by position.
#[derive(Debug, Default)]
struct Places {
    ok: Vec<u64>,
    tokens: u128,
    skipped: Vec<u64>,
    /// With the number of the chunk that set it aside.
    bad: Vec<(u64, i64)>,
    dead: Vec<u64>,
    cancelled: Vec<u64>,
}

async fn place(world: &World, listed: &JobView, places: &mut Places) {
    let job = world.store.job(DEFAULT_TENANT, listed.id).await.expect("the store answers").expect("it was listed");
    let positions = items::positions(&job.payload);
    match job.state {
        JobState::Done => {
            let told: Option<Told> = world.history(|history| {
                let fence = history.done.get(&job.id)?;
                history.told.get(fence).cloned()
            });
            // Done without anybody having told so is said elsewhere.
            let told = told.unwrap_or_default();
            places.tokens += u128::from(told.token) * told.ok.len() as u128;
            places.ok.extend(told.ok);
            places.skipped.extend(told.skipped);
            places.bad.extend(told.bad.into_iter().map(|position| (position, job.seq.unwrap_or(-1))));
        }
        JobState::Dead => places.dead.extend(positions),
        // Its halves have its items.
        JobState::Cancelled if job.error.as_deref().is_some_and(|error| error.starts_with("split into chunks")) => {}
        JobState::Cancelled => places.cancelled.extend(positions),
        JobState::Scheduled | JobState::Queued | JobState::Running | JobState::Retry => {}
    }
}

fn exactly_once(places: &Places, planned: Option<u64>, say: &impl Fn(String)) {
    let mut found: BTreeMap<u64, u32> = BTreeMap::new();
    let bad = places.bad.iter().map(|(position, _)| position);
    for position in places.ok.iter().chain(&places.skipped).chain(bad).chain(&places.dead).chain(&places.cancelled) {
        *found.entry(*position).or_default() += 1;
    }
    for position in 0..planned.unwrap_or(0) {
        let times = found.remove(&position).unwrap_or(0);
        if times != 1 {
            say(format!("item {position} is in {times} places"));
        }
    }
    if planned.is_some() && !found.is_empty() {
        say(format!("it has items that nobody gave it: {:?}", found.keys()));
    }
}

/// The aggregate, computed once more by other means.
fn result(view: &BatchView, places: &Places, say: &impl Fn(String)) {
    let died = view.reason.as_deref().is_some_and(|reason| reason.contains("its aggregate died"));
    let Some(result) = &view.result else {
        if !died || view.state != BatchState::Halted {
            say(format!("it has no result, and its reason is {:?}", view.reason));
        }
        return;
    };
    if died {
        say("its aggregate died, and it has a result".to_owned());
    }
    let sum = |of: fn(BatchId, u64) -> u128| places.ok.iter().map(|position| of(view.id, *position)).sum::<u128>();
    for (name, expected) in [
        ("n", places.ok.len() as u128),
        ("sum", sum(items::value)),
        ("marks", sum(items::mark)),
        ("tokens", places.tokens),
    ] {
        let found = match &result[name] {
            Value::String(text) => text.clone(),
            other => other.to_string(),
        };
        if found != expected.to_string() {
            say(format!("its result says {name} = {found}, and it is {expected}"));
        }
    }
    let mut each: BTreeMap<String, u64> = BTreeMap::new();
    for position in &places.ok {
        *each.entry(format!("{position:04}")).or_default() += 1;
    }
    let found: BTreeMap<String, u64> = serde_json::from_value(result["each"].clone()).unwrap_or_default();
    if found != each {
        say(format!("its result has the items {found:?}, and they are {each:?}"));
    }
}

/// One aggregate that is done or dead, and one set of what is sent, for each generation that has ended.
async fn endings(world: &World, view: &BatchView, say: &impl Fn(String)) {
    let ended = matches!(view.state, BatchState::Complete | BatchState::Halted);
    let mut sent: BTreeMap<(u64, String), u32> = BTreeMap::new();
    let webhooks = jobs(world, |filter| filter.batch = Some(view.id)).await;
    let aggregates: BTreeMap<u32, JobState> =
        webhooks.iter().filter(|job| job.kind == "aggregate").map(|job| (job.generation, job.state)).collect();
    for job in webhooks.iter().filter(|job| job.kind == "webhook") {
        let job = world.store.job(DEFAULT_TENANT, job.id).await.expect("the store answers").expect("it was listed");
        let generation = job.payload["data"]["batch"]["generation"].as_u64().unwrap_or(u64::MAX);
        let to = job.payload["url"].as_str().unwrap_or_default().rsplit('/').next().unwrap_or_default().to_owned();
        *sent.entry((generation, to)).or_default() += 1;
    }
    for generation in 0..=view.generation {
        let of = |to: &str| sent.get(&(u64::from(generation), to.to_owned())).copied().unwrap_or(0);
        let (own, settled, cancelled) = (of("success") + of("halted"), of("settled"), of("cancelled"));
        // A generation that is over was cancelled and restarted, or it ended.
        let called_off = if generation < view.generation { cancelled > 0 } else { view.state == BatchState::Cancelled };
        let expected = u32::from(!called_off && (generation < view.generation || ended));
        if own != expected || settled != expected || cancelled != u32::from(called_off) {
            say(format!(
                "generation {generation} sent {own} messages of its own, {settled} of any ending, not {expected}, and \
                 {cancelled} of its cancelling"
            ));
        }
        let aggregate = aggregates.get(&generation);
        // One that died is superseded by the next generation's.
        let dead = matches!(aggregate, Some(JobState::Dead | JobState::Cancelled));
        let expected = if dead { 0 } else { expected };
        let ends = world.history(|history| history.ends.get(&(view.id, generation)).copied().unwrap_or(0));
        // A batch that was cancelled while its aggregate ran has had one that ended nothing.
        if ends > 1 || ends < expected {
            say(format!("generation {generation} has had {ends} aggregates"));
        }
    }
}

/// How soon the one thing that went wrong was over.
fn recovery(world: &World, blow: &Blow) {
    let say = |job: JobId, what: String| {
        let name = world.history(|history| history.name(job.0));
        world.violation(format!("job #{name} {what}"));
    };
    let claimed = |job: JobId| world.history(|history| history.claimed_at(job, blow.at)).map(|at| at - blow.at);
    let within = |limit: Duration| {
        for job in &blow.waiting {
            match claimed(*job) {
                Some(after) if after <= limit => {}
                found => say(*job, format!("was claimed {found:?} later, and {limit:?} are promised")),
            }
        }
    };
    match world.case.story {
        Story::Kill => {
            within(AFTER_DEATH);
            let limit = chrono::TimeDelta::from_std(AFTER_DEATH).expect("seconds");
            let slow = world.history(|history| {
                let all = history.claims.values().flatten();
                all.filter(|claimed| claimed.waited > limit)
                    .map(|claimed| (claimed.fence.job, claimed.waited))
                    .collect::<Vec<_>>()
            });
            for (job, waited) in slow {
                say(job, format!("waited for {waited}, and {AFTER_DEATH:?} are promised"));
            }
        }
        Story::Purge => {
            within(AFTER_LOSS + ONE_JOB * u32::try_from(blow.waiting.len()).unwrap_or(u32::MAX));
            let first = blow.waiting.iter().filter_map(|job| claimed(*job)).min();
            if !blow.waiting.is_empty() && first.is_none_or(|first| first > AFTER_LOSS) {
                say(blow.waiting[0], format!("and others: the first was claimed {first:?} after the loss"));
            }
        }
        Story::FaultRates => within(AFTER_OUTAGE),
        Story::Storm | Story::Clocks | Story::Backlog => {}
    }
}

async fn jobs(world: &World, choose: impl FnOnce(&mut JobFilter)) -> Vec<JobView> {
    let mut filter = JobFilter { tenant: DEFAULT_TENANT.to_owned(), ..JobFilter::default() };
    choose(&mut filter);
    let (mut all, mut page) = (Vec::new(), Page { after: None, limit: 1_000 });
    loop {
        let found = world.store.jobs(&filter, &page).await.expect("the store answers");
        page.after = found.last().map(|job| job.id.to_string());
        let last = found.len() < 1_000;
        all.extend(found);
        if last {
            return all;
        }
    }
}

async fn batches(world: &World) -> Vec<BatchView> {
    let filter = BatchFilter { tenant: DEFAULT_TENANT.to_owned(), ..BatchFilter::default() };
    world.store.batches(&filter, &Page { after: None, limit: 1_000 }).await.expect("the store answers")
}

async fn quarantine(world: &World, batch: BatchId) -> Vec<QuarantineView> {
    let tenant = DEFAULT_TENANT.to_owned();
    let filter = QuarantineFilter { tenant, batch: Some(batch), ..QuarantineFilter::default() };
    world.store.quarantine(&filter, &Page { after: None, limit: 1_000 }).await.expect("the store answers")
}
