//! How values are written into columns and read back.

use std::borrow::Cow;
use std::time::Duration;

use gristmill_core::job::JobState;
use gristmill_core::json;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::check;
use crate::error::StoreError;

/// A text as a TEXT column can hold it: PostgreSQL has no NUL, so U+FFFD replaces it.
pub(super) fn plain(text: &str) -> Cow<'_, str> {
    if text.contains('\0') { Cow::Owned(text.replace('\0', "\u{fffd}")) } else { Cow::Borrowed(text) }
}

/// A value from a JSON column; `what` names the row for the message.
pub(super) fn from_json<T: DeserializeOwned>(text: &str, what: &str) -> Result<T, StoreError> {
    serde_json::from_str(text).map_err(|error| StoreError::Database(format!("{what} is not readable: {error}")))
}

/// Any value from a JSON column: in it every key is an ordinary key.
pub(super) fn from_any_json(text: &str, what: &str) -> Result<Value, StoreError> {
    json::kept(text).map_err(|error| StoreError::Database(format!("{what} is not readable: {error}")))
}

/// A count for a BIGINT column.
pub(super) fn big(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

/// A small count for an INTEGER column.
pub(super) fn int(count: u32) -> i32 {
    i32::try_from(count).unwrap_or(i32::MAX)
}

/// A count from a BIGINT column. The schema's checks keep counts from being negative.
pub(super) fn count(column: i64) -> u64 {
    u64::try_from(column).unwrap_or(0)
}

/// A small count from an INTEGER column.
pub(super) fn small(column: i32) -> u32 {
    u32::try_from(column).unwrap_or(0)
}

/// A duration in whole milliseconds, at most some 100 years: PostgreSQL's times and intervals have an end.
pub(super) fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).map_or(check::MILLIS_MAX, |millis| millis.min(check::MILLIS_MAX))
}

/// A duration in seconds for `make_interval(secs => …)`, at most some 100 years.
pub(super) fn seconds(duration: Duration) -> f64 {
    duration.as_secs_f64().min(100.0 * 366.0 * 86_400.0)
}

/// A job's state from its column.
pub(super) fn state_of(word: &str) -> Result<JobState, StoreError> {
    word.parse().map_err(|error| StoreError::Database(format!("a job's state: {error}")))
}
