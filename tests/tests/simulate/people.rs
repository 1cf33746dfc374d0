//! Those who want something: creators of batches and jobs, and an operator.

use std::sync::Arc;
use std::time::Duration;

use gristmill_core::chunk::{ChunkPayload, Slice, SourceFingerprint};
use gristmill_core::duration::Span;
use gristmill_core::id::{BatchId, DEFAULT_TENANT, JobId};
use gristmill_core::job::{JobState, NewJob, Priority, RunAt};
use gristmill_core::retry::RetryPolicy;
use gristmill_service::dispatcher::Dispatcher;
use gristmill_store::{
    BatchFilter, ControlReport, JobFilter, NewBatch, NewChunk, Page, Pause, QuarantineRedrive, Restart, Result,
    StoreError, StoreHandle,
};
use gristmill_testkit::Random;
use serde_json::{Value, json};
use tokio::time::sleep;

use crate::duties::QUEUES;
use crate::items;
use crate::plan::Story;
use crate::world::{PlannedBatch, PlannedJob, World};

/// Shorter than a lease, so that the deadline comes first, and longer, so that the lease does.
const TIMEOUTS: [u64; 2] = [8, 30];

/// How often a store that is away is asked.
const TRIES_MAX: u32 = 10;

/// Somebody starts a batch, as `gristmill_service::Service::start_batch` does it; when that died in between,
/// somebody asks once more with the same key.
pub(crate) async fn start_batch(world: Arc<World>, number: u64, mut random: Random) {
    let wait = if world.plan.storm > Duration::from_secs(60) { 0 } else { 6_000 };
    sleep(random.millis(0, wait)).await;
    let mut left = random.between(1, 6);
    let mut sizes = Vec::new();
    while left > 0 {
        sizes.push(random.between(1, 5));
        left -= 1;
    }
    let key = format!("batch-{number}");
    let items = sizes.iter().sum();
    world.work(|work| work.batches.push(PlannedBatch { key: key.clone(), id: None, items, sealed: false }));
    let calm = world.case.story.is_calm();
    let failure_budget = if calm || random.happens(700) { "100%" } else { "3" };
    let priority = Priority::ALL[random.below(3) as usize];
    let definition = items::definition(
        failure_budget,
        QUEUES[random.below(2) as usize],
        priority.as_str(),
        TIMEOUTS[random.below(2) as usize],
    );
    for life in 1..=2 {
        let process = world.process(&format!("creator {number}"), life);
        let (store, dispatcher) = world.ground(&process, &mut random);
        let batch = NewBatch {
            id: BatchId(world.id()),
            tenant: DEFAULT_TENANT.to_owned(),
            name: "orders".to_owned(),
            definition: definition.clone(),
            fingerprint: SourceFingerprint::default(),
            params: Value::Null,
            idempotency_key: Some(key.clone()),
            trace: None,
        };
        let plan = plan(Arc::clone(&world), store, dispatcher, batch, sizes.clone(), random.fork());
        tokio::select! {
            biased;
            () = process.gone.notified() => {}
            _ = plan => {
                process.life.end();
                world.leave(&process);
                return;
            }
        }
        sleep(random.millis(500, 5_000)).await;
    }
}

async fn plan(
    world: Arc<World>,
    store: StoreHandle,
    dispatcher: Dispatcher,
    batch: NewBatch,
    sizes: Vec<u64>,
    mut random: Random,
) -> Result<()> {
    let created = patiently(|| store.create_batch(&batch)).await?;
    world.work(|work| {
        let planned = work.batches.iter_mut().find(|planned| Some(&planned.key) == batch.idempotency_key.as_ref());
        planned.into_iter().for_each(|planned| planned.id = Some(created.id));
    });
    if created.id != batch.id {
        return Ok(());
    }
    let (mut first, mut chunks) = (0, Vec::new());
    for (seq, items) in (0..).zip(sizes) {
        let slice = Slice::Bytes { file: 0, from: first, to: first + items, line: first + 1 };
        chunks.push(NewChunk { id: JobId(world.id()), seq, payload: ChunkPayload::new(slice, items, first) });
        first += items;
    }
    while !chunks.is_empty() {
        let group: Vec<NewChunk> = chunks.drain(..chunks.len().min(random.between(1, 3) as usize)).collect();
        let added = patiently(|| store.add_chunks(batch.id, &group)).await?;
        dispatcher.publish(&added).await;
    }
    let sealed = patiently(|| store.seal(batch.id)).await?;
    world.work(|work| {
        let planned = work.batches.iter_mut().find(|planned| planned.id == Some(batch.id));
        planned.into_iter().for_each(|planned| planned.sealed = true);
    });
    dispatcher.publish(&sealed).await;
    Ok(())
}

async fn patiently<T, F: Future<Output = Result<T>>>(transition: impl Fn() -> F) -> Result<T> {
    let mut tries = 0;
    loop {
        match transition().await {
            Err(error) if error.is_transient() && tries < TRIES_MAX => {
                tries += 1;
                sleep(Duration::from_millis(50 << tries)).await;
            }
            result => return result,
        }
    }
}

/// Somebody enqueues jobs, each under its own key, and asks again until the store has said that it has them.
pub(crate) async fn enqueue(world: Arc<World>, mut random: Random) {
    let (mut process, mut lives) = (world.process("client", 1), 1);
    let (mut store, mut dispatcher) = world.ground(&process, &mut random);
    let mut number = 0;
    let group = if world.case.story == Story::Backlog { 100 } else { 1 };
    while number < world.plan.jobs {
        let numbers: Vec<u64> = (number..world.plan.jobs.min(number + group)).collect();
        number += numbers.len() as u64;
        let keys = numbers.iter().map(|number| PlannedJob { key: format!("job-{number}"), id: None });
        world.work(|work| work.jobs.extend(keys));
        let jobs: Vec<NewJob> = numbers.iter().map(|number| job(&world, *number, &mut random)).collect();
        loop {
            tokio::select! {
                biased;
                () = process.gone.notified() => {
                    lives += 1;
                    sleep(random.millis(100, 3_000)).await;
                    process = world.process("client", lives);
                    (store, dispatcher) = world.ground(&process, &mut random);
                }
                done = hand_in(&world, &store, &dispatcher, &jobs) => if done { break },
            }
        }
        let most = match world.case.story {
            Story::Storm | Story::Clocks => 4_000,
            Story::Kill | Story::FaultRates => 2_500,
            Story::Purge => 200,
            Story::Backlog => 10,
        };
        sleep(random.millis(0, most)).await;
    }
    process.life.end();
    world.leave(&process);
}

async fn hand_in(world: &World, store: &StoreHandle, dispatcher: &Dispatcher, jobs: &[NewJob]) -> bool {
    // A client that asks again knows nothing of the ids that it made before.
    let fresh: Vec<NewJob> = jobs.iter().map(|job| NewJob { id: JobId(world.id()), ..job.clone() }).collect();
    match store.enqueue(&fresh).await {
        Ok(report) => {
            world.work(|work| {
                for (job, enqueued) in jobs.iter().zip(&report.jobs) {
                    let planned =
                        work.jobs.iter_mut().find(|planned| Some(&planned.key) == job.idempotency_key.as_ref());
                    planned.into_iter().for_each(|planned| planned.id = Some(enqueued.id));
                }
            });
            dispatcher.publish(&report.dispatched).await;
            true
        }
        Err(_) => {
            sleep(Duration::from_millis(300)).await;
            false
        }
    }
}

fn job(world: &World, number: u64, random: &mut Random) -> NewJob {
    let stormy = matches!(world.case.story, Story::Storm | Story::Clocks);
    let later = stormy && random.happens(200);
    NewJob {
        queue: QUEUES[random.below(2) as usize].to_owned(),
        priority: Priority::ALL[random.below(3) as usize],
        run: if later { RunAt::In(random.millis(500, 10_000)) } else { RunAt::Now },
        max_attempts: if stormy { random.between(1, 4) as u32 } else { 20 },
        timeout: Duration::from_secs(TIMEOUTS[random.below(2) as usize]),
        retry: RetryPolicy::Fixed(Span(Duration::from_secs(1))),
        idempotency_key: Some(format!("job-{number}")),
        ..NewJob::new(JobId(world.id()), "work", json!({ "number": number }))
    }
}

/// Somebody who cancels, pauses, resumes, retries and redrives whatever is there.
pub(crate) async fn operate(world: Arc<World>, mut random: Random) {
    for life in 1.. {
        let process = world.process("operator", life);
        let (store, dispatcher) = world.ground(&process, &mut random);
        loop {
            sleep(random.millis(500, 4_000)).await;
            if world.is_calm() {
                process.life.end();
                return;
            }
            let act = act(&world, &store, &mut random);
            tokio::select! {
                biased;
                () = process.gone.notified() => break,
                done = act => if let Ok(Some(control_report)) = done {
                    world.count(|figures| figures.control_report += 1);
                    world.note(&process, "steers", None, control_report.affected);
                    dispatcher.publish(&control_report.dispatched).await;
                }
            }
        }
    }
}

async fn act(world: &World, store: &StoreHandle, random: &mut Random) -> Result<Option<ControlReport>> {
    let batches: Vec<BatchId> = world.work(|work| work.batches.iter().filter_map(|batch| batch.id).collect());
    let batch = batches.get(random.below(batches.len() as u64) as usize).copied();
    let queue = QUEUES[random.below(2) as usize];
    let tenant = DEFAULT_TENANT;
    let (draw, pause) = (random.below(100), random.happens(400).then(Pause::default));
    Ok(Some(match (draw, batch) {
        (0..=3, Some(batch)) => store.cancel_batch(tenant, batch, "somebody wanted it", false).await?,
        (4..=15, Some(batch)) => store.pause_batch(tenant, batch, pause.as_ref(), false).await?,
        (16..=29, Some(batch)) => {
            store.redrive_quarantine(tenant, &QuarantineRedrive { batch, items: Vec::new(), chunk: 3 }, false).await?
        }
        (30..=41, _) => store.pause_queue(tenant, queue, pause.as_ref(), false).await?,
        (42..=54, _) => match some_job(store, &[], random).await? {
            Some(job) => store.cancel_job(tenant, job, "somebody wanted it", false).await?,
            None => return Ok(None),
        },
        (55..=64, _) => match some_job(store, &[JobState::Retry, JobState::Scheduled], random).await? {
            Some(job) => store.retry_job(tenant, job, false).await?,
            None => return Ok(None),
        },
        (65..=71, Some(batch)) => {
            store.restart_batch(tenant, &Restart { batch, dead: false, failure_budget: None }, false).await?
        }
        _ => match some_job(store, &[JobState::Dead], random).await? {
            Some(job) => store.redrive_dead(tenant, &[job], false).await?,
            None => return Ok(None),
        },
    }))
}

async fn some_job(store: &StoreHandle, states: &[JobState], random: &mut Random) -> Result<Option<JobId>> {
    let filter = JobFilter { tenant: DEFAULT_TENANT.to_owned(), states: states.to_vec(), ..JobFilter::default() };
    let jobs = store.jobs(&filter, &Page { after: None, limit: 50 }).await?;
    Ok(jobs.get(random.below(jobs.len() as u64) as usize).map(|job| job.id))
}

/// After the storm: what is paused goes on. Asked again and again, since somebody who was stalled may still
/// pause something.
pub(crate) async fn resume(world: &World) -> std::result::Result<(), StoreError> {
    let store = &world.store;
    for queue in store.queues(DEFAULT_TENANT).await?.into_iter().filter(|queue| queue.paused) {
        store.pause_queue(DEFAULT_TENANT, &queue.name, None, false).await?;
    }
    let all = BatchFilter { tenant: DEFAULT_TENANT.to_owned(), ..BatchFilter::default() };
    for batch in store.batches(&all, &Page::default()).await?.into_iter().filter(|batch| batch.paused) {
        match store.pause_batch(DEFAULT_TENANT, batch.id, None, false).await {
            Ok(_) | Err(StoreError::NotFound(_) | StoreError::Conflict(_)) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}
