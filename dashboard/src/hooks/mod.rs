//! `POST /hooks/NAME`: signed deliveries from elsewhere, each of which starts its run once.
//!
//! The signature is verified over the bytes as they came. The row of the ledger under the event's id and the job are
//! one transaction: a delivery that comes again, or twice at once, is answered with what the first one started. A
//! sender that has not signed learns nothing but that. A refusal is counted and logged with its reason, never with the
//! payload or a secret.
//!
//! * [`settings`]: what `[hook.NAME]` says.
//! * [`mod@admit`]: whether a delivery is authentic.
//! * [`answer`]: the response.

pub mod admit;
pub mod answer;
pub mod settings;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{Path, State};
use axum::http::{HeaderMap, header};
use axum::response::Response;
use axum::routing::post;
use futures::StreamExt;
use gristmill_jobs::secret;
use gristmill_jobs::signature::key;
use gristmill_jobs::stage::validate::Validate;
use gristmill_service::start::{EventError, EventRequest, RunContext};
use gristmill_service::{Actor, Order, Service};
use gristmill_telemetry::{BoundListener, ListenerSettings, Serving};
use serde_json::json;
use tokio::sync::{Semaphore, watch};

use admit::{Admitted, Refused, admit};
use answer::Answer;
use settings::{HookSettings, Scheme};

/// How long the store may take to answer.
const PATIENCE: Duration = Duration::from_secs(10);

/// How many deliveries are handled at once; senders of more are asked to come again.
const AT_ONCE: usize = 128;

/// One hook.
#[derive(Clone)]
pub struct Hook {
    /// Its settings.
    pub settings: HookSettings,
    /// What a body must look like.
    pub schema: Option<Arc<Validate>>,
}

impl fmt::Debug for Hook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hook").field("settings", &self.settings).finish_non_exhaustive()
    }
}

/// The hooks, by name.
pub type Hooks = BTreeMap<String, Hook>;

/// What deliveries are handled with.
#[derive(Debug, Clone)]
pub struct Receiver {
    /// Starts the runs of the hooks.
    pub service: Service,
    /// What runs are created with, and whose events these are.
    pub run_context: RunContext,
    /// The hooks in force. They may change while the server runs.
    pub hooks: watch::Receiver<Arc<Hooks>>,
    /// What senders may hold, and for how long.
    pub listener: ListenerSettings,
}

/// The name of a hook's ledger.
pub fn ledger(name: &str) -> String {
    format!("hook/{name}")
}

impl Receiver {
    /// Accepts deliveries on an address until `shutdown`, then lets those that have begun end within `drain`.
    pub async fn serve(self, bound: BoundListener, drain: Duration, shutdown: impl Future<Output = ()>) {
        let serving = Serving::plain(self.listener.clone(), drain);
        bound.serve_routes(routes(self), serving, shutdown).await;
    }
}

/// The routes alone, for a server that has others too.
pub fn routes(receiver: Receiver) -> Router {
    let shared = Arc::new(Shared { receiver, turns: Semaphore::new(AT_ONCE) });
    Router::new().route("/hooks/{name}", post(deliver)).with_state(shared)
}

#[derive(Debug)]
struct Shared {
    receiver: Receiver,
    turns: Semaphore,
}

async fn deliver(
    State(shared): State<Arc<Shared>>,
    Path(name): Path<String>,
    headers: HeaderMap,
    body: Body,
) -> Response {
    let hook = shared.receiver.hooks.borrow().get(&name).cloned();
    let answer = match &hook {
        None => Answer::Unknown,
        Some(hook) => taken(&shared, &name, hook, &headers, body).await.unwrap_or_else(|no| no),
    };
    // The name of an unknown hook is whatever the sender wrote.
    answer.respond(if hook.is_some() { &name } else { "" })
}

async fn taken(shared: &Shared, name: &str, hook: &Hook, headers: &HeaderMap, body: Body) -> Result<Answer, Answer> {
    let receiver = &shared.receiver;
    let body = tokio::time::timeout(receiver.listener.body_timeout.0, read(headers, body, hook.settings.bytes_max));
    let body = body.await.map_err(|_| Answer::Slow)??;
    // Taken only now: a slow sender, signed or not, keeps no other sender waiting.
    let _turn = shared.turns.try_acquire().map_err(|_| Answer::Busy)?;
    let secrets = secrets(name, &hook.settings).map_err(Answer::Unready)?;
    let now = chrono::Utc::now().timestamp();
    let Admitted { event, body } = admit(&hook.settings, &secrets, headers, &body, now).map_err(Answer::from)?;
    if let Some(schema) = &hook.schema {
        schema.check(&body).map_err(|refusal| Answer::Unfit(refusal.reason))?;
    }
    let about = json!({ "id": event, "body": body });
    let order = Order::new(receiver.run_context.tenant.clone(), Actor::Trigger(ledger(name)));
    // When the store takes too long, it is not known whether the event was committed: a sender that comes again learns
    // it.
    let event = EventRequest {
        ledger: ledger(name),
        spec: &hook.settings.starts(),
        key: event,
        about,
        patience: Some(PATIENCE),
    };
    let noted = receiver.service.start_event(&order, &receiver.run_context, event).await?;
    let noted = noted.ok_or_else(|| Answer::Unready("the delivery was only rehearsed".to_owned()))?;
    Ok(Answer::Taken { fresh: noted.fresh, tick: Box::new(noted.tick) })
}

/// Reads the whole body, unless it is longer than it may be.
async fn read(headers: &HeaderMap, body: Body, most: usize) -> Result<Bytes, Answer> {
    let said = headers.get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse::<usize>().ok());
    if said.is_some_and(|said| said > most) {
        return Err(Answer::TooLong { most });
    }
    let (mut stream, mut whole) = (body.into_data_stream(), Vec::new());
    while let Some(part) = stream.next().await {
        let part = part.map_err(|_| Answer::Broken)?;
        if whole.len() + part.len() > most {
            return Err(Answer::TooLong { most });
        }
        whole.extend_from_slice(&part);
    }
    Ok(Bytes::from(whole))
}

/// Returns the secrets as they are now.
///
/// # Errors
///
/// What is wrong with them, in a text that does not show them.
pub fn secrets(name: &str, settings: &HookSettings) -> Result<Vec<Vec<u8>>, String> {
    let said = format!("hook.{name}.secret");
    let text = secret::read(&said, settings.secret_env.as_deref(), settings.secret_file.as_deref())?;
    let text = text.ok_or_else(|| format!("`{said}_env` or `{said}_file` must say where the secret is"))?;
    match settings.scheme {
        Scheme::Standard => text.split_ascii_whitespace().map(key).collect(),
        Scheme::Timestamped => Ok(text.split_ascii_whitespace().map(|secret| secret.as_bytes().to_vec()).collect()),
    }
}

impl From<EventError> for Answer {
    fn from(error: EventError) -> Self {
        match error {
            EventError::Job(wrong) => Self::Unready(wrong),
            EventError::Unfit(wrong) => Self::Unfit(wrong),
            EventError::Store(error) => error.into(),
        }
    }
}

impl From<Refused> for Answer {
    fn from(refused: Refused) -> Self {
        match refused {
            Refused::Unsigned => Self::Unauthorized("unsigned"),
            Refused::Forged => Self::Unauthorized("forged"),
            Refused::Stale => Self::Unauthorized("stale"),
            Refused::Unfit(wrong) => Self::Unfit(wrong),
        }
    }
}
