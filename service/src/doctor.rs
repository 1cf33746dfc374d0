//! What the doctor looks at in the store: its migrations, its clock, who works, what waits. Nothing is changed.

use std::time::Duration;

use gristmill_core::Instant;
use gristmill_core::job::JobState;
use gristmill_store::{
    JobFilter, JobView, MigrationStatus, Page, PrunedView, QueueView, StoreError, StoreHandle, UnhandledView,
    WorkerView,
};

use crate::documents::FindingDocument as Finding;

/// The most that two clocks may differ. State depends on the database's clock alone; people read both.
const SKEW_MAX: Duration = Duration::from_secs(5);

/// How long work to be published may wait: the relay takes what is older than a second, unless its queue is full.
const OUTBOX_WAIT_MAX: Duration = Duration::from_secs(300);

/// Everything that is found in the store, for a tenant. `program` is what a person types to call this program, `here` what
/// its own clock shows.
pub async fn of_the_store(store: &StoreHandle, tenant: &str, program: &str, here: Instant) -> Vec<Finding> {
    examine(store, tenant, program, here).await.findings
}

/// What is found, and what was read for it.
#[derive(Debug)]
pub struct Examined {
    /// Everything that is found.
    pub findings: Vec<Finding>,
    /// The processes, or why they could not be read.
    pub workers: Workers,
    /// The migrations.
    pub migrations: Result<MigrationStatus, StoreError>,
    /// What was deleted after its time.
    pub pruned: Result<Vec<PrunedView>, StoreError>,
}

/// The same with what was read for it: a page shows both.
pub async fn examine(store: &StoreHandle, tenant: &str, program: &str, here: Instant) -> Examined {
    // Read once: where processes come and go there are hundreds of them.
    let workers = store.workers().await;
    let (applied, pruned) = (store.migrations().await, store.pruned().await);
    let kinds = kinds(store, tenant, &workers).await;
    let mut findings = vec![migrations(store, &applied, program), clock(store, here).await, kinds];
    findings.extend(work(store, tenant, program, &workers).await);
    findings.extend(outbox(store, here).await);
    findings.push(retention(&pruned));
    findings.extend(tenants(store, program).await);
    Examined { findings, workers, migrations: applied, pruned }
}

fn migrations(store: &StoreHandle, applied: &Result<MigrationStatus, StoreError>, program: &str) -> Finding {
    match applied {
        Ok(status) if status.applied > status.known => Finding::problem(
            "migrations",
            format!("the database has migration {}, this program knows {}", status.applied, status.known),
            "use a newer gristmill",
        ),
        Ok(status) if status.applied < status.known && !store.embedded() => Finding::problem(
            "migrations",
            format!("the database has migration {}, this program needs {}", status.applied, status.known),
            format!("run `{program} db migrate`"),
        ),
        Ok(status) => Finding::ok("migrations", format!("{} of {}", status.applied, status.known)),
        Err(error) => Finding::problem("migrations", error.to_string(), format!("run `{program} db status`")),
    }
}

/// The processes, or why they could not be read.
pub type Workers = Result<Vec<WorkerView>, StoreError>;

/// Whether the server keeps tenants apart; nothing is said where it is not asked to.
async fn tenants(store: &StoreHandle, program: &str) -> Option<Finding> {
    let mend = || format!("say `{program} db roles`; until then requests of the API fail");
    match store.row_security().await {
        Ok(None) => None,
        Ok(Some(security)) if security.faults.is_empty() => {
            Some(Finding::ok("tenants", format!("kept apart by the server, by the role `{}`", security.role)))
        }
        Ok(Some(security)) => {
            let found =
                format!("`[store] api_role` is not in force: `{}`: {}", security.role, security.faults.join("; "));
            Some(Finding::problem("tenants", found, mend()))
        }
        Err(error) => Some(Finding::problem("tenants", error.to_string(), mend())),
    }
}

/// Jobs that no running worker can handle. When none is running at all, that is said once, for each queue.
async fn kinds(store: &StoreHandle, tenant: &str, workers: &Workers) -> Finding {
    let found = match workers {
        Ok(workers) if workers.iter().any(WorkerView::works) => {
            store.unhandled(tenant).await.map_err(|error| error.to_string())
        }
        Ok(_) => Ok(Vec::new()),
        Err(error) => Err(error.to_string()),
    };
    match found.map(|found| found.iter().map(waits_for).collect::<Vec<_>>()) {
        Ok(waiting) if waiting.is_empty() => Finding::ok("kinds", "no job waits for a kind that no live worker has"),
        Ok(waiting) => Finding::problem(
            "kinds",
            waiting.join("; "),
            "start a worker that has the kind and serves the queue, or cancel them: `gristmill job cancel --kind NAME`",
        ),
        Err(error) => Finding::problem("kinds", error, "see the finding about the store"),
    }
}

/// Describes what waits in vain.
pub fn waits_for(found: &UnhandledView) -> String {
    let UnhandledView { queue, kind, version, jobs } = found;
    let version = if *version == 1 { String::new() } else { format!(" version {version}") };
    format!("{jobs} jobs of kind `{kind}`{version} wait on queue `{queue}`, and no live worker has it")
}

async fn clock(store: &StoreHandle, here: Instant) -> Finding {
    match store.now().await {
        Ok(now) => {
            let skew = (here - now).abs().to_std().unwrap_or_default();
            let found = format!("{} ms apart from the database", skew.as_millis());
            if skew <= SKEW_MAX {
                return Finding::ok("clock", found);
            }
            Finding::problem("clock", found, "let both machines keep their time by NTP")
        }
        Err(error) => Finding::problem("clock", error.to_string(), "see the finding about the store"),
    }
}

/// Checks what waits to be published. Where no broker carries ids, nothing ever does.
async fn outbox(store: &StoreHandle, here: Instant) -> Option<Finding> {
    let backlog = store.outbox_backlog().await.ok()?;
    let oldest = backlog.oldest?;
    let waits = (here - oldest).to_std().unwrap_or_default();
    let found = format!("{} rows wait to be published, the oldest for {} s", backlog.rows, waits.as_secs());
    if waits <= OUTBOX_WAIT_MAX {
        return Some(Finding::ok("outbox", found));
    }
    let mend = "see that a scheduler runs (`gristmill worker list`) and that the broker takes messages";
    Some(Finding::problem("outbox", found, mend))
}

/// What was deleted so far: a database that only grows fills its disk one day.
fn retention(pruned: &Result<Vec<PrunedView>, StoreError>) -> Finding {
    match pruned {
        Ok(pruned) if pruned.is_empty() => Finding::ok("retention", "nothing has been deleted after its time yet"),
        Ok(pruned) => {
            let noun = |view: &PrunedView| format!("{} {}", view.deleted, view.noun);
            let nouns: Vec<String> = pruned.iter().map(noun).collect();
            let last = pruned.iter().map(|view| view.last_at).max().map_or_else(String::new, |at| at.to_rfc3339());
            Finding::ok("retention", format!("deleted after their time: {}; the last at {last}", nouns.join(", ")))
        }
        Err(error) => Finding::problem("retention", error.to_string(), "see the finding about the store"),
    }
}

/// The most dead aggregates that are named.
const AGGREGATES_MAX: u32 = 5;

/// What is wrong with the scheduler, the workers and the aggregates.
async fn work(store: &StoreHandle, tenant: &str, program: &str, workers: &Workers) -> Vec<Finding> {
    let found = match workers {
        Ok(workers) => checked(store, tenant, program, workers).await.map_err(|error| error.to_string()),
        Err(error) => Err(error.to_string()),
    };
    match found {
        Ok(findings) => findings.into(),
        Err(error) => vec![Finding::problem("work", error, "see the finding about the store")],
    }
}

async fn checked(
    store: &StoreHandle,
    tenant: &str,
    program: &str,
    workers: &[WorkerView],
) -> Result<[Finding; 3], StoreError> {
    let queues = store.queues(tenant).await?;
    let schedules = store.schedules(Some(tenant), None).await?;
    let due = schedules.iter().filter(|schedule| schedule.enabled && schedule.next_at.is_some()).count();
    let dead = JobFilter {
        tenant: tenant.to_owned(),
        states: vec![JobState::Dead],
        kind: Some("aggregate".to_owned()),
        ..JobFilter::default()
    };
    let dead = store.jobs(&dead, &Page { after: None, limit: AGGREGATES_MAX }).await?;
    Ok([
        scheduler(workers, &queues, due, program, store.embedded()),
        served(workers, &queues, program),
        aggregates(&dead, program),
    ])
}

/// Without a scheduler no job that waits for its time ever runs, and no schedule does.
fn scheduler(workers: &[WorkerView], queues: &[QueueView], schedules: usize, program: &str, embedded: bool) -> Finding {
    let alive = workers.iter().filter(|worker| worker.schedules()).count();
    let jobs: u64 = queues.iter().map(|queue| queue.scheduled + queue.retry).sum();
    match (alive, jobs, schedules) {
        (0, 0, 0) => Finding::ok("scheduler", "none is alive, and nothing waits for one"),
        (0, _, _) => {
            let jobs = one_or_many(jobs, "job waits for its time", "jobs wait for their time");
            let schedules = one_or_many(schedules as u64, "schedule for its next", "schedules for their next");
            let found = format!("none is alive: {jobs}, and {schedules}");
            let role = if embedded { "dev" } else { "scheduler" };
            Finding::problem("scheduler", found, format!("start one with `{program} {role}`"))
        }
        (alive, _, _) => Finding::ok("scheduler", format!("{alive} alive")),
    }
}

/// A number and the words for what it counts.
fn one_or_many(number: u64, one: &str, many: &str) -> String {
    format!("{number} {}", if number == 1 { one } else { many })
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
    let waits = |queue: &&QueueView| {
        format!("{} on queue `{}`", one_or_many(queue.queued, "job waits", "jobs wait"), queue.name)
    };
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
