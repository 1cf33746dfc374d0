//! Items through an HTTP service: each is POSTed as JSON, and the answer replaces it.
//!
//! | answer | the item |
//! |---|---|
//! | 2xx with a JSON object | goes on as this |
//! | 2xx without a body | goes on unchanged |
//! | 408, 425, 5xx, 429 and 503 without `Retry-After`, no answer in time | failed, another try may help |
//! | other 4xx | failed for good |
//! | 429 or 503 with `Retry-After`, no connection, 401, 403, 3xx, anything else | the chunk's attempt fails |
//!
//! `Idempotency-Key` is the same at every try of an item.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures::{StreamExt, TryStreamExt};
use gristmill_core::definition::{HttpSpec, ProcessSpec};
use reqwest::Method;
use reqwest::header::{ACCEPT, CONTENT_TYPE, HeaderMap, HeaderValue};
use serde_json::Value;

use crate::kind::http::{add_headers, value};
use crate::outbound::{Answer, NoAnswer, Outbound};
use crate::process::{ItemIn, ItemOut, ItemProcessor, ProcessContext, ProcessFailure, ProcessorFactory};

/// How long one request may take, by default.
const TIMEOUT: Duration = Duration::from_secs(30);

/// How many requests a chunk has under way at once, by default.
const CONCURRENCY: usize = 4;

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
    /// Creates one from the definition. Headers from the environment are read here.
    ///
    /// # Errors
    ///
    /// When the URL or a header is malformed, or a variable is not set.
    pub fn new(spec: &HttpSpec) -> Result<Self, String> {
        let url = url::Url::parse(&spec.url).map_err(|error| format!("`process.http.url` is not a URL: {error}"))?;
        if !matches!(url.scheme(), "http" | "https") {
            return Err("`process.http.url` must begin with `https://` or `http://`".to_owned());
        }
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        headers.insert(ACCEPT, HeaderValue::from_static("application/json"));
        // A definition is part of the configuration, whose author may read the environment anyway.
        add_headers(&mut headers, &spec.headers, |_| true)?;
        let timeout = spec.timeout.map_or(TIMEOUT, |span| span.0);
        Ok(Self {
            url: spec.url.clone(),
            headers,
            concurrency: spec.concurrency.unwrap_or(CONCURRENCY).max(1),
            outbound: Outbound::new("", true, timeout, ANSWER_BYTES_MAX),
        })
    }

    async fn one(&self, item: ItemIn, context: &ProcessContext) -> Result<ItemOut, ProcessFailure> {
        let headers = self.headers_of(&item, context).map_err(|reason| failure(reason, true))?;
        let body = item.item.to_string().into_bytes();
        match self.outbound.send(Method::POST, &self.url, headers, Some(body)).await {
            Ok(answer) => read(answer, item),
            Err(NoAnswer::Broken(reason)) => Ok(ItemOut::Failed { reason, retry: true }),
            Err(NoAnswer::Unreachable(reason)) => Err(failure(reason, false)),
            Err(NoAnswer::NotAllowed(reason)) => Err(failure(reason, true)),
        }
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
        let requests = items.into_iter().map(|item| self.one(item, context));
        let answers = futures::stream::iter(requests).buffered(self.concurrency).try_collect();
        tokio::select! {
            answers = answers => answers,
            () = context.cancel.cancelled() => Err(failure("the attempt was called off".to_owned(), false)),
        }
    }
}

/// Makes [`HttpProcessor`]s.
#[derive(Debug, Clone, Copy, Default)]
pub struct HttpFactory;

impl ProcessorFactory for HttpFactory {
    fn make(&self, spec: &ProcessSpec) -> Result<Arc<dyn ItemProcessor>, String> {
        let spec = spec.http.as_ref().ok_or("`process.http` is missing")?;
        Ok(Arc::new(HttpProcessor::new(spec)?))
    }
}

fn read(answer: Answer, item: ItemIn) -> Result<ItemOut, ProcessFailure> {
    let said = || shown(&answer.text());
    let (status, position) = (answer.status, item.position);
    match (status, answer.retry_after) {
        (200..=299, _) if answer.body.iter().all(u8::is_ascii_whitespace) => Ok(ItemOut::Ok(item.item)),
        (200..=299, _) if answer.cut => {
            Err(failure(format!("the service answers item {position} with more than 16 MiB"), false))
        }
        (200..=299, _) => match serde_json::from_str(&answer.text()) {
            Ok(body @ Value::Object(_)) => Ok(ItemOut::Ok(body)),
            _ => Err(failure(
                format!(
                    "the service answers item {position} with {status} and {}; right is a JSON object, or nothing to leave the item as it is",
                    said()
                ),
                false,
            )),
        },
        (429 | 503, Some(wait)) => Err(ProcessFailure {
            message: format!("the service answers {status} and asks for a wait of {wait:?}"),
            retry_after: Some(wait),
            permanent: false,
        }),
        (401 | 403, _) => Err(failure(
            format!("the service does not let us in: {status} {}; see `process.http.headers`", said()),
            false,
        )),
        (408 | 425 | 429 | 500..=599, _) => {
            Ok(ItemOut::Failed { reason: format!("the service answers {status}: {}", said()), retry: true })
        }
        (400..=499, _) => {
            Ok(ItemOut::Failed { reason: format!("the service answers {status}: {}", said()), retry: false })
        }
        (300..=399, _) => {
            Err(failure(format!("the service answers {status}: redirects are not followed; give the final URL"), true))
        }
        _ => Err(failure(format!("the service answers with the unknown status {status}"), false)),
    }
}

/// Returns at most 200 characters of its answer.
fn shown(text: &str) -> String {
    let words: String = text.split_whitespace().collect::<Vec<_>>().join(" ").chars().take(200).collect();
    format!("`{words}`")
}

fn failure(message: String, permanent: bool) -> ProcessFailure {
    ProcessFailure { message, retry_after: None, permanent }
}
