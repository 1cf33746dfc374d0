//! Everything that can be seen of a store, in words that are the same on both sides.

use std::time::Duration;

use gristmill_core::chunk::ChunkPayload;
use gristmill_core::job::JobState;
use gristmill_store::{
    BatchFilter, BatchView, EventFilter, JobFilter, JobView, Page, PauseView, PoisonView, QuarantineFilter, QueueView,
};
use serde_json::Value;

use crate::side::{Pair, Side, TENANTS, batch_name, worker_name};

const ALL: Page = Page { after: None, limit: 1_000 };

/// Everything, one per line.
pub(crate) async fn at(pair: &Pair<'_>, side: &Side) -> Vec<String> {
    let mut lines = Vec::new();
    for tenant in TENANTS {
        of_tenant(side, tenant, &mut lines).await;
    }
    let store = &side.store;
    let mut workers: Vec<String> = Vec::new();
    for worker in store.workers().await.expect("listed") {
        workers.push(format!("{} {} {}", worker_name(worker.id), worker.state, worker.running));
    }
    workers.sort();
    lines.extend(workers);
    let stalled = store.stalled_plans(Duration::ZERO, 100).await.expect("looked");
    lines.extend(stalled.iter().map(|(tenant, batch)| format!("stalled {tenant} {}", batch_name(*batch))));
    let report = store.reconcile(true).await.expect("compared");
    lines.push(format!("{} batches, {:?}", report.batches, report.findings));
    let known = pair.jobs.len();
    lines.push(format!("{known} jobs were ever seen"));
    crate::planned::look(side, &mut lines).await;
    crate::limited::look(side, &mut lines).await;
    crate::pruned::look(side, &mut lines).await;
    lines.extend(poison(side).await);
    lines.extend(outbox(side).await);
    lines
}

async fn of_tenant(side: &Side, tenant: &str, lines: &mut Vec<String>) {
    let store = &side.store;
    let filter = JobFilter { tenant: tenant.to_owned(), ..JobFilter::default() };
    let listed = store.jobs(&filter, &ALL).await.expect("listed");
    let mut jobs = Vec::new();
    for job in listed {
        let name = side.name(job.id).await;
        let whole = store.job(tenant, job.id).await.expect("asked").expect("it was listed");
        jobs.push(format!("{name} {}", told_job(&whole)));
        if job.state == JobState::Queued {
            jobs.push(format!("{name} {}", crate::limited::told_standing(side, job.id).await));
        }
    }
    jobs.sort();
    lines.extend(jobs);
    let filter = BatchFilter { tenant: tenant.to_owned(), ..BatchFilter::default() };
    for batch in store.batches(&filter, &ALL).await.expect("listed") {
        lines.push(told_batch(&batch));
        for result in store.chunk_results(batch.id, -1, 1_000).await.expect("listed") {
            lines.push(format!("result {} {} {:?}", result.seq, result.generation, result.result));
        }
        lines.push(format!("parts {:?}", store.output_parts(batch.id, -1, 1_000).await.expect("listed")));
        for chunk in store.chunk_briefs(batch.id, 0, 1_000).await.expect("listed") {
            lines.push(format!("chunk {} {} {} {}", chunk.seq, chunk.state, chunk.attempt, chunk.items));
        }
        lines.push(format!("ranges {:?}", store.chunk_ranges(batch.id, 2).await.expect("counted")));
    }
    let filter = QuarantineFilter { tenant: tenant.to_owned(), batch: None, ..Default::default() };
    let mut items: Vec<String> = Vec::new();
    for item in store.quarantine(&filter, &ALL).await.expect("listed") {
        let (batch, seq, state) = (batch_name(item.batch), item.seq, item.state);
        items.push(format!(
            "{batch} {seq} {} {} {} {} {} {state}",
            item.generation, item.position, item.stage, item.reason, item.item
        ));
    }
    items.sort();
    lines.extend(items);
    for found in store.unhandled(tenant).await.expect("listed") {
        lines.push(format!("unserved {} {} {} {}", found.queue, found.kind, found.version, found.jobs));
    }
    lines.extend(store.queues(tenant).await.expect("listed").iter().map(told_queue));
    lines.extend(events(side, tenant).await);
}

/// What the store has reported by itself. Jobs of its own have other ids on each side, and so another order.
async fn events(side: &Side, tenant: &str) -> Vec<String> {
    while side.store.sequence_events(1_000).await.expect("sequenced") > 0 {}
    let all = EventFilter { tenant: tenant.to_owned(), limit: 1_000, ..EventFilter::default() };
    let mut lines = Vec::new();
    for event in side.store.list_events(&all).await.expect("listed") {
        let mut data = event.data.clone();
        let about = match data.get("job").and_then(Value::as_str).and_then(|job| job.parse().ok()) {
            Some(job) => side.name(job).await,
            None => event.subject.clone().unwrap_or_default(),
        };
        if let Some(fields) = data.as_object_mut() {
            // Rows of the ledger that an event made have ticks of the clock.
            for name in ["job", "tick"] {
                fields.remove(name);
            }
        }
        lines.push(format!("event {} {about} {} {data}", event.kind, event.depth));
    }
    lines.sort();
    lines
}

fn told_job(job: &JobView) -> String {
    let JobView {
        tenant,
        queue,
        priority,
        key,
        kind,
        version,
        state,
        attempt,
        max_attempts,
        snoozes,
        seq,
        generation,
        items,
        ..
    } = job;
    // What was compressed is unpacked; the rest is as it was given.
    let payload = match serde_json::from_value::<ChunkPayload>(job.payload.clone()) {
        Ok(chunk) => format!("{} from {}: {:?}", chunk.items, chunk.first, chunk.slice),
        Err(_) => told_payload(&job.payload),
    };
    let attempts: Vec<String> = job
        .attempts
        .iter()
        .map(|one| {
            let (worker, begun) = (one.worker.map(worker_name), one.started_at.is_some());
            format!("{} {worker:?} {} {:?} {begun}", one.attempt, one.ending, one.error)
        })
        .collect();
    format!(
        "{tenant} {queue} {priority} {key:?} {kind}@{version} {state} {attempt}/{max_attempts} snoozed {snoozes} {:?} {seq:?} {generation} {items} {payload} \
         {:?} {:?} {:?} waits {} begun {} finished {} {attempts:?}",
        job.batch.map(batch_name),
        job.output,
        job.error,
        job.worker.map(worker_name),
        job.run_at.is_some(),
        job.started_at.is_some(),
        job.finished_at.is_some()
    )
}

/// A payload in a form that is the same on both sides: one that reports on a batch has instants in it.
pub(crate) fn told_payload(payload: &Value) -> String {
    told_of(payload).unwrap_or_else(|| payload.to_string())
}

/// What failed, in a job that reports on a batch.
fn told_of(payload: &Value) -> Option<String> {
    let Value::Object(fields) = payload else { return None };
    if let Some(failure) = fields.get("failure") {
        return Some(format!("tells of {failure}"));
    }
    let within = fields.values().find_map(told_of);
    within.or_else(|| fields.contains_key("late_after").then(|| "tells that it is late".to_owned()))
}

fn told_batch(batch: &BatchView) -> String {
    let BatchView { name, state, paused, generation, counts, chunks, remaining, chunks_dead, retries, .. } = batch;
    format!(
        "{} {name} {state} paused {paused} {} {generation} {counts:?} {chunks} {remaining} {chunks_dead} {retries} {} \
         {:?} {:?} {}",
        batch_name(batch.id),
        said(batch.pause.as_ref()),
        batch.failure_budget,
        batch.result,
        batch.reason,
        batch.finished_at.is_some()
    )
}

fn told_queue(queue: &QueueView) -> String {
    let waits = queue.oldest_queued_at.is_some();
    let said = said(queue.pause.as_ref());
    format!("{:?} waits {waits} {said}", QueueView { oldest_queued_at: None, pause: None, ..queue.clone() })
}

pub(crate) fn said(pause: Option<&PauseView>) -> String {
    pause.map_or_else(String::new, |pause| format!("by {:?}: {:?}", pause.by, pause.reason))
}

async fn poison(side: &Side) -> Vec<String> {
    let mut all = Vec::new();
    for one in side.store.poison(&ALL).await.expect("listed") {
        let whole = side.store.poison_message(one.id).await.expect("asked").expect("it was listed");
        let (bytes, headers) = (whole.bytes, whole.headers);
        let PoisonView { queue, sha256, size, reason, source, seen, .. } = one;
        all.push(format!("poison {queue} {sha256} {size} {reason} {source} {seen} {bytes:?} {headers}"));
    }
    all.sort();
    all
}

/// What waits to be published, whether it is held or not.
async fn outbox(side: &Side) -> Vec<String> {
    side.store.let_go_outbox().await;
    let mut all = Vec::new();
    for dispatch in side.store.outbox_take(Duration::ZERO, 1_000, 1_000).await.expect("taken") {
        for job in &dispatch.jobs {
            let name = side.name(*job).await;
            all.push(format!("outbox {:?} {} {} {name}", dispatch.purpose, dispatch.queue, dispatch.priority));
        }
    }
    all.sort();
    all
}
