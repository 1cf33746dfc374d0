//! From an answer to its document or its refusal.

use std::time::Duration;

use gristmill_core::causes::with_causes;
use gristmill_core::{Instant, json};
use reqwest::header::{HeaderMap, LOCATION, RETRY_AFTER};
use reqwest::{Response, StatusCode};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::error::{Fault, HttpError, Refusal};

/// The most bytes of an answer.
const ANSWER_BYTES_MAX: usize = 256 * 1024 * 1024;

/// The envelope around every document.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Envelope {
    success: bool,
    #[serde(default, deserialize_with = "json::value")]
    data: Value,
    next_cursor: Option<String>,
    timestamp: Option<Instant>,
    error: Option<Body>,
    request_id: Option<String>,
}

#[derive(Debug, Deserialize)]
struct Body {
    code: String,
    message: String,
    #[serde(default)]
    details: Details,
}

#[derive(Debug, Default, Deserialize)]
struct Details {
    hint: Option<String>,
    #[serde(default)]
    faults: Vec<Fault>,
    #[serde(default, deserialize_with = "json::maybe")]
    progress: Option<Value>,
}

/// A document, and the key at which the next page begins.
#[derive(Debug)]
pub(super) struct Reply<T> {
    pub(super) data: T,
    pub(super) next: Option<String>,
    /// When it was given, by the server's clock.
    pub(super) at: Option<Instant>,
}

/// Reads an answer of the API.
pub(super) async fn read<T: DeserializeOwned>(server: &str, response: Response) -> Result<Reply<T>, HttpError> {
    let (status, headers) = (response.status(), response.headers().clone());
    let strange = |reason: String| HttpError::Strange { server: server.to_owned(), reason };
    if status.is_redirection() {
        let to = headers.get(LOCATION).and_then(|value| value.to_str().ok()).unwrap_or("nowhere");
        return Err(strange(format!("it sends to `{to}`, and nothing is followed; give that address if it is right")));
    }
    let bytes = whole(server, response).await?;
    let text = std::str::from_utf8(&bytes).map_err(|error| error.to_string());
    let envelope = text.and_then(|text| json::kept(text).map_err(|error| error.to_string()));
    let envelope = envelope.and_then(|value| Envelope::deserialize(value).map_err(|error| error.to_string()));
    match envelope {
        Ok(Envelope { success: true, data, next_cursor: next, timestamp: at, .. }) if status.is_success() => {
            let data = T::deserialize(data);
            let data = data.map_err(|error| strange(format!("its document cannot be read: {error}")))?;
            Ok(Reply { data, next, at })
        }
        Ok(Envelope { error: Some(body), request_id, .. }) => Err(refusal(status, &headers, body, request_id)),
        Ok(_) => Err(strange(format!("it has the status {status}, and neither a document nor an error"))),
        // A proxy in between, or no server of ours.
        Err(_) if !status.is_success() => Err(bare(status, &headers)),
        Err(error) => Err(strange(error)),
    }
}

/// Reads the refusal of an answer that would have been a stream.
pub(super) async fn refused(server: &str, response: Response) -> HttpError {
    match read::<Value>(server, response).await {
        Err(error) => error,
        Ok(_) => HttpError::Strange { server: server.to_owned(), reason: "an error is none".to_owned() },
    }
}

fn refusal(status: StatusCode, headers: &HeaderMap, body: Body, request_id: Option<String>) -> HttpError {
    let Body { code, message, details: Details { hint, faults, progress } } = body;
    let (status, retry_after) = (status.as_u16(), retry_after(headers));
    HttpError::Refused(Box::new(Refusal { status, code, message, hint, faults, progress, retry_after, request_id }))
}

/// An answer that only has a status.
fn bare(status: StatusCode, headers: &HeaderMap) -> HttpError {
    HttpError::Refused(Box::new(Refusal {
        status: status.as_u16(),
        code: String::new(),
        message: format!("the answer is {status}, and nothing of this API"),
        hint: Some("is this the address of `gristmill serve`?".to_owned()),
        faults: Vec::new(),
        progress: None,
        retry_after: retry_after(headers),
        request_id: None,
    }))
}

/// The wait that is asked for, in seconds.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    headers.get(RETRY_AFTER)?.to_str().ok()?.trim().parse().ok().map(Duration::from_secs)
}

async fn whole(server: &str, mut response: Response) -> Result<Vec<u8>, HttpError> {
    let broken = |error: reqwest::Error| HttpError::Broken {
        server: server.to_owned(),
        reason: with_causes(&error.without_url()),
    };
    let mut bytes = Vec::new();
    while let Some(piece) = response.chunk().await.map_err(broken)? {
        if bytes.len() + piece.len() > ANSWER_BYTES_MAX {
            let reason = format!("it is longer than {ANSWER_BYTES_MAX} bytes; ask for less at once");
            return Err(HttpError::Strange { server: server.to_owned(), reason });
        }
        bytes.extend_from_slice(&piece);
    }
    Ok(bytes)
}
