//! Starts the run of a tick: its parameters, its interval, its batch or its job.

use chrono::SecondsFormat;
use gristmill_core::Instant;
use gristmill_core::audit::Action;
use gristmill_core::definition::{BatchDefinition, OneOrMany};
use gristmill_core::id::{BatchId, JobId};
use gristmill_core::job::NewJob;
use gristmill_core::schedule::Zone;
use gristmill_core::schedule::{JobSpec, ScheduleSpec, Target};
use gristmill_store::{FireReport, FireTick, Firing, Run, StoreError, TickCause, TickOutcome, TickView};
use serde_json::{Map, Value, json};
use uuid::Uuid;

use super::RunContext;
use super::batch::{BatchRequest, StartError};
use super::lease::Lease;
use super::plan::{Prepared, StartBatch, prepare};
use super::render::{self, DEEDS, RenderError, no_payload};
use crate::Service;
use crate::order::Order;

/// The parameters of a run: the schedule's own parameters, `schedule` with the tick and its logical interval, and
/// `event` with what made the tick, where that was not the clock.
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

impl RunContext {
    /// The job of a tick. Without a payload of its own it carries the event's body, or what is known of the event.
    ///
    /// # Errors
    ///
    /// What is wrong with it, in words, and whether that is the event's fault.
    pub fn job(&self, tenant: &str, name: &str, spec: &ScheduleSpec, tick: &FireTick) -> Result<NewJob, RenderError> {
        let target = spec.target().map_err(|error| RenderError::Wrong(error.to_string()))?;
        let Target::Job(JobSpec { kind, payload, queue, priority, max_attempts, timeout }) = target else {
            return Err(RenderError::Wrong("it runs a batch, not a job".to_owned()));
        };
        let zone = spec.zone().map_err(|error| RenderError::Wrong(error.to_string()))?;
        let payload = match (payload, &tick.about) {
            (Value::Null, Some(_)) if DEEDS.contains(&kind.as_str()) => {
                return Err(RenderError::Unfit(no_payload(kind)));
            }
            // A job without a payload is about the event itself.
            (Value::Null, Some(event)) => event.get("body").unwrap_or(event).clone(),
            _ => render::payload(kind, payload, &params(name, spec, tick), zone)?,
        };
        let mut job = NewJob::new(JobId(Uuid::now_v7()), kind, payload);
        (self.job_defaults)(&mut job);
        tenant.clone_into(&mut job.tenant);
        if let Some(queue) = queue {
            job.queue.clone_from(queue);
        }
        job.priority = priority.unwrap_or(job.priority);
        job.max_attempts = max_attempts.unwrap_or(job.max_attempts);
        job.timeout = timeout.map_or(job.timeout, |timeout| timeout.0);
        Ok(job)
    }

    fn rehearse_run(&self, firing: &Firing, spec: &ScheduleSpec, tick: &FireTick) -> Result<StartedRun, RunError> {
        if matches!(spec.target(), Ok(Target::Batch(_))) {
            let made = self.batch_of(&firing.schedule, spec, tick);
            return Ok(made.map_or_else(StartedRun::Failed, |_| StartedRun::Rehearsed));
        }
        let made = self.job(&firing.tenant, &firing.schedule, spec, tick);
        made.map(|_| StartedRun::Rehearsed).map_err(|error| RunError::Job(error.to_string()))
    }

    /// The batch of a tick: its definition with source and output rendered for the tick.
    fn batch_of(&self, name: &str, spec: &ScheduleSpec, tick: &FireTick) -> Result<StartBatch, String> {
        let Target::Batch(batch) = spec.target().map_err(|error| error.to_string())? else {
            return Err("it enqueues a job, not a batch".to_owned());
        };
        let params = params(name, spec, tick);
        // The file of a watched folder replaces those that the definition names.
        let file = tick.about.as_ref().filter(|_| name.starts_with("watch/")).and_then(|about| about["path"].as_str());
        let request = BatchRequest { params: params.clone(), ..BatchRequest::new(batch) };
        let start = self.batch(request);
        let mut start = start.map_err(|_| format!("there is no [batch.{batch}] in the scheduler's configuration"))?;
        start.input = file.map(|path| OneOrMany::One(path.to_owned()));
        start.definition.late_after = spec.late_after.or(start.definition.late_after);
        let zone = spec.zone().map_err(|error| error.to_string())?;
        fill(&mut start.definition, &params, zone).map_err(|error| error.to_string())?;
        Ok(start)
    }

    /// What an event lacks for the batch that it would start. Anything else that is wrong with the batch is found when
    /// it starts, and its run can be started anew when that is mended.
    pub(super) fn lacks(&self, name: &str, spec: &ScheduleSpec, tick: &FireTick) -> Option<String> {
        let batch = spec.batch.as_ref()?;
        let mut definition = self.snapshot.borrow().batches.get(batch).cloned()?;
        match fill(&mut definition, &params(name, spec, tick), spec.zone().ok()?) {
            Err(RenderError::Unfit(wrong)) => Some(wrong),
            Ok(()) | Err(RenderError::Wrong(_)) => None,
        }
    }
}

/// Renders what a definition says about where items come from and go to.
fn fill(definition: &mut BatchDefinition, params: &Value, zone: Zone) -> Result<(), RenderError> {
    definition.source = render::source(&definition.source, params, zone)?;
    definition.output = definition.output.as_ref().map(|output| render::output(output, params, zone)).transpose()?;
    Ok(())
}

/// A tick that consists of its event alone.
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
        tzdb: None,
    }
}

/// The outcome of starting a run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StartedRun {
    /// Its batch is planned completely.
    Planned(BatchId),
    /// Its job is enqueued.
    Enqueued(JobId),
    /// Another process was first, or the tick is already in the ledger.
    Lost,
    /// It could not be started, and the ledger says so.
    Failed(String),
    /// A dry run: its batch or job can be made.
    Rehearsed,
}

/// Why a run was not started. Nothing is decided then.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// Its job cannot be built: what is wrong, in words.
    #[error("{0}")]
    Job(String),
    /// The store did not accept it.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Service {
    /// Starts the run of a firing's last tick for the order's tenant, batch or job, whatever the schedule runs. While a
    /// batch is planned this process holds a lease, so that a scheduler takes the tick over when the process dies. A
    /// dry run builds its batch's definition or its job, and starts nothing.
    ///
    /// # Errors
    ///
    /// See [`RunError`].
    pub async fn start_run(
        &self,
        order: &Order,
        run_context: &RunContext,
        spec: &ScheduleSpec,
        mut firing: Firing,
    ) -> Result<StartedRun, RunError> {
        let Some(mut tick) = firing.ticks.pop() else { return Ok(StartedRun::Lost) };
        firing.tenant.clone_from(&order.tenant);
        if order.dry_run {
            return run_context.rehearse_run(&firing, spec, &tick);
        }
        if matches!(spec.target(), Ok(Target::Batch(_))) {
            let lease = Lease::begin(&self.store).await?;
            tick.holder = Some(lease.id());
            firing.ticks.push(tick);
            let started = self.start_batch_of(order, run_context, spec, firing).await;
            lease.end().await;
            return Ok(started?);
        }
        let job = run_context
            .job(&firing.tenant, &firing.schedule, spec, &tick)
            .map_err(|error| RunError::Job(error.to_string()))?;
        let id = job.id;
        tick.run = Some(Run::Job(Box::new(job)));
        firing.ticks.push(tick);
        let store = order.adding(&self.store, Action::ScheduleRun, &firing.schedule);
        let fired = self.after(store.fire(&[firing])).await?;
        Ok(if fired.started.is_empty() { StartedRun::Lost } else { StartedRun::Enqueued(id) })
    }

    /// Starts the batch of a firing's last tick, whose `holder` plans it: opens its source, writes tick and batch in
    /// one transaction, and plans it. An error in the definition or the source makes the tick `failed`. For a
    /// scheduler, which has a lease already; other callers use [`Service::start_run`].
    ///
    /// # Errors
    ///
    /// Store errors: nothing is decided then, and the caller may try again.
    pub async fn start_batch_of(
        &self,
        order: &Order,
        run_context: &RunContext,
        spec: &ScheduleSpec,
        mut firing: Firing,
    ) -> Result<StartedRun, StoreError> {
        let Some(tick) = firing.ticks.last().cloned() else { return Ok(StartedRun::Lost) };
        firing.tenant.clone_from(&order.tenant);
        let start = match run_context.batch_of(&firing.schedule, spec, &tick) {
            Ok(start) => start,
            Err(reason) => return self.failed(firing, reason).await,
        };
        let Prepared { batch, planner } = match prepare(&order.tenant, start).await {
            Ok(prepared) => prepared,
            Err(StartError::Store(error)) => return Err(error),
            Err(error @ (StartError::Definition(_) | StartError::Source(_))) => {
                return self.failed(firing, error.to_string()).await;
            }
        };
        let id = batch.id;
        let run = Some(Run::Batch(Box::new(batch)));
        let store = order.adding(&self.store, Action::ScheduleRun, &firing.schedule);
        let report = self.after(store.fire(&[with_last(firing, FireTick { run, ..tick })])).await?;
        if report.started.is_empty() {
            return Ok(StartedRun::Lost);
        }
        let Err(error) = self.fill(id, planner).await else { return Ok(StartedRun::Planned(id)) };
        let reason = error.to_string();
        let again = matches!(error, StartError::Store(_));
        self.store.release_tick(id, &reason, again).await?;
        self.take_back(&order.clone().because(&reason), id).await;
        Ok(StartedRun::Failed(reason))
    }

    /// Writes decided ticks and starts their jobs, all in one transaction.
    ///
    /// # Errors
    ///
    /// Store errors: `Invalid` when one of the jobs is refused, and nothing is decided then.
    pub async fn fire(&self, firings: &[Firing]) -> Result<FireReport, StoreError> {
        self.after(self.store.fire(firings)).await
    }

    async fn failed(&self, firing: Firing, reason: String) -> Result<StartedRun, StoreError> {
        // The reason may quote what an event has sent: it is in the ledger.
        tracing::warn!(schedule = firing.schedule, "a run could not be started; `gristmill schedule show` says why");
        tracing::debug!(schedule = firing.schedule, reason, "why");
        let Some(tick) = firing.ticks.last().cloned() else { return Ok(StartedRun::Lost) };
        let row = FireTick { outcome: TickOutcome::Failed, run: None, reason: Some(reason.clone()), ..tick };
        self.fire(&[with_last(firing, row)]).await?;
        Ok(StartedRun::Failed(reason))
    }
}

/// The firing with its last tick replaced by another row.
fn with_last(mut firing: Firing, tick: FireTick) -> Firing {
    firing.ticks.pop();
    firing.ticks.push(tick);
    firing
}

/// A row that waited, and starts now.
pub fn turn(row: &TickView) -> FireTick {
    FireTick {
        tick: row.tick,
        interval: (row.from, row.to),
        cause: row.cause,
        outcome: TickOutcome::Ran,
        late_ms: row.late_ms,
        ticks: 1,
        reason: None,
        was: Some(row.outcome),
        run: None,
        holder: None,
        about: row.about.clone(),
        tzdb: row.tzdb.clone(),
    }
}
