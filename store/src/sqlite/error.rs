//! SQLite's errors, in the store's own words.

use crate::error::StoreError;
use crate::migrations;
use crate::row_search::Refusal;

/// The primary result codes of SQLite that matter to us: <https://sqlite.org/rescode.html>.
const BUSY: u32 = 5;
const LOCKED: u32 = 6;
const IOERR: u32 = 10;
const FULL: u32 = 13;
const CANTOPEN: u32 = 14;
const TOOBIG: u32 = 18;
const CONSTRAINT: u32 = 19;
const MISMATCH: u32 = 20;
const NOTADB: u32 = 26;

/// The extended code of a broken foreign key.
const FOREIGN_KEY: u32 = 787;

/// The extended codes of a broken unique index, and of a primary key that is taken.
const UNIQUE: u32 = 2067;
const PRIMARY_KEY: u32 = 1555;

/// The extended code of an error that a trigger raises.
const TRIGGER: u32 = 1811;

/// Maps an error of one of our statements.
pub(super) fn database(error: sqlx::Error) -> StoreError {
    let text = error.to_string();
    let Some(code) = code(&error) else { return without_code(error, text) };
    match code & 0xff {
        FULL => StoreError::Full(text),
        BUSY | LOCKED | IOERR | CANTOPEN => StoreError::Unavailable(text),
        NOTADB => StoreError::Invalid(format!("the file is not an SQLite database ({text}); name another one")),
        CONSTRAINT if code == FOREIGN_KEY => {
            StoreError::NotFound("the batch that a job names does not exist; create it first".to_owned())
        }
        _ if text.contains("no such table") => {
            StoreError::NeedsMigration { missing: migrations::SQLITE.iter().count() }
        }
        _ => StoreError::Database(text),
    }
}

/// Maps an error of the statement that lets dead letters hold their unique keys again: two may have the same.
pub(super) fn held_key(error: sqlx::Error) -> StoreError {
    match code(&error) {
        Some(UNIQUE) => StoreError::Conflict(
            "another job that is not final holds the unique key of one of them; cancel it or wait for it".to_owned(),
        ),
        _ => database(error),
    }
}

/// Maps an error of the statement that writes into the user's own table.
pub(super) fn sink(error: sqlx::Error) -> StoreError {
    match code(&error).map(|code| code & 0xff) {
        Some(FULL | BUSY | LOCKED | IOERR | CANTOPEN) | None => database(error),
        Some(_) => StoreError::Sink(error.to_string()),
    }
}

/// Whether a row that was to be inserted is there already.
pub(super) fn taken(error: &sqlx::Error) -> bool {
    matches!(code(error), Some(UNIQUE | PRIMARY_KEY))
}

/// Tells whether the user's own table refuses a row or is in trouble itself.
pub(super) fn refusal(error: sqlx::Error) -> Result<Refusal, StoreError> {
    let reason = |code: u32| {
        let text = error.as_database_error().map_or_else(|| error.to_string(), |refusal| refusal.message().to_owned());
        format!("{text} ({code})")
    };
    match code(&error) {
        Some(TRIGGER) => Ok(Refusal::Unclear(reason(TRIGGER))),
        Some(code) if matches!(code & 0xff, CONSTRAINT | MISMATCH | TOOBIG) => Ok(Refusal::Row(reason(code))),
        _ => Err(sink(error)),
    }
}

/// The same error, for another caller whom it concerns.
pub(super) fn copy(error: &StoreError) -> StoreError {
    match error {
        StoreError::Unavailable(text) => StoreError::Unavailable(text.clone()),
        StoreError::Full(text) => StoreError::Full(text.clone()),
        StoreError::Database(text) => StoreError::Database(text.clone()),
        other => StoreError::Database(other.to_string()),
    }
}

/// Whether another connection or process holds a lock that is needed.
pub(super) fn busy(error: &sqlx::Error) -> bool {
    code(error).is_some_and(|code| matches!(code & 0xff, BUSY | LOCKED))
}

fn code(error: &sqlx::Error) -> Option<u32> {
    error.as_database_error()?.code()?.parse().ok()
}

fn without_code(error: sqlx::Error, text: String) -> StoreError {
    match error {
        sqlx::Error::PoolTimedOut => StoreError::Unavailable(
            "all connections to the file are in use, and none came free within `[store] acquire_timeout`".to_owned(),
        ),
        sqlx::Error::Io(_) | sqlx::Error::PoolClosed | sqlx::Error::WorkerCrashed | sqlx::Error::BeginFailed => {
            StoreError::Unavailable(text)
        }
        _ => StoreError::Database(text),
    }
}
