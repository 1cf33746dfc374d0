//! PostgreSQL's refusals and failures, in the store's words.

use crate::error::StoreError;
use crate::row_search::Refusal;

/// The outcome of a step.
pub(super) type Outcome<T> = Result<T, Fault>;

/// Why a step inside a transaction failed. The two are kept apart until the transaction is over, because only an error
/// of the database itself can mean "try again".
#[derive(Debug)]
pub(crate) enum Fault {
    /// The database reported it.
    Sql(sqlx::Error),
    /// The store decided it.
    Store(StoreError),
    /// What was read before has changed meanwhile: the transaction must begin again.
    Changed,
}

impl From<sqlx::Error> for Fault {
    fn from(error: sqlx::Error) -> Self {
        Self::Sql(error)
    }
}

impl From<StoreError> for Fault {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

impl From<Fault> for StoreError {
    fn from(fault: Fault) -> Self {
        match fault {
            Fault::Sql(error) => in_words(&error),
            Fault::Store(error) => error,
            Fault::Changed => StoreError::Unavailable("others keep changing the same rows; try again".to_owned()),
        }
    }
}

impl Fault {
    /// Whether the transaction collided with another one (a deadlock, a serialization conflict, an outdated read): it
    /// is rolled back whole, and the same may be tried at once.
    pub(super) fn is_collision(&self) -> bool {
        match self {
            Self::Sql(error) => matches!(code(error).as_deref(), Some("40001" | "40P01")),
            Self::Changed => true,
            Self::Store(_) => false,
        }
    }

    /// Whether the connection is gone: nothing more can be asked on it.
    pub(super) fn is_lost(&self) -> bool {
        match self {
            Self::Sql(sqlx::Error::Database(refusal)) => {
                refusal.code().is_some_and(|code| code.starts_with("57P") || code.starts_with("08"))
            }
            Self::Sql(sqlx::Error::Io(_) | sqlx::Error::Tls(_) | sqlx::Error::Protocol(_)) => true,
            Self::Sql(_) | Self::Store(_) | Self::Changed => false,
        }
    }
}

/// An error of the database, as one of the store's errors.
pub(super) fn in_words(error: &sqlx::Error) -> StoreError {
    match error {
        sqlx::Error::Database(refusal) => refused(refusal.as_ref()),
        sqlx::Error::PoolTimedOut => StoreError::Unavailable("no connection could be had in time".to_owned()),
        sqlx::Error::Io(_)
        | sqlx::Error::Tls(_)
        | sqlx::Error::PoolClosed
        | sqlx::Error::WorkerCrashed
        | sqlx::Error::Protocol(_)
        | sqlx::Error::BeginFailed => StoreError::Unavailable(error.to_string()),
        other => StoreError::Database(other.to_string()),
    }
}

/// An error of the database about a user's own table: transient errors as everywhere, all others are the table's
/// refusal.
pub(super) fn in_words_of_sink(error: sqlx::Error, table: &str) -> Fault {
    let fault = Fault::Sql(error);
    if fault.is_collision() {
        return fault;
    }
    if matches!(&fault, Fault::Sql(error) if code(error).as_deref() == Some("55P03")) {
        let text = format!("{table}: another session holds it; its rows are written when that session lets go");
        return Fault::Store(StoreError::SinkLocked(text));
    }
    match StoreError::from(fault) {
        StoreError::Database(text) => Fault::Store(StoreError::Sink(format!("{table}: {text}"))),
        StoreError::NeedsMigration { .. } => {
            Fault::Store(StoreError::Sink(format!("{table}: there is no such table, or it lacks a column")))
        }
        other => Fault::Store(other),
    }
}

/// What helps against a pooler that hands connections on and knows nothing of prepared statements.
const POOLED: &str = "a pooler gives each transaction another connection and does not carry prepared statements: use \
                      its session mode, or PgBouncer 1.21 or later with `max_prepared_statements`";

/// Tells whether a user's own table refuses a row (a value that does not fit, a constraint, the check of a view) or is in
/// trouble itself. A trigger may raise an error for either.
pub(super) fn refusal_of_sink(error: sqlx::Error, table: &str) -> Outcome<Refusal> {
    let (code, text) = match error.as_database_error() {
        Some(refusal) => (refusal.code().unwrap_or_default().into_owned(), refusal.message().to_owned()),
        None => return Err(in_words_of_sink(error, table)),
    };
    let reason = format!("{table}: {text} ({code})");
    match code.as_str() {
        "P0001" => Ok(Refusal::Unclear(reason)),
        code if ["22", "23", "44"].iter().any(|class| code.starts_with(class)) => Ok(Refusal::Row(reason)),
        _ => Err(in_words_of_sink(error, table)),
    }
}

/// SQLSTATE classes: <https://www.postgresql.org/docs/current/errcodes-appendix.html>.
fn refused(refusal: &dyn sqlx::error::DatabaseError) -> StoreError {
    let text = refusal.message().to_owned();
    let code = refusal.code().unwrap_or_default();
    match code.as_ref() {
        "23503" if refusal.constraint() == Some("job_batch_id_fkey") => {
            StoreError::NotFound("the batch that a job names does not exist; create it first".to_owned())
        }
        "53300" => {
            StoreError::Unavailable(format!("{text}; raise max_connections there, or lower `[store] connections` here"))
        }
        "53100" | "53400" => StoreError::Full(text),
        // Undefined table, column, schema: our schema is missing.
        "42P01" | "42703" | "3F000" => {
            StoreError::NeedsMigration { missing: crate::migrations::POSTGRES.iter().count() }
        }
        // Deadlock and serialization (after our own retries), shutdown, read-only standby, statement timeout.
        "40001" | "40P01" | "25006" | "57014" | "55P03" => StoreError::Unavailable(text),
        // Statements are prepared on one connection and asked for on another.
        other @ ("26000" | "42P05") => StoreError::Database(format!("{text} ({other}); {POOLED}")),
        "08P01" if text.contains("bind message") => StoreError::Database(format!("{text} (08P01); {POOLED}")),
        other if other.starts_with("08") || other.starts_with("53") || other.starts_with("57P") => {
            StoreError::Unavailable(text)
        }
        other => StoreError::Database(format!("{text} ({other})")),
    }
}

fn code(error: &sqlx::Error) -> Option<std::borrow::Cow<'_, str>> {
    error.as_database_error().and_then(sqlx::error::DatabaseError::code)
}
