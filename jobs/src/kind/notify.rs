//! Kind `notify`: one notification over a channel.

use std::collections::BTreeMap;
use std::time::Duration;

use async_trait::async_trait;
use gristmill_core::id::JobId;
use gristmill_core::job::NewJob;
use gristmill_core::one_or_many::OneOrMany;
use serde_json::json;
use uuid::Uuid;

use crate::handler::{Finish, Handler, JobContext};
use crate::kind::payload::{self, EMAIL, EmailPayload, NotifyPayload};
use crate::notify::answer::judged;
use crate::notify::services::{request, worded};
use crate::notify::{ChannelKind, ChannelSettings, Notice, NotifySettings};
use crate::outbound::{NoAnswer, Outbound};

/// How long a service may take to answer.
const TIMEOUT: Duration = Duration::from_secs(20);

/// How many bytes of an answer are read.
const ANSWER_BYTES_MAX: usize = 16 * 1024;

/// Sends notifications.
#[derive(Debug)]
pub struct NotifyHandler {
    settings: NotifySettings,
    outbound: Outbound,
}

impl NotifyHandler {
    /// Creates one from the settings. Secrets are read at each attempt, so that one can be changed in a file without a
    /// restart.
    pub fn new(settings: &NotifySettings) -> Self {
        Self { settings: settings.clone(), outbound: outbound() }
    }

    async fn attempt(&self, context: &JobContext) -> Result<Finish, Finish> {
        let job = &context.job;
        let payload: NotifyPayload = payload::read(payload::NOTIFY, &job.payload).map_err(Finish::permanent)?;
        let channel = channel(&self.settings.channels, &payload.to).map_err(Finish::permanent)?;
        let notice = Notice::of(&payload, job.created_at, &self.settings.pages).map_err(Finish::permanent)?;
        let id = job.fence.job.to_string();
        if channel.kind == ChannelKind::Email {
            let email = email(channel, &notice).map_err(Finish::permanent)?;
            let follow = NewJob {
                tenant: job.tenant.clone(),
                queue: job.queue.clone(),
                trace: job.trace.clone(),
                batch: job.batch,
                idempotency_key: Some(format!("notify:{id}")),
                ..NewJob::new(JobId(Uuid::now_v7()), EMAIL, json!(email))
            };
            return Ok(Finish { follow: vec![follow], ..Finish::done(Some(json!({ "channel": payload.to }))) });
        }
        sent(&self.outbound, &payload.to, channel, &notice, &id).await
    }
}

#[async_trait]
impl Handler for NotifyHandler {
    async fn run(&self, context: JobContext) -> Finish {
        self.attempt(&context).await.unwrap_or_else(|finish| finish)
    }
}

/// Sends a notice over a channel at once, without a job.
///
/// # Errors
///
/// Why it was not taken, in one sentence.
pub async fn send(name: &str, channel: &ChannelSettings, notice: &Notice, id: &str) -> Result<(), String> {
    let finish = sent(&outbound(), name, channel, notice, id).await.unwrap_or_else(|finish| finish);
    finish.error.map_or(Ok(()), Err)
}

async fn sent(
    outbound: &Outbound,
    name: &str,
    channel: &ChannelSettings,
    notice: &Notice,
    id: &str,
) -> Result<Finish, Finish> {
    let key = format!("notify.{name}");
    let secrets = channel.secrets(&key).map_err(Finish::permanent)?;
    let request =
        request(channel, &secrets, notice, id).map_err(|wrong| Finish::permanent(format!("`{key}`: {wrong}")))?;
    match outbound.send(request.method, &request.url, request.headers, Some(request.body)).await {
        Ok(answer) => Ok(judged(channel.kind, name, answer)),
        // What is said of an address may quote it.
        Err(NoAnswer::NotAllowed(_)) if secrets.url_is_secret => {
            Err(Finish::permanent(format!("`{key}`: its address cannot be called")))
        }
        Err(NoAnswer::NotAllowed(reason)) => Err(Finish::permanent(reason)),
        Err(other) => Err(Finish::failed(other.message())),
    }
}

/// The operator chose the address: it may be on this machine.
fn outbound() -> Outbound {
    Outbound::new("notify", true, TIMEOUT, ANSWER_BYTES_MAX)
}

fn channel<'c>(channels: &'c BTreeMap<String, ChannelSettings>, name: &str) -> Result<&'c ChannelSettings, String> {
    channels.get(name).ok_or_else(|| {
        let known = channels.keys().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ");
        let known = if known.is_empty() { "there is none".to_owned() } else { format!("there is {known}") };
        format!("this worker has no channel [notify.{name}]: {known}")
    })
}

fn email(channel: &ChannelSettings, notice: &Notice) -> Result<EmailPayload, String> {
    let notice = worded(channel, notice)?;
    Ok(EmailPayload {
        to: OneOrMany::Many(channel.to.as_slice().to_vec()),
        subject: Some(format!("[{}] {}", notice.severity, notice.title)),
        text: Some(format!("{}\n\n{}\n", notice.title, notice.plain())),
        ..EmailPayload::default()
    })
}
