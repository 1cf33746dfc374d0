//! Live updates: [`events`], one way, for pages and scripts; [`socket`], both ways, with commands.

pub(super) mod commands;
mod events;
mod said;
mod socket;
mod watcher;

use chrono::{DateTime, SecondsFormat, Utc};
use gristmill_core::access::Principal;
use tokio::time::{Instant, Interval, MissedTickBehavior, interval_at};

use crate::gate::{Api, ApiError, ErrorCode, Parameters, Query, Result, Routes};
use crate::live::feed::NotWatched;
use crate::live::{Feed, Place, Topic};

pub(super) fn routes() -> Routes {
    Routes::default()
        .get_slowly(
            "/api/v1/live",
            "What is watched, now and each time that it changes, as server-sent events",
            events::events,
        )
        .get_slowly("/api/v1/live/socket", "The same over a WebSocket, with commands", socket::open)
}

/// What is watched, and from where on.
struct Watching {
    topics: Vec<Topic>,
    after: Option<Place>,
}

impl Parameters for Watching {
    fn read(query: &mut Query) -> Self {
        let topics: Vec<String> = query
            .many("topics", "What is watched: `queues`, `workers`, `batches`, `batch:ID`, `job:ID`; may be repeated");
        let after: Option<String> = query
            .one("after", "The id of the last event that the client has, as `Last-Event-ID`, which comes before it");
        let mut parsed = Vec::new();
        for topic in topics {
            match topic.parse() {
                Ok(topic) => parsed.push(topic),
                Err(wrong) => query.fault("topics", wrong),
            }
        }
        let after = after.and_then(|text| match text.parse() {
            Ok(place) => Some(place),
            Err(wrong) => {
                query.fault("after", wrong);
                None
            }
        });
        Self { topics: parsed, after }
    }
}

/// Checks that a caller may watch a topic.
fn check(principal: &Principal, topic: Topic) -> Result<()> {
    let permission = topic.permission();
    if principal.may(permission) {
        return Ok(());
    }
    let message = format!("the caller may not watch `{topic}`: `{permission}` is needed");
    Err(ApiError::new(ErrorCode::Forbidden, message))
}

/// Watches topics that the caller may watch.
fn watch(feed: &mut Feed, principal: &Principal, topics: &[Topic], after: Option<Place>) -> Result<()> {
    topics.iter().try_for_each(|topic| check(principal, *topic))?;
    topics.iter().try_for_each(|topic| feed.watch(*topic, after)).map_err(|full| match full {
        NotWatched::Client => ApiError::fault("?topics", full.to_string()),
        NotWatched::Server => ApiError::new(ErrorCode::Unavailable, full.to_string()),
    })
}

/// Whether a caller who has been watching still may: in the same tenant, and every topic of it.
fn still_may(before: &Principal, now: &Principal, feed: &Feed) -> Result<()> {
    if before.tenant != now.tenant {
        return Err(ApiError::new(ErrorCode::Forbidden, "the caller belongs to another tenant now"));
    }
    feed.topics().try_for_each(|topic| check(now, topic))
}

/// When a client is told that the server is there, and its caller is recognized anew.
fn beats(api: &Api) -> Interval {
    let mut beat = interval_at(Instant::now() + api.beat(), api.beat());
    beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
    beat
}

fn written(at: DateTime<Utc>) -> String {
    at.to_rfc3339_opts(SecondsFormat::Millis, true)
}

fn now() -> String {
    written(Utc::now())
}
