//! What a subscription starts of an event.

use gristmill_core::event::route::{Refusal, Route, delivery_id, route};
use gristmill_core::event::subscription::{Selection, SubscriptionSpec};
use gristmill_core::event::{Event, TypePattern, wire};
use gristmill_core::schedule::{JobSpec, ScheduleSpec, Target};
use gristmill_jobs::predicate::Predicate;
use gristmill_store::{Effect, NewEvent, requests_ledger};
use serde_json::{Map, Value, json};
use uuid::Uuid;

use crate::start::RunContext;
use crate::start::render::{self, DEEDS, no_payload};
use crate::start::run::event_tick;

/// A subscription, ready to judge events.
#[derive(Debug)]
pub struct Subscriber {
    name: String,
    tenant: String,
    spec: SubscriptionSpec,
    selection: Selection,
    predicate: Option<Predicate>,
}

/// Finds all that is wrong with a subscription: with its patterns, its jq program, and the templates of its job.
///
/// # Errors
///
/// All faults, in words.
pub fn check(spec: &SubscriptionSpec) -> Result<(), Vec<String>> {
    let mut faults = spec.check().err().unwrap_or_default();
    if let Some(code) = &spec.predicate
        && let Err(error) = Predicate::compile(code)
    {
        faults.push(format!("`where`: {error}"));
    }
    if let Some(job) = &spec.job
        && let Err(error) = render::check_payload(&job.kind, &job.payload, true)
    {
        faults.push(format!("`job.payload`: {error}"));
    }
    if faults.is_empty() { Ok(()) } else { Err(faults) }
}

impl Subscriber {
    /// Compiles a subscription.
    ///
    /// # Errors
    ///
    /// What is wrong with it.
    pub fn new(tenant: &str, name: &str, spec: &SubscriptionSpec) -> Result<Self, String> {
        check(spec).map_err(|faults| faults.join("; "))?;
        let selection = spec.selection().map_err(|faults| faults.join("; "))?;
        let predicate = spec.predicate.as_deref().map(Predicate::compile).transpose()?;
        Ok(Self { name: name.to_owned(), tenant: tenant.to_owned(), spec: spec.clone(), selection, predicate })
    }

    /// What becomes of an event: nothing when it is not meant.
    pub fn effect(
        &self,
        context: &RunContext,
        event: &Event,
        replay: Option<(Uuid, &[TypePattern])>,
        depth_max: u32,
    ) -> Option<Effect> {
        let left_out = |types: &[TypePattern]| !types.is_empty() && !types.iter().any(|one| one.matches(&event.kind));
        if replay.is_some_and(|(_, types)| left_out(types)) {
            return None;
        }
        match self.judge(event, depth_max) {
            Route::Skip => None,
            Route::Refuse(refusal, reason) => Some(Effect::Refused(refusal, reason)),
            Route::Deliver => {
                let made = self.start(context, event, replay.map(|(id, _)| id));
                Some(made.unwrap_or_else(|error| Effect::Refused(Refusal::Target, error)))
            }
        }
    }

    /// What is decided about an event.
    pub fn judge(&self, event: &Event, depth_max: u32) -> Route {
        route(&self.selection, event, depth_max, |event| {
            self.predicate.as_ref().map_or(Ok(true), |predicate| predicate.holds(&wire::show(event)))
        })
    }

    fn start(&self, context: &RunContext, event: &Event, replay: Option<Uuid>) -> Result<Effect, String> {
        let position = event.position.unwrap_or_default();
        let replayed = replay.map(|replay| format!("/{replay}")).unwrap_or_default();
        let key = format!("event/{}/{position}{replayed}", self.name);
        match self.spec.target()? {
            Target::Batch(batch) => {
                let mut about = match wire::show(event) {
                    Value::Object(about) => about,
                    _ => Map::new(),
                };
                about.insert("params".to_owned(), self.spec.params.clone().unwrap_or_else(|| json!({})));
                let run = NewEvent {
                    tenant: self.tenant.clone(),
                    schedule: requests_ledger(batch),
                    event: key,
                    about: Value::Object(about),
                    job: None,
                };
                Ok(Effect::Run(Box::new(run)))
            }
            Target::Job(job) => self.job(context, event, job, key, replay.is_some()),
        }
    }

    fn job(
        &self,
        context: &RunContext,
        event: &Event,
        job: &JobSpec,
        key: String,
        replayed: bool,
    ) -> Result<Effect, String> {
        let about = wire::show(event);
        let whole = job.payload.is_null();
        if whole && DEEDS.contains(&job.kind.as_str()) {
            return Err(no_payload(&job.kind));
        }
        // One without a payload is about the event itself.
        let payload = if whole { json!({}) } else { job.payload.clone() };
        let spec = ScheduleSpec { job: Some(JobSpec { payload, ..job.clone() }), ..ScheduleSpec::default() };
        let ledger = format!("event/{}", self.name);
        let made = context.job(&self.tenant, &ledger, &spec, &event_tick(about.clone()));
        let mut made = made.map_err(|error| error.to_string())?;
        if whole {
            made.payload = about;
        }
        if !replayed {
            made.id = delivery_id(event, &key);
        }
        made.idempotency_key = Some(key);
        made.trace = event.trace.clone().or(made.trace);
        Ok(Effect::Job(Box::new(made)))
    }
}
