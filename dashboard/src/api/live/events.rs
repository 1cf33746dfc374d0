//! Server-sent events (WHATWG HTML, 9.2): `id` is a place to go on from, `event` the kind of topic, `data` one line of JSON.

use std::convert::Infallible;

use axum::body::{Body, Bytes};
use axum::http::{HeaderMap, HeaderName, HeaderValue, header};
use axum::response::{IntoResponse, Response};
use futures::stream;
use serde_json::json;
use tokio::time::Interval;

use super::watcher::Watcher;
use super::{Watching, beats, now, written};
use crate::gate::describe::{Endpoint, Replies, Reply, plain};
use crate::gate::standing::Standing;
use crate::gate::{ApiError, Params, Recognized, Result};
use crate::live::{Frame, Place};

/// The type of the stream.
const EVENT_STREAM: &str = "text/event-stream";

/// How soon a browser connects again, in milliseconds.
const RETRY_MS: u32 = 2_000;

/// A stream of events.
#[derive(Debug)]
pub(super) struct Events(Body);

pub(super) async fn events(
    caller: Recognized,
    standing: Standing,
    Params(Watching { topics, after }): Params<Watching>,
) -> Result<Events> {
    if topics.is_empty() {
        return Err(ApiError::fault("?topics", "is missing: say what to watch, such as `queues`"));
    }
    let after = last_event(standing.headers()).or(after);
    let mut watcher = Watcher::new(&caller, standing);
    watcher.watch(&topics, after)?;
    let state = State { watcher, beat: beats(caller.api()), begun: false, ended: false };
    Ok(Events(Body::from_stream(stream::unfold(state, State::step))))
}

/// Where a browser that connects again has been. What is not ours says nothing.
fn last_event(headers: &HeaderMap) -> Option<Place> {
    headers.get("last-event-id")?.to_str().ok()?.parse().ok()
}

/// A client under way.
struct State {
    watcher: Watcher,
    beat: Interval,
    begun: bool,
    ended: bool,
}

impl State {
    /// The next piece of the stream.
    async fn step(mut self) -> Option<(Result<Bytes, Infallible>, Self)> {
        if self.ended {
            return None;
        }
        if !self.begun {
            self.begun = true;
            return Some((Ok(Bytes::from(format!("retry: {RETRY_MS}\n\n"))), self));
        }
        let news = tokio::select! {
            // At the server's stop a browser connects again by itself.
            news = self.watcher.feed.next() => Some(news?),
            _ = self.beat.tick() => None,
        };
        let text = match (self.watcher.check().await, news) {
            (Err(error), _) => {
                self.ended = true;
                format!("event: end\ndata: {}\n\n", json!({ "code": error.code, "message": error.message })).into()
            }
            (Ok(()), Some(news)) => news.iter().flat_map(|frame| event(frame)).collect(),
            (Ok(()), None) => {
                let data = json!({ "at": now(), "read_at": self.watcher.feed.read_at().map(written) });
                format!("event: beat\ndata: {data}\n\n").into()
            }
        };
        Some((Ok(text), self))
    }
}

/// An event as it is sent.
fn event(frame: &Frame) -> Vec<u8> {
    let head = format!("id: {}\nevent: {}\ndata: ", frame.place, frame.topic.kind());
    [head.as_bytes(), &frame.json, b"\n\n"].concat()
}

impl IntoResponse for Events {
    fn into_response(self) -> Response {
        let mut response = Response::new(self.0);
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(EVENT_STREAM));
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        // Proxies that gather an answer before they pass it on are told not to.
        headers.insert(HeaderName::from_static("x-accel-buffering"), HeaderValue::from_static("no"));
        response
    }
}

impl Replies for Result<Events> {
    fn describe(endpoint: &mut Endpoint) {
        endpoint.replies.push(Reply { status: 200, media: EVENT_STREAM, schema: plain::<String>() });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn where_a_client_was_is_read_from_its_header() {
        let of = |text: &str| {
            let pair = ("last-event-id".parse::<HeaderName>().expect("a name"), text.parse().expect("a value"));
            last_event(&HeaderMap::from_iter([pair]))
        };
        assert_eq!(of("feed-7").map(|place| place.to_string()), Some("feed-7".to_owned()));
        assert_eq!(of("another server's"), None);
        assert_eq!(last_event(&HeaderMap::new()), None);
    }
}
