//! What a client says over a WebSocket, and what it hears: one JSON object a message.

use gristmill_core::json;
use serde::Deserialize;
use serde_json::Value;

use crate::gate::{ApiError, ErrorCode, Result};
use crate::live::{Place, Topic};

/// What a client says. `id` is its own number for the message: the answer has it.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case", deny_unknown_fields)]
pub(super) enum Said {
    /// Watch topics; answered by `ack`, and then by `event` for each of them.
    Subscribe {
        /// Its number.
        #[serde(default)]
        id: u64,
        /// What is watched.
        topics: Vec<String>,
        /// The id of the last event that the client has.
        #[serde(default)]
        after: Option<String>,
    },
    /// Watch topics no longer; answered by `ack`.
    Unsubscribe {
        /// Its number.
        #[serde(default)]
        id: u64,
        /// What is watched no longer.
        topics: Vec<String>,
    },
    /// Answered by `pong`.
    Ping {
        /// Its number.
        #[serde(default)]
        id: u64,
    },
    /// A request to an endpoint, with the same permissions; answered by `ack` with status and body.
    Command {
        /// Its number.
        #[serde(default)]
        id: u64,
        /// `GET`, `POST` and so on.
        method: String,
        /// The address, such as `/api/v1/queues/mail/pause`.
        path: String,
        /// The body, if the endpoint reads one.
        #[serde(default)]
        body: Option<Value>,
        /// As the header of that name.
        #[serde(default)]
        idempotency_key: Option<String>,
    },
}

/// Reads a message. The number is known as soon as the message is an object that has one.
///
/// # Errors
///
/// The number with what is wrong.
pub(super) fn read(text: &str) -> Result<Said, (u64, Box<ApiError>)> {
    // A payload stands two levels deep in its message: in the command, and in the request.
    let value = json::read_around(text.as_bytes(), 2).map_err(|error| (0, wrong(error.to_string())))?;
    let id = value.get("id").and_then(Value::as_u64).unwrap_or_default();
    serde_path_to_error::deserialize(value).map_err(|error| (id, wrong(error.to_string())))
}

fn wrong(message: String) -> Box<ApiError> {
    let error = ApiError::new(ErrorCode::BadRequest, format!("the message cannot be read: {message}"));
    Box::new(error.hint("send one such as {\"type\":\"subscribe\",\"id\":1,\"topics\":[\"queues\"]}"))
}

/// Topics by their names.
///
/// # Errors
///
/// The first that there is not.
pub(super) fn topics(names: &[String]) -> Result<Vec<Topic>> {
    names.iter().map(|name| name.parse().map_err(|wrong: String| ApiError::fault("/topics", wrong))).collect()
}

/// A place by its name.
///
/// # Errors
///
/// When it is none.
pub(super) fn place(name: Option<&str>) -> Result<Option<Place>> {
    name.map(|name| name.parse().map_err(|wrong: String| ApiError::fault("/after", wrong))).transpose()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_read_exactly_or_refused_with_its_number() {
        let subscribe = read(r#"{"type":"subscribe","id":3,"topics":["queues"]}"#).expect("read");
        assert_eq!(subscribe, Said::Subscribe { id: 3, topics: vec!["queues".to_owned()], after: None });
        assert_eq!(read(r#"{"type":"ping"}"#).expect("read"), Said::Ping { id: 0 });
        for (odd, id, part) in [
            ("", 0, "cannot be read"),
            ("[]", 0, "cannot be read"),
            (r#"{"type":"shout","id":4}"#, 4, "shout"),
            (r#"{"type":"ping","id":5,"x":1}"#, 5, "x"),
            (r#"{"type":"command","id":6,"method":"GET"}"#, 6, "path"),
        ] {
            let (number, error) = read(odd).expect_err(odd);
            assert_eq!(number, id, "{odd}");
            assert!(error.message.contains(part), "{odd}: {}", error.message);
        }
    }
}
