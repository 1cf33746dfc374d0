//! From rows to values.

use std::str::FromStr;
use std::time::Duration;

use gristmill_core::Instant;
use gristmill_core::batch::Counts;
use gristmill_core::id::{BatchId, JobId};
use gristmill_core::job::Priority;
use serde_json::Value;
use sqlx::Row;
use sqlx::sqlite::SqliteRow;
use uuid::Uuid;

use crate::error::{Result, StoreError};
use crate::flow::bucket_between;
use crate::{Dispatch, Purpose};

/// What every statement that moves jobs returns, for [`Moved`].
macro_rules! moved_columns {
    () => {
        "id, tenant, queue, lane, batch_id, seq, items, generation"
    };
}
pub(super) use moved_columns;

/// What others must know of a job that has just been moved.
#[derive(Debug, Clone)]
pub(super) struct Moved {
    pub(super) id: JobId,
    pub(super) tenant: String,
    pub(super) queue: String,
    pub(super) priority: Priority,
    pub(super) batch: Option<BatchId>,
    pub(super) seq: Option<i64>,
    pub(super) items: i64,
    pub(super) generation: u32,
}

impl Moved {
    /// The batch in which this job counts, if it is a chunk.
    pub(super) fn chunk_of(&self) -> Option<BatchId> {
        self.seq.and(self.batch)
    }
}

/// Reads the columns of [`moved_columns`].
pub(super) fn moved(row: &SqliteRow) -> Result<Moved> {
    Ok(Moved {
        id: id(row, "id")?,
        tenant: get(row, "tenant")?,
        queue: get(row, "queue")?,
        priority: priority(row)?,
        batch: maybe_id(row, "batch_id")?,
        seq: get(row, "seq")?,
        items: get(row, "items")?,
        generation: number(row, "generation")?,
    })
}

/// The buckets of the times that a job waited and ran, from the columns `queued_at` and `started_at`, as its attempt ends
/// now.
pub(super) fn buckets(row: &SqliteRow, now: i64) -> Result<(Option<i16>, Option<i16>)> {
    let (queued_at, started_at): (Option<i64>, Option<i64>) = (get(row, "queued_at")?, get(row, "started_at")?);
    let wait = started_at.and_then(|started_at| bucket_between(queued_at, started_at));
    Ok((wait, bucket_between(started_at, now)))
}

/// Reads an outbox row.
pub(super) fn dispatch(row: &SqliteRow) -> Result<Dispatch> {
    let purpose: String = get(row, "purpose")?;
    Ok(Dispatch {
        outbox: get(row, "id")?,
        queue: get(row, "queue")?,
        priority: priority(row)?,
        purpose: if purpose == "dead_letter" { Purpose::DeadLetter } else { Purpose::Dispatch },
        jobs: json(row, "jobs")?,
    })
}

/// The word for a purpose in the outbox.
pub(super) fn purpose_word(purpose: Purpose) -> &'static str {
    match purpose {
        Purpose::Dispatch => "dispatch",
        Purpose::DeadLetter => "dead_letter",
    }
}

/// Any value.
pub(super) fn get<'r, T>(row: &'r SqliteRow, column: &str) -> Result<T>
where
    T: sqlx::Decode<'r, sqlx::Sqlite> + sqlx::Type<sqlx::Sqlite>,
{
    row.try_get(column).map_err(|error| StoreError::Database(error.to_string()))
}

/// An id.
pub(super) fn id<T: From<Uuid>>(row: &SqliteRow, column: &str) -> Result<T> {
    get::<Uuid>(row, column).map(T::from)
}

/// An id that may be missing.
pub(super) fn maybe_id<T: From<Uuid>>(row: &SqliteRow, column: &str) -> Result<Option<T>> {
    get::<Option<Uuid>>(row, column).map(|id| id.map(T::from))
}

/// A number that is never negative.
pub(super) fn number<T: TryFrom<i64>>(row: &SqliteRow, column: &str) -> Result<T> {
    let value: i64 = get(row, column)?;
    T::try_from(value).map_err(|_| unreadable(column, &value.to_string()))
}

/// A truth value.
pub(super) fn flag(row: &SqliteRow, column: &str) -> Result<bool> {
    get::<i64>(row, column).map(|value| value != 0)
}

/// A word from a fixed list.
pub(super) fn word<T: FromStr>(row: &SqliteRow, column: &str) -> Result<T> {
    let text: String = get(row, column)?;
    text.parse().map_err(|_| unreadable(column, &text))
}

/// A priority, stored by its rank.
pub(super) fn priority(row: &SqliteRow) -> Result<Priority> {
    let rank: i64 = get(row, "lane")?;
    i16::try_from(rank).ok().and_then(Priority::from_rank).ok_or_else(|| unreadable("lane", &rank.to_string()))
}

/// An instant.
pub(super) fn instant(row: &SqliteRow, column: &str) -> Result<Instant> {
    at(get(row, column)?, column)
}

/// An instant that may be missing.
pub(super) fn maybe_instant(row: &SqliteRow, column: &str) -> Result<Option<Instant>> {
    get::<Option<i64>>(row, column)?.map(|micros| at(micros, column)).transpose()
}

/// The instant that many microseconds after 1970.
pub(super) fn at(micros: i64, column: &str) -> Result<Instant> {
    Instant::from_timestamp_micros(micros).ok_or_else(|| unreadable(column, &micros.to_string()))
}

/// Milliseconds.
pub(super) fn millis(row: &SqliteRow, column: &str) -> Result<Duration> {
    number(row, column).map(Duration::from_millis)
}

/// A text that holds JSON.
pub(super) fn json<T: serde::de::DeserializeOwned>(row: &SqliteRow, column: &str) -> Result<T> {
    let text: &str = get(row, column)?;
    serde_json::from_str(text).map_err(|error| unreadable(column, &error.to_string()))
}

/// A text that holds JSON, or nothing.
pub(super) fn maybe_json<T: serde::de::DeserializeOwned>(row: &SqliteRow, column: &str) -> Result<Option<T>> {
    let text: Option<&str> = get(row, column)?;
    text.map(|text| serde_json::from_str(text).map_err(|error| unreadable(column, &error.to_string()))).transpose()
}

/// A text that holds any value: in it every key is an ordinary key.
pub(super) fn any_json(row: &SqliteRow, column: &str) -> Result<Value> {
    let text: &str = get(row, column)?;
    gristmill_core::json::kept(text).map_err(|error| unreadable(column, &error.to_string()))
}

/// A text that holds any value, or nothing.
pub(super) fn maybe_any_json(row: &SqliteRow, column: &str) -> Result<Option<Value>> {
    let text: Option<&str> = get(row, column)?;
    text.map(gristmill_core::json::kept).transpose().map_err(|error| unreadable(column, &error.to_string()))
}

/// The counts of a batch.
pub(super) fn counts(row: &SqliteRow) -> Result<Counts> {
    Ok(Counts {
        input: number(row, "input")?,
        ok: number(row, "ok")?,
        skipped: number(row, "skipped")?,
        quarantined: number(row, "quarantined")?,
        cancelled: number(row, "cancelled")?,
    })
}

fn unreadable(column: &str, found: &str) -> StoreError {
    StoreError::Database(format!("column `{column}` holds what this program did not write: {found}"))
}

/// Microseconds since 1970, after that wait.
pub(super) fn later(now: i64, wait: Duration) -> i64 {
    now.saturating_add(i64::try_from(wait.as_micros()).unwrap_or(i64::MAX / 2))
}

/// An instant as microseconds since 1970.
pub(super) fn micros(at: Instant) -> i64 {
    at.timestamp_micros()
}
