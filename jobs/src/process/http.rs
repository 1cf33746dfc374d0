//! Items through an HTTP service: each is POSTed as JSON and answered with JSON, as [`envelope`](super::envelope) says.
//!
//! | answer | the item |
//! |---|---|
//! | 2xx with `{"ok": {…}}`, `{"skip": true}` or `{"error": "…", "retry": false}` | as it says |
//! | 2xx without a body | goes on unchanged |
//! | other 4xx | failed for good; when the body is an `error`, with its reason and `retry` |
//! | 408, 425, 5xx, 429 and 503 without `Retry-After`, no answer in time | tried again; then the other items of the chunk tell: [`blame`](super::blame) |
//! | 401, 403, 407, an answer that is none, anything else | not tried again in this attempt; the other items tell |
//! | 429 or 503 with `Retry-After`, no connection | the chunk's attempt fails |
//! | 3xx for every item | the chunk is dead |
//!
//! `Idempotency-Key` is the same at every try of an item. What was answered is not sent again in the chunk's next
//! attempt: [`answers`](super::answers).

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures::StreamExt;
use futures::stream::FuturesUnordered;
use gristmill_core::definition::{HttpSpec, ProcessSpec};
use reqwest::Method;
use reqwest::header::{ACCEPT, CONTENT_TYPE, HeaderMap, HeaderValue};
use tokio::time::Instant;

use super::blame::FAILURES_IN_A_ROW_MAX;
use super::envelope::{RIGHT, Room, question, read_answer, shown};
use crate::kind::http::{add_headers, value};
use crate::outbound::{Answer, NoAnswer, Outbound};
use crate::process::{ItemIn, ItemOut, ItemProcessor, ProcessContext, ProcessFailure, ProcessorFactory};

/// How long one request may take, by default.
const TIMEOUT: Duration = Duration::from_secs(30);

/// How many requests a chunk has under way at once, by default.
const CONCURRENCY: usize = 4;

/// How long a service may answer nothing, failure after failure, before the rest of the chunk is not sent to it.
const SILENCE_MAX: Duration = Duration::from_secs(60);

/// The longest answer: 16 MiB.
const ANSWER_BYTES_MAX: usize = 16 * 1024 * 1024;

/// Hands items to a service.
#[derive(Debug)]
pub struct HttpProcessor {
    url: String,
    headers: HeaderMap,
    concurrency: usize,
    outbound: Outbound,
}

impl HttpProcessor {
    /// Creates one from the definition. Headers from the environment are read here, if `env` names their variables: a
    /// definition may come from another process than the worker that runs it.
    ///
    /// # Errors
    ///
    /// When the URL or a header is malformed, or a variable is not set or may not be named.
    pub fn new(spec: &HttpSpec, env: &[String]) -> Result<Self, String> {
        let url = url::Url::parse(&spec.url).map_err(|error| format!("`process.http.url` is not a URL: {error}"))?;
        if !matches!(url.scheme(), "http" | "https") {
            return Err("`process.http.url` must begin with `https://` or `http://`".to_owned());
        }
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        headers.insert(ACCEPT, HeaderValue::from_static("application/json"));
        add_headers(&mut headers, &spec.headers, |name| env.iter().any(|known| known == name))?;
        let timeout = spec.timeout.map_or(TIMEOUT, |span| span.0);
        Ok(Self {
            url: spec.url.clone(),
            headers,
            concurrency: spec.concurrency.unwrap_or(CONCURRENCY).max(1),
            outbound: Outbound::new("", true, timeout, ANSWER_BYTES_MAX),
        })
    }

    async fn one(&self, place: usize, item: ItemIn, context: &ProcessContext) -> (usize, Outcome) {
        let headers = match self.headers_of(&item, context) {
            Ok(headers) => headers,
            Err(reason) => return (place, Outcome::Down(ProcessFailure::whole(reason, true))),
        };
        let body = match question(&item, context) {
            Ok(body) => body,
            Err(error) => return (place, Outcome::Down(ProcessFailure::whole(error.to_string(), true))),
        };
        let outcome = match self.outbound.send(Method::POST, &self.url, headers, Some(body)).await {
            Ok(answer) => read(&answer, item, &context.room),
            Err(NoAnswer::Broken(reason)) => unanswered(reason, true),
            Err(NoAnswer::Unreachable(reason)) => Outcome::Down(ProcessFailure::whole(reason, false)),
            Err(NoAnswer::NotAllowed(reason)) => Outcome::Down(ProcessFailure::whole(reason, true)),
        };
        (place, outcome)
    }

    fn headers_of(&self, item: &ItemIn, context: &ProcessContext) -> Result<HeaderMap, String> {
        let mut headers = self.headers.clone();
        headers.insert("idempotency-key", value("idempotency-key", &super::item_key(context, item))?);
        if let Some(trace) = &context.trace {
            headers.insert("traceparent", value("traceparent", trace)?);
        }
        Ok(headers)
    }
}

#[async_trait]
impl ItemProcessor for HttpProcessor {
    async fn process(&self, items: Vec<ItemIn>, context: &ProcessContext) -> Result<Vec<ItemOut>, ProcessFailure> {
        let mut round = Round::new(items.len());
        let mut waiting = items.into_iter().enumerate();
        let mut under_way = FuturesUnordered::new();
        loop {
            // What is under way when the service turns out to be down is waited for: it may have been done.
            while round.down.is_none()
                && under_way.len() < self.concurrency
                && let Some((place, item)) = waiting.next()
            {
                under_way.push(self.one(place, item, context));
            }
            let ended = tokio::select! {
                biased;
                ended = under_way.next() => ended,
                () = context.cancel.cancelled() => return Err(ProcessFailure::whole("the attempt was called off", false)),
            };
            match ended {
                Some((place, outcome)) => round.note(place, outcome, self.concurrency),
                None => return round.outs(),
            }
        }
    }
}

/// What became of one request.
#[derive(Debug, PartialEq)]
enum Outcome {
    Out(ItemOut),
    /// The service wants to be asked elsewhere.
    Moved(String),
    /// The service is not there for any item.
    Down(ProcessFailure),
}

fn unanswered(reason: String, retry: bool) -> Outcome {
    Outcome::Out(ItemOut::Unanswered { reason, retry })
}

/// The requests for a group of items.
struct Round {
    outs: Vec<Option<ItemOut>>,
    down: Option<ProcessFailure>,
    moved: usize,
    /// Failures since the last answer, and since when.
    in_a_row: usize,
    since: Instant,
}

impl Round {
    fn new(items: usize) -> Self {
        Self { outs: vec![None; items], down: None, moved: 0, in_a_row: 0, since: Instant::now() }
    }

    fn note(&mut self, place: usize, outcome: Outcome, concurrency: usize) {
        let out = match outcome {
            Outcome::Out(out) => out,
            Outcome::Moved(reason) => {
                self.moved += 1;
                ItemOut::Unanswered { reason, retry: false }
            }
            Outcome::Down(failure) => {
                self.down.get_or_insert(failure);
                return;
            }
        };
        if out.is_answer() {
            (self.in_a_row, self.since) = (0, Instant::now());
        } else {
            self.in_a_row += 1;
        }
        if let ItemOut::Unanswered { reason, .. } = &out
            && self.in_a_row > FAILURES_IN_A_ROW_MAX + concurrency
            && self.since.elapsed() > SILENCE_MAX
        {
            let reason = format!("{reason}; so it was for {} items in a row", self.in_a_row);
            self.down.get_or_insert(ProcessFailure::whole(reason, false));
        }
        self.outs[place] = Some(out);
    }

    fn outs(self) -> Result<Vec<ItemOut>, ProcessFailure> {
        let Self { outs, down, moved, .. } = self;
        if let Some(failure) = down {
            return Err(ProcessFailure { answered: outs, ..failure });
        }
        let outs: Vec<ItemOut> = outs.into_iter().flatten().collect();
        match outs.first() {
            Some(ItemOut::Unanswered { reason, .. }) if moved == outs.len() => {
                Err(ProcessFailure::whole(reason.clone(), true))
            }
            _ => Ok(outs),
        }
    }
}

/// Makes [`HttpProcessor`]s.
#[derive(Debug, Clone, Default)]
pub struct HttpFactory {
    /// The environment variables that a header may name.
    pub env: Vec<String>,
}

impl ProcessorFactory for HttpFactory {
    fn make(&self, spec: &ProcessSpec) -> Result<Arc<dyn ItemProcessor>, String> {
        let spec = spec.http.as_ref().ok_or("`process.http` is missing")?;
        Ok(Arc::new(HttpProcessor::new(spec, &self.env)?))
    }
}

fn read(answer: &Answer, item: ItemIn, room: &Room) -> Outcome {
    let (status, position) = (answer.status, item.position);
    let said = || format!("the service answers {status}: {}", shown(&answer.text()));
    match (status, answer.retry_after) {
        (200..=299, _) if answer.body.iter().all(u8::is_ascii_whitespace) => Outcome::Out(ItemOut::Ok(item.item)),
        (200..=299, _) if answer.cut => {
            unanswered(format!("the service answers item {position} with more than 16 MiB"), false)
        }
        (200..=299, _) => match read_answer(answer.text().as_bytes(), position) {
            Ok(out) => Outcome::Out(room.take(answer.body.len()).err().unwrap_or(out)),
            Err(wrong) => unanswered(
                format!(
                    "the service answers item {position} with {status} and {}, {wrong}; {RIGHT}, or nothing to leave the item as it is",
                    shown(&answer.text())
                ),
                false,
            ),
        },
        (429 | 503, Some(wait)) => Outcome::Down(ProcessFailure {
            retry_after: Some(wait),
            ..ProcessFailure::whole(format!("the service answers {status} and asks for a wait of {wait:?}"), false)
        }),
        (401 | 403 | 407, _) => unanswered(
            format!("the service does not let us in: {status} {}; see `process.http.headers`", shown(&answer.text())),
            false,
        ),
        (408 | 425 | 429 | 500..=599, _) => unanswered(said(), true),
        (400..=499, _) => match read_answer(answer.text().as_bytes(), position) {
            Ok(failed @ ItemOut::Failed { .. }) => Outcome::Out(failed),
            _ => Outcome::Out(ItemOut::Failed { reason: said(), retry: false }),
        },
        (300..=399, _) => {
            Outcome::Moved(format!("the service answers {status}: redirects are not followed; give the final URL"))
        }
        _ => unanswered(format!("the service answers with the unknown status {status}"), false),
    }
}
