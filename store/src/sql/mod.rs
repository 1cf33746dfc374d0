//! Cold transitions, written once over both databases.
//!
//! A statement is written in PostgreSQL's dialect, with parameters `$1`, `$2` …; SQLite's side replaces the few words
//! for which it has other names (`sqlite/sql.rs`). A group travels as one JSON text, and `now()` is the instant of the
//! transaction. What runs for each job has separate statements for each database, and so has what depends on the query
//! plan: see `docs/decisions/0012-cold-transitions-once.md`.

pub(crate) mod accounts;
pub(crate) mod acknowledged;
pub(crate) mod archived;
pub(crate) mod audit;
pub(crate) mod backfills;
pub(crate) mod batch_ends;
pub(crate) mod conditions;
pub(crate) mod deletion;
pub(crate) mod email;
pub(crate) mod email_ends;
pub(crate) mod events;
pub(crate) mod expiry;
pub(crate) mod history;
pub(crate) mod logs;
pub(crate) mod mail_flow;
pub(crate) mod mailing;
pub(crate) mod operations;
pub(crate) mod outbox;
pub(crate) mod poison;
pub(crate) mod prune;
pub(crate) mod quota;
pub(crate) mod requests;
pub(crate) mod schedules;
pub(crate) mod suppressions;
pub(crate) mod ticks;
pub(crate) mod triggers;

use std::str::FromStr;

use gristmill_core::Instant;
use gristmill_core::id::BatchId;
use gristmill_core::job::{JobState, NewJob};
use serde::de::DeserializeOwned;
use uuid::Uuid;

use crate::NewBatch;
use crate::audit::Facts;
use crate::error::{Result, StoreError};

/// A parameter of a statement.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Value {
    /// A text; PostgreSQL's side replaces NUL with U+FFFD.
    Text(Option<String>),
    Number(Option<i64>),
    Id(Option<Uuid>),
    Time(Option<Instant>),
    Flag(bool),
    Bytes(Vec<u8>),
}

macro_rules! value_from {
    ($($kind:ty => |$value:ident| $made:expr;)*) => {
        $(impl From<$kind> for Value {
            fn from($value: $kind) -> Self {
                $made
            }
        })*
    };
}

value_from! {
    &str => |text| Self::Text(Some(text.to_owned()));
    &String => |text| Self::Text(Some(text.clone()));
    String => |text| Self::Text(Some(text));
    Option<String> => |text| Self::Text(text);
    Option<&str> => |text| Self::Text(text.map(str::to_owned));
    u32 => |number| Self::Number(Some(i64::from(number)));
    i64 => |number| Self::Number(Some(number));
    Option<i64> => |number| Self::Number(number);
    u64 => |number| Self::Number(Some(i64::try_from(number).unwrap_or(i64::MAX)));
    i32 => |number| Self::Number(Some(i64::from(number)));
    Uuid => |id| Self::Id(Some(id));
    Option<Uuid> => |id| Self::Id(id);
    Instant => |at| Self::Time(Some(at));
    Option<Instant> => |at| Self::Time(at);
    bool => |flag| Self::Flag(flag);
    Vec<u8> => |bytes| Self::Bytes(bytes);
}

/// The parameters of a statement, in order.
macro_rules! values {
    ($($value:expr),* $(,)?) => { vec![$($crate::sql::Value::from($value)),*] };
}
pub(crate) use values;

/// A database in the middle of a transaction, or of a view.
pub(crate) trait Sql: Send {
    /// A row of a result.
    type Row: Columns + Send;
    /// Why a step failed.
    type Fault: From<StoreError> + Send;

    /// Runs a statement and returns its rows.
    fn rows(
        &mut self,
        statement: &'static str,
        values: Vec<Value>,
    ) -> impl Future<Output = Result<Vec<Self::Row>, Self::Fault>> + Send;

    /// Runs a statement and returns how many rows it changed.
    fn run(
        &mut self,
        statement: &'static str,
        values: Vec<Value>,
    ) -> impl Future<Output = Result<u64, Self::Fault>> + Send;

    /// The instant of the transaction.
    fn now(&mut self) -> impl Future<Output = Result<Instant, Self::Fault>> + Send;

    /// What the transaction says of itself, where an entry of the audit is written with it.
    fn facts(&mut self) -> Option<&mut Facts> {
        None
    }

    /// Notes that events are published with it: a hint is sent after the commit.
    fn publishes(&mut self) {}

    /// Runs a statement that returns at most one row.
    fn row(
        &mut self,
        statement: &'static str,
        values: Vec<Value>,
    ) -> impl Future<Output = Result<Option<Self::Row>, Self::Fault>> + Send {
        async move { Ok(self.rows(statement, values).await?.pop()) }
    }
}

/// What a transition creates in a separate way in each database.
pub(crate) trait Creating: Sql {
    /// Creates a batch, unless it exists.
    fn create_batch(&mut self, batch: &NewBatch) -> impl Future<Output = Result<(), Self::Fault>> + Send;

    /// Enqueues jobs.
    fn enqueue(&mut self, jobs: &[NewJob]) -> impl Future<Output = Result<(), Self::Fault>> + Send;

    /// A batch as it is now, with what its reports are made of.
    fn reported(
        &mut self,
        batch: BatchId,
    ) -> impl Future<Output = Result<Option<batch_ends::Reported>, Self::Fault>> + Send;

    /// Notes that a job went from one final state into another.
    fn count_moved(&mut self, tenant: &str, queue: &str, from: JobState, to: JobState);
}

/// The columns of a row, by name.
pub(crate) trait Columns {
    fn maybe_text(&self, column: &str) -> Result<Option<String>>;
    /// A number of any width.
    fn maybe_number(&self, column: &str) -> Result<Option<i64>>;
    fn maybe_id(&self, column: &str) -> Result<Option<Uuid>>;
    fn maybe_instant(&self, column: &str) -> Result<Option<Instant>>;
    fn flag(&self, column: &str) -> Result<bool>;
    fn bytes(&self, column: &str) -> Result<Vec<u8>>;

    fn text(&self, column: &str) -> Result<String> {
        there(column, self.maybe_text(column)?)
    }

    fn id<T: From<Uuid>>(&self, column: &str) -> Result<T> {
        there(column, self.maybe_id(column)?).map(T::from)
    }

    fn instant(&self, column: &str) -> Result<Instant> {
        there(column, self.maybe_instant(column)?)
    }

    /// A number of any type into which it fits.
    fn number<T: TryFrom<i64>>(&self, column: &str) -> Result<T> {
        let number = there(column, self.maybe_number(column)?)?;
        T::try_from(number).map_err(|_| unreadable(column, &number.to_string()))
    }

    /// A word from a fixed list.
    fn word<T: FromStr>(&self, column: &str) -> Result<T> {
        let text = self.text(column)?;
        text.parse().map_err(|_| unreadable(column, &text))
    }

    /// A text that holds JSON.
    fn json<T: DeserializeOwned>(&self, column: &str) -> Result<T> {
        there(column, self.maybe_json(column)?)
    }

    /// A text that holds JSON, or nothing.
    fn maybe_json<T: DeserializeOwned>(&self, column: &str) -> Result<Option<T>> {
        let text = self.maybe_text(column)?;
        text.map(|text| serde_json::from_str(&text).map_err(|error| unreadable(column, &error.to_string()))).transpose()
    }

    /// A text that holds any value, or nothing: in it every key is an ordinary key.
    fn maybe_any_json(&self, column: &str) -> Result<Option<serde_json::Value>> {
        let text = self.maybe_text(column)?;
        text.map(|text| gristmill_core::json::kept(&text).map_err(|error| unreadable(column, &error.to_string())))
            .transpose()
    }
}

fn there<T>(column: &str, value: Option<T>) -> Result<T> {
    value.ok_or_else(|| unreadable(column, "nothing"))
}

fn unreadable(column: &str, found: &str) -> StoreError {
    StoreError::Database(format!("column `{column}` holds what this program did not write: {found}"))
}
