//! The doctor's checks of the work: whether anybody does it.

use gristmill_core::job::JobState;
use gristmill_service::documents::FindingDocument as Finding;
use gristmill_store::{JobFilter, JobView, Page, QueueView, StoreError, StoreHandle, WorkerView};

use crate::cli::context::CommandContext;

/// The most dead aggregates that are named.
const AGGREGATES_MAX: u32 = 5;

/// What is wrong with the scheduler, the workers and the aggregates.
pub(super) async fn work(context: &CommandContext, store: &StoreHandle) -> Vec<Finding> {
    match checked(context, store).await {
        Ok(findings) => findings.into(),
        Err(error) => vec![Finding::problem("work", error.to_string(), "see the finding about the store")],
    }
}

async fn checked(context: &CommandContext, store: &StoreHandle) -> Result<[Finding; 3], StoreError> {
    let workers = store.workers().await?;
    let queues = store.queues(&context.tenant).await?;
    let schedules = store.schedules(Some(&context.tenant), None).await?;
    let due = schedules.iter().filter(|schedule| schedule.enabled && schedule.next_at.is_some()).count();
    let dead = JobFilter {
        tenant: context.tenant.clone(),
        states: vec![JobState::Dead],
        kind: Some("aggregate".to_owned()),
        ..JobFilter::default()
    };
    let dead = store.jobs(&dead, &Page { after: None, limit: AGGREGATES_MAX }).await?;
    let program = context.program_here();
    Ok([
        scheduler(&workers, &queues, due, &program, store.embedded()),
        served(&workers, &queues, &program),
        aggregates(&dead, &program),
    ])
}

/// Without a scheduler no job that waits for its time ever runs, and no schedule does.
fn scheduler(workers: &[WorkerView], queues: &[QueueView], schedules: usize, program: &str, embedded: bool) -> Finding {
    let alive = workers.iter().filter(|worker| worker.schedules()).count();
    let jobs: u64 = queues.iter().map(|queue| queue.scheduled + queue.retry).sum();
    match (alive, jobs, schedules) {
        (0, 0, 0) => Finding::ok("scheduler", "none is alive, and nothing waits for one"),
        (0, _, _) => {
            let found =
                format!("none is alive: {jobs} jobs wait for their time, and {schedules} schedules for their next");
            let role = if embedded { "dev" } else { "scheduler" };
            Finding::problem("scheduler", found, format!("start one with `{program} {role}`"))
        }
        (alive, _, _) => Finding::ok("scheduler", format!("{alive} alive")),
    }
}

/// A queue that is paused waits on purpose.
fn served(workers: &[WorkerView], queues: &[QueueView], program: &str) -> Finding {
    let alive = workers.iter().filter(|worker| worker.works()).count();
    let lacking = |queue: &&QueueView| {
        let served = workers.iter().any(|worker| worker.works() && worker.serves(&queue.name));
        queue.queued > 0 && !queue.paused && !served
    };
    let lacking: Vec<&QueueView> = queues.iter().filter(lacking).collect();
    if lacking.is_empty() {
        return Finding::ok("workers", format!("{alive} alive, and no queue with jobs lacks one"));
    }
    let waits = |queue: &&QueueView| format!("{} jobs wait on queue `{}`", queue.queued, queue.name);
    let waits = lacking.iter().map(waits).collect::<Vec<_>>().join(", ");
    let names = lacking.iter().map(|queue| queue.name.as_str()).collect::<Vec<_>>().join(",");
    match alive {
        0 => {
            Finding::problem("workers", format!("none is alive: {waits}"), format!("start one with `{program} worker`"))
        }
        alive => Finding::problem(
            "workers",
            format!("none of the {alive} alive serves it: {waits}"),
            format!("start one with `{program} worker run --queues {names}`"),
        ),
    }
}

/// The aggregate of a batch that went on since is no dead letter any more.
fn aggregates(dead: &[JobView], program: &str) -> Finding {
    let Some(first) = dead.iter().find_map(|job| job.batch) else {
        return Finding::ok("aggregates", "none is dead");
    };
    let error = |job: &JobView| job.error.clone().unwrap_or_else(|| "it left no error".to_owned());
    let of = |job: &JobView| Some(format!("that of batch {} is dead: {}", job.batch?, error(job)));
    let found: Vec<String> = dead.iter().filter_map(of).collect();
    let remedy = format!("mend what the error names, then `{program} batch restart {first}`");
    Finding::problem("aggregates", found.join("; "), remedy)
}
