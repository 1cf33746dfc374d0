//! What is done in the database with a past, the same on both: each step with a name, counted by itself.

use std::future::Future;
use std::time::Duration;

use gristmill_core::id::{BatchId, DEFAULT_TENANT, JobId, WorkerId};
use gristmill_core::job::{ClaimedJob, JobState, NewJob};
use gristmill_core::limit::LimitSpec;
use gristmill_core::unique::{Hold, OnConflict, Unique};
use gristmill_store::testing;
use gristmill_store::{
    BatchFilter, Claim, JobFilter, LimitOrigin, LostJobs, Page, QuarantineFilter, SaveLimit, StoreHandle,
};
use uuid::Uuid;

use crate::history::{LIMITED, MAIL, PAUSED, held};

/// All that a probe looks for, one page of it.
const LOST: LostJobs = LostJobs { older_than: Duration::ZERO, after: None, limit: 100 };

const LONG: Duration = Duration::from_secs(600);

/// Counts what a step reads.
pub(crate) trait Meter {
    /// Runs a step and notes how much it read.
    async fn step<T>(&mut self, name: &str, step: impl Future<Output = gristmill_store::Result<T>>) -> T;
}

/// Everything that happens often, or that an operator waits for.
pub(crate) async fn all(store: &StoreHandle, meter: &mut impl Meter) {
    limit(store, meter).await;
    let worker = testing::worker(LONG);
    meter.step("register", store.register_worker(&worker)).await;
    work(store, meter, worker.id).await;
    batch(store, meter, worker.id).await;
    duties(store, meter, worker.id).await;
    control(store, meter).await;
    views(store, meter).await;
    lists(store, meter).await;
}

async fn limit(store: &StoreHandle, meter: &mut impl Meter) {
    let spec = LimitSpec { queues: [LIMITED.to_owned()].into(), concurrency: Some(5), ..LimitSpec::default() };
    let save = SaveLimit { name: "crm".to_owned(), origin: LimitOrigin::Command, spec };
    meter.step("save a limit", store.save_limit(&save)).await;
}

fn on(queue: &str, job: NewJob) -> NewJob {
    NewJob { queue: queue.to_owned(), ..job }
}

fn claim(worker: WorkerId, limit: u32) -> Claim {
    Claim { queues: vec![PAUSED.to_owned(), MAIL.to_owned()], ..testing::claim_as(worker, limit) }
}

async fn work(store: &StoreHandle, meter: &mut impl Meter, worker: WorkerId) {
    let jobs: Vec<NewJob> = testing::jobs(100).into_iter().map(|job| on(MAIL, job)).collect();
    meter.step("enqueue", store.enqueue(&jobs)).await;
    meter.step("enqueue again", store.enqueue(&jobs)).await;
    let unique = Unique { key: "one".to_owned(), hold: Hold::Period(LONG), conflict: OnConflict::Keep };
    let unique = |n: u32| {
        on(MAIL, NewJob { unique: Some(unique.clone()), idempotency_key: Some(n.to_string()), ..testing::job() })
    };
    meter.step("enqueue a unique job", store.enqueue(&[unique(1)])).await;
    meter.step("enqueue a unique job that is held", store.enqueue(&[unique(2)])).await;
    let claimed =
        meter.step("claim beside what is paused, foreign and limited", store.claim_next(&claim(worker, 10))).await;
    assert_eq!(claimed.len(), 10, "what may be claimed is found");
    let everything = Claim { queues: Vec::new(), ..claim(worker, 10) };
    let more = meter.step("claim from all queues", store.claim_next(&everything)).await;
    assert_eq!(more.len(), 10, "what may be claimed is found");
    let limited = meter.step("claim by turns", store.claim_limited(&everything)).await;
    assert_eq!(limited.claimed.len(), 5, "as many as the limit allows");
    meter.step("claim by turns when nothing may begin", store.claim_limited(&everything)).await;
    let ids: Vec<JobId> = jobs.iter().skip(40).take(10).map(|job| job.id).collect();
    let by_message = meter.step("claim by message", store.claim(&claim(worker, 10), &ids)).await;
    assert_eq!(by_message.claimed.len(), 10, "{by_message:?}");
    meter.step("misrouted", store.misrouted(&claim(worker, 10))).await;
    let fences: Vec<_> = claimed.iter().map(|job| job.fence).collect();
    meter.step("revoked", store.revoked(&fences)).await;
    let ended = |job: &ClaimedJob| match job.fence.job.0.as_u128() % 3 {
        0 => testing::dead(job),
        1 => testing::retry(job, Duration::ZERO),
        _ => testing::done(job),
    };
    meter.step("complete", store.complete(&claimed.iter().map(ended).collect::<Vec<_>>())).await;
    let held = by_message.claimed.iter().map(|job| job.fence).collect::<Vec<_>>();
    meter.step("release what is unknown", store.release_unknown(worker, &held)).await;
}

async fn batch(store: &StoreHandle, meter: &mut impl Meter, worker: WorkerId) {
    let batch = testing::batch();
    meter.step("create a batch", store.create_batch(&batch)).await;
    meter.step("add chunks", store.add_chunks(batch.id, &testing::chunks(20, 2))).await;
    meter.step("seal", store.seal(batch.id)).await;
    let ids: Vec<JobId> = chunks_of(store, batch.id).await;
    let claimed = meter.step("claim chunks", store.claim(&testing::claim_as(worker, 20), &ids)).await.claimed;
    let complete = |job: &ClaimedJob| testing::chunk_done(job, 2);
    let (some, rest) = claimed.split_at(10);
    meter.step("complete chunks", store.complete(&some.iter().map(complete).collect::<Vec<_>>())).await;
    meter.step("halt", store.halt_batch(batch.id, 0, "over")).await;
    let fenced =
        meter.step("complete fenced chunks", store.complete(&rest.iter().map(complete).collect::<Vec<_>>())).await;
    assert_eq!(fenced.settled, 0, "they were cancelled");
}

async fn chunks_of(store: &StoreHandle, batch: BatchId) -> Vec<JobId> {
    let filter = JobFilter { tenant: DEFAULT_TENANT.to_owned(), batch: Some(batch), ..JobFilter::default() };
    store.jobs(&filter, &Page::default()).await.expect("listed").iter().map(|job| job.id).collect()
}

async fn duties(store: &StoreHandle, meter: &mut impl Meter, worker: WorkerId) {
    meter.step("rescue nothing", store.rescue(200)).await;
    let lost = testing::worker(Duration::ZERO);
    meter.step("register", store.register_worker(&lost)).await;
    let claimed = meter.step("claim", store.claim_next(&claim(lost.id, 5))).await;
    assert_eq!(claimed.len(), 5);
    testing::eventually("the rescue", async || {
        let report = store.rescue(200).await.expect("rescued");
        (report.requeued > 0).then_some(())
    })
    .await;
    meter.step("rescue nothing again", store.rescue(200)).await;
    meter.step("continue stops", store.continue_stops()).await;
    meter.step("promote", store.promote(500)).await;
    meter.step("retire", store.retire_worker(worker)).await;
    meter.step("outbox", store.outbox_take(Duration::ZERO, 100, 100)).await;
    meter.step("redispatch", store.redispatch(MAIL, &LOST)).await;
    meter.step("redispatch what is paused", store.redispatch(PAUSED, &LOST)).await;
    meter.step("raise what is aged", store.raise_aged(100)).await;
    meter.step("report what is late", store.notify_late(100)).await;
    meter.step("spools", store.spools(LONG, 100)).await;
    meter.step("stalled plans", store.stalled_plans(LONG, 100)).await;
    let ticks = meter.step("startable ticks", store.startable_ticks(100)).await;
    assert_eq!(ticks.len(), 2, "as many as the backfill allows");
}

async fn control(store: &StoreHandle, meter: &mut impl Meter) {
    let jobs: Vec<NewJob> = testing::jobs(12).into_iter().map(|job| on(MAIL, job)).collect();
    meter.step("enqueue", store.enqueue(&jobs)).await;
    let ids: Vec<JobId> = jobs.iter().map(|job| job.id).collect();
    meter.step("cancel a job", store.cancel_job(DEFAULT_TENANT, ids[0], "no", false)).await;
    meter.step("cancel jobs", store.cancel_jobs(DEFAULT_TENANT, &ids[1..10], "no", false)).await;
    let batch = testing::sealed(store, 10, 1).await;
    meter.step("pause a batch", store.pause_batch(DEFAULT_TENANT, batch, Some(&Default::default()), false)).await;
    meter.step("resume a batch", store.pause_batch(DEFAULT_TENANT, batch, None, false)).await;
    meter.step("cancel a batch", store.cancel_batch(DEFAULT_TENANT, batch, "no", false)).await;
    meter.step("what blocks a job", store.blockers(ids[11])).await;
}

async fn views(store: &StoreHandle, meter: &mut impl Meter) {
    meter.step("queues", store.queues(DEFAULT_TENANT)).await;
    meter.step("queue names", store.queue_names()).await;
    meter.step("tenants", store.tenants()).await;
    meter.step("unhandled", store.unhandled(DEFAULT_TENANT)).await;
    meter.step("limits", store.limits()).await;
    meter.step("workers", store.workers()).await;
    let batches = BatchFilter { tenant: DEFAULT_TENANT.to_owned(), ..BatchFilter::default() };
    meter.step("batches", store.batches(&batches, &Page::default())).await;
    let quarantine = QuarantineFilter { tenant: DEFAULT_TENANT.to_owned(), ..QuarantineFilter::default() };
    meter.step("quarantine", store.quarantine(&quarantine, &Page::default())).await;
    meter.step("chunks one by one", store.chunk_briefs(held(), 5_000, 1_000)).await;
    meter.step("chunks by ranges", store.chunk_ranges(held(), 100)).await;
    meter.step("a job", store.job(DEFAULT_TENANT, testing::job_id())).await;
}

/// Every filter that the command line offers, each where it finds something and where it finds nothing.
async fn lists(store: &StoreHandle, meter: &mut impl Meter) {
    let all = JobFilter { tenant: DEFAULT_TENANT.to_owned(), ..JobFilter::default() };
    let some = |text: &str| Some(text.to_owned());
    let dead = JobFilter { states: vec![JobState::Dead], ..all.clone() };
    let filters = [
        ("all", all.clone()),
        ("another tenant", JobFilter { tenant: "nobody".to_owned(), ..all.clone() }),
        ("queued", JobFilter { states: vec![JobState::Queued], ..all.clone() }),
        ("running", JobFilter { states: vec![JobState::Running], ..all.clone() }),
        ("retry or cancelled", JobFilter { states: vec![JobState::Retry, JobState::Cancelled], ..all.clone() }),
        ("a queue", JobFilter { queue: some(MAIL), ..all.clone() }),
        ("no such queue", JobFilter { queue: some("none"), ..all.clone() }),
        ("a kind", JobFilter { kind: some("foreign"), ..all.clone() }),
        ("no such kind", JobFilter { kind: some("none"), ..all.clone() }),
        ("a kind that this queue lacks", JobFilter { queue: some(PAUSED), kind: some("foreign"), ..all.clone() }),
        (
            "a kind in a state that it lacks",
            JobFilter { states: vec![JobState::Done], kind: some("foreign"), ..all.clone() },
        ),
        ("a key", JobFilter { key: some("key 8000"), ..all.clone() }),
        ("no such key", JobFilter { key: some("none"), ..all.clone() }),
        ("a key and a kind", JobFilter { key: some("key 8000"), kind: some("none"), ..all.clone() }),
        ("no such batch", JobFilter { batch: Some(BatchId(Uuid::now_v7())), ..all.clone() }),
        ("a batch", JobFilter { batch: Some(held()), ..all.clone() }),
        ("a kind that this batch lacks", JobFilter { batch: Some(held()), kind: some("none"), ..all.clone() }),
        ("dead", dead.clone()),
        ("dead of no such kind", JobFilter { kind: some("none"), ..dead.clone() }),
        ("dead of no such queue", JobFilter { queue: some("none"), ..dead.clone() }),
        ("dead since now", JobFilter { since: Some(store.now().await.expect("asked")), ..dead.clone() }),
    ];
    for (name, filter) in &filters {
        meter.step(&format!("list: {name}"), store.jobs(filter, &Page::default())).await;
    }
    let first = meter.step("list: page 1", store.jobs(&all, &Page::default())).await;
    let after = first.last().map(|job| job.id.to_string());
    meter.step("list: page 2", store.jobs(&all, &Page { after, limit: 50 })).await;
}
