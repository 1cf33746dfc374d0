//! Whom a batch notifies, of what, and when: the jobs that an event in its life enqueues.
//!
//! The transition that causes an event enqueues these jobs in the same transaction. Each has its own key, made of the
//! batch, its generation, the event and the recipient, so that it is created only once.

use serde_json::{Value, json};

use crate::batch::BatchState;
use crate::definition::{BatchDefinition, Callback, Callbacks, WebhookEffect};
use crate::id::{BatchId, JobId};
use crate::job::NewJob;
use crate::result_mail;

crate::words! {
    /// The event that a batch reports.
    pub enum Event {
        /// The first item of a generation was set aside, or its first chunk died.
        FirstFailure = "first_failure",
        /// It did not end in time.
        Late = "late",
        /// It completed within its budget.
        Success = "success",
        /// It exceeded its budget, or its aggregate died.
        Halted = "halted",
        /// It was cancelled.
        Cancelled = "cancelled",
        /// It completed or halted.
        Settled = "settled",
    }
}

impl Event {
    /// What is sent for this event.
    pub fn effects(self, on: &Callbacks) -> &[Callback] {
        match self {
            Self::FirstFailure => &on.first_failure,
            Self::Late => &on.late,
            Self::Success => &on.success,
            Self::Halted => &on.halted,
            Self::Cancelled => &on.cancelled,
            Self::Settled => &on.settled,
        }
    }

    /// The template of its emails when none is named.
    pub fn template(self) -> &'static str {
        match self {
            Self::FirstFailure => "batch-first-failure",
            Self::Late => "batch-late",
            Self::Success | Self::Halted | Self::Cancelled | Self::Settled => "batch-report",
        }
    }

    /// The `type` of its webhooks and notifications.
    fn webhook(self, state: BatchState) -> String {
        match self {
            Self::FirstFailure | Self::Late => format!("batch.{}", self.as_str()),
            Self::Success | Self::Halted | Self::Cancelled | Self::Settled => format!("batch.{state}"),
        }
    }
}

/// A batch that sends notifications.
#[derive(Debug, Clone, Copy)]
pub struct Teller<'a> {
    /// Its id.
    pub batch: BatchId,
    /// Its tenant.
    pub tenant: &'a str,
    /// Its generation.
    pub generation: u32,
    /// Its state.
    pub state: BatchState,
    /// What it was asked to do.
    pub definition: &'a BatchDefinition,
    /// The W3C trace context of its cause.
    pub trace: Option<&'a str>,
}

/// Returns the jobs for everything that an event sends, in the order of the definition. `data` is given to templates
/// and receivers; `id` makes ids.
pub fn jobs(teller: &Teller<'_>, event: Event, data: &Value, mut id: impl FnMut() -> JobId) -> Vec<NewJob> {
    let Teller { batch, generation, definition, .. } = teller;
    let mut jobs = Vec::new();
    for (number, callback) in event.effects(&definition.on).iter().enumerate() {
        for (kind, recipient, payload) in messages(callback, event, teller, data) {
            jobs.push(NewJob {
                tenant: teller.tenant.to_owned(),
                // Workers serve the batch's own queue; whether any other queue is served is not known here.
                queue: definition.queue.clone(),
                idempotency_key: Some(format!("effect:{batch}:{generation}:{}:{number}:{recipient}", event.as_str())),
                trace: teller.trace.map(str::to_owned),
                batch: Some(*batch),
                ..NewJob::new(id(), kind, payload)
            });
        }
    }
    jobs
}

/// Kind, recipient and payload of each message of an effect.
fn messages(
    callback: &Callback,
    event: Event,
    teller: &Teller<'_>,
    data: &Value,
) -> Vec<(&'static str, String, Value)> {
    let mut messages = Vec::new();
    if let Some(email) = &callback.email {
        let template = email.template.as_deref().unwrap_or_else(|| event.template());
        let shown = result_mail::data(data, &teller.definition.aggregate);
        for to in email.to.as_slice() {
            messages.push(("email", to.clone(), json!({ "to": to, "template": template, "data": shown })));
        }
    }
    if let Some(webhook) = &callback.webhook {
        let mut payload = json!({ "url": webhook.url(), "type": event.webhook(teller.state), "data": data });
        if let WebhookEffect::Full { secret_env: Some(secret_env), .. } = webhook {
            payload["secret_env"] = json!(secret_env);
        }
        messages.push(("webhook", webhook.url().to_owned(), payload));
    }
    for channel in callback.notify.as_slice() {
        let payload = json!({ "to": channel, "type": event.webhook(teller.state), "data": data });
        messages.push(("notify", format!("notify/{channel}"), payload));
    }
    messages
}
