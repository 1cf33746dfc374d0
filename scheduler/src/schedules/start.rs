//! What a run is made of: its parameters, its interval, its batch or its job.

use chrono::SecondsFormat;
use gristmill_core::Instant;
use gristmill_core::definition::OneOrMany;
use gristmill_core::id::{BatchId, JobId};
use gristmill_core::job::NewJob;
use gristmill_core::schedule::{JobSpec, ScheduleSpec, Target};
use gristmill_service::dispatcher::Dispatcher;
use gristmill_store::{FireTick, Firing, Run, StoreError, StoreHandle, TickCause, TickOutcome};
use serde_json::{Map, Value, json};
use uuid::Uuid;

use super::RunContext;
use super::render::rendered;
use crate::plan::{Prepared, StartBatch, StartError, fill, prepare, take_back};

/// What a run is told: the schedule's own parameters, `schedule` with the tick and its logical interval, and `event`
/// with what made the tick, where that was not the clock.
pub fn params(name: &str, spec: &ScheduleSpec, tick: &FireTick) -> Value {
    let text = |at: Instant| at.to_rfc3339_opts(SecondsFormat::AutoSi, true);
    let mut params = match &spec.params {
        Some(Value::Object(params)) => params.clone(),
        Some(other) => Map::from_iter([("value".to_owned(), other.clone())]),
        None => Map::new(),
    };
    let about = json!({
        "name": name,
        "tick": text(tick.tick),
        "from": text(tick.interval.0),
        "to": text(tick.interval.1),
        "timezone": spec.timezone.as_deref().unwrap_or("UTC"),
        "backfill": tick.cause == TickCause::Backfill,
    });
    params.insert("schedule".to_owned(), about);
    if let Some(event) = &tick.about {
        params.insert("event".to_owned(), event.clone());
    }
    Value::Object(params)
}

/// The job of a tick. Without a payload of its own it has the event's body, or what is known of the event.
///
/// # Errors
///
/// What is wrong with it, in words.
pub fn job(
    run_context: &RunContext,
    tenant: &str,
    name: &str,
    spec: &ScheduleSpec,
    tick: &FireTick,
) -> Result<NewJob, String> {
    let target = spec.target().map_err(|error| error.to_string())?;
    let Target::Job(JobSpec { kind, payload, queue, priority, max_attempts, timeout }) = target else {
        return Err("it runs a batch, not a job".to_owned());
    };
    let zone = spec.zone().map_err(|error| error.to_string())?;
    let payload = match (payload, &tick.about) {
        // A job that says nothing else is about the event itself.
        (Value::Null, Some(event)) => event.get("body").unwrap_or(event).clone(),
        _ => rendered(payload, &params(name, spec, tick), zone).map_err(|error| format!("its payload: {error}"))?,
    };
    let mut job = NewJob::new(JobId(Uuid::now_v7()), kind, payload);
    (run_context.job_defaults)(&mut job);
    tenant.clone_into(&mut job.tenant);
    if let Some(queue) = queue {
        job.queue.clone_from(queue);
    }
    job.priority = priority.unwrap_or(job.priority);
    job.max_attempts = max_attempts.unwrap_or(job.max_attempts);
    job.timeout = timeout.map_or(job.timeout, |timeout| timeout.0);
    Ok(job)
}

/// A tick that is nothing but its event.
pub fn event_tick(about: Value) -> FireTick {
    let now: Instant = chrono::Utc::now();
    FireTick {
        tick: now,
        interval: (now, now),
        cause: TickCause::Tick,
        outcome: TickOutcome::Ran,
        late_ms: 0,
        ticks: 1,
        reason: None,
        was: None,
        run: None,
        holder: None,
        about: Some(about),
    }
}

/// What became of the start of a batch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Started {
    /// It is planned to its end.
    Planned(BatchId),
    /// Somebody else was first.
    Lost,
    /// It could not be started, and the ledger says so.
    Failed(String),
}

/// Starts the batch of a tick: opens its source, writes tick and batch in one transaction, and plans it. What is wrong
/// with the definition or the source makes the tick `failed`.
///
/// # Errors
///
/// Those of the store: nothing is decided then, and it is tried again.
pub async fn batch(
    store: &StoreHandle,
    dispatcher: &Dispatcher,
    run_context: &RunContext,
    spec: &ScheduleSpec,
    firing: Firing,
) -> Result<Started, StoreError> {
    let Some(tick) = firing.ticks.last().cloned() else { return Ok(Started::Lost) };
    let prepared = match request(run_context, &firing.tenant, &firing.schedule, spec, &tick) {
        Ok(start) => prepare(start).await.map_err(|error| match error {
            StartError::Store(error) => Err(error),
            StartError::Definition(_) | StartError::Source(_) => Ok(error.to_string()),
        }),
        Err(wrong) => Err(Ok(wrong)),
    };
    let Prepared { batch, planner } = match prepared {
        Ok(prepared) => prepared,
        Err(Err(error)) => return Err(error),
        Err(Ok(reason)) => return failed(store, firing, reason).await,
    };
    let (id, tenant) = (batch.id, batch.tenant.clone());
    let run = Some(Run::Batch(Box::new(batch)));
    let report = store.fire(&[with_last(firing, FireTick { run, ..tick })]).await?;
    if report.started.is_empty() {
        return Ok(Started::Lost);
    }
    match fill(store, dispatcher, id, planner).await {
        Ok(()) => Ok(Started::Planned(id)),
        Err(error) => {
            let reason = error.to_string();
            let again = matches!(error, StartError::Store(_));
            store.release_tick(id, &reason, again).await?;
            take_back(store, &tenant, id, &reason).await;
            Ok(Started::Failed(reason))
        }
    }
}

fn request(
    run_context: &RunContext,
    tenant: &str,
    name: &str,
    spec: &ScheduleSpec,
    tick: &FireTick,
) -> Result<StartBatch, String> {
    let Target::Batch(batch) = spec.target().map_err(|error| error.to_string())? else {
        return Err("it enqueues a job, not a batch".to_owned());
    };
    let known = run_context.snapshot.borrow().batches.get(batch).cloned();
    let mut definition =
        known.ok_or_else(|| format!("there is no [batch.{batch}] in the scheduler's configuration"))?;
    let params = params(name, spec, tick);
    definition.late_after = spec.late_after.or(definition.late_after);
    // The file of a watched folder takes the place of those that the definition names.
    let file = tick.about.as_ref().filter(|_| name.starts_with("watch/")).and_then(|about| about["path"].as_str());
    let input = file.map(|path| OneOrMany::One(path.to_owned()));
    let zone = spec.zone().map_err(|error| error.to_string())?;
    definition.source = rendered(&definition.source, &params, zone).map_err(|error| format!("its source: {error}"))?;
    definition.output = rendered(&definition.output, &params, zone).map_err(|error| format!("its output: {error}"))?;
    Ok(StartBatch {
        tenant: tenant.to_owned(),
        name: batch.to_owned(),
        definition,
        input,
        chunk: None,
        params,
        idempotency_key: None,
        trace: None,
        base_dir: run_context.base_dir.clone(),
        spool_dir: run_context.spool_dir.clone(),
        spool_bytes_max: run_context.spool_bytes_max,
        stdin: None,
        kinds: run_context.kinds.clone(),
    })
}

/// The firing whose last tick is another row.
pub fn with_last(mut firing: Firing, tick: FireTick) -> Firing {
    firing.ticks.pop();
    firing.ticks.push(tick);
    firing
}

async fn failed(store: &StoreHandle, firing: Firing, reason: String) -> Result<Started, StoreError> {
    tracing::warn!(schedule = firing.schedule, reason, "a run of a schedule could not be started");
    let Some(tick) = firing.ticks.last().cloned() else { return Ok(Started::Lost) };
    let row = FireTick { outcome: TickOutcome::Failed, run: None, reason: Some(reason.clone()), ..tick };
    store.fire(&[with_last(firing, row)]).await?;
    Ok(Started::Failed(reason))
}
