//! A connection while a query is under way, and what becomes of it when no answer comes.
//!
//! A server that vanishes without a word (power, a cable, a firewall that has forgotten the connection) leaves the
//! connection half open: a query on it waits until the system gives up a quarter of an hour later, or for ever if
//! something in between swallows what is sent. So every wait for an answer has a limit. A connection that was left in
//! the middle of an answer is closed instead of returned: the pool would wait on it again, and have one fewer
//! meanwhile.

use std::future::Future;
use std::ops::{Deref, DerefMut};
use std::time::Duration;

use sqlx::pool::PoolConnection;
use sqlx::postgres::{PgConnection, PgPool, PgPoolOptions};
use sqlx::{AssertSqlSafe, Connection, Postgres};

use super::fault::Fault;
use crate::error::StoreError;
use crate::settings::Settings;

/// How long an idle connection has to prove that its server still answers.
const ALIVE: Duration = Duration::from_secs(2);

/// A connection that was used this recently is not checked.
const FRESH: Duration = Duration::from_secs(1);

/// Commands that may touch all rows of a batch of millions get this many times the usual time.
const LONG: u32 = 15;

/// How long to wait for an answer about a lease: one that was not prolonged can be prolonged by the next beat.
const LEASE: Duration = Duration::from_secs(2);

/// How long to wait for answers.
#[derive(Debug, Clone, Copy)]
pub(super) struct Patience {
    /// For a transition, and for a view.
    pub(super) usual: Duration,
    /// For an operator's command, and for discarding a whole batch.
    pub(super) long: Duration,
    /// For a beat, and for leadership.
    pub(super) lease: Duration,
}

impl Patience {
    pub(super) fn of(settings: &Settings) -> Self {
        let usual = settings.answer_timeout.0;
        Self { usual, long: usual.saturating_mul(LONG), lease: usual.min(LEASE) }
    }

    /// What begins a transaction that is waited for this long. The server's waits have a limit, too: otherwise it would
    /// notice only after two hours that a client has vanished, and until then keep the locks of the transaction that it
    /// was in.
    pub(super) fn begin(&self, patience: Duration, setting: &str) -> AssertSqlSafe<String> {
        let (idle, statement) = (millis(self.usual), at_server(patience));
        AssertSqlSafe(format!(
            "BEGIN; SET LOCAL idle_in_transaction_session_timeout = {idle}; SET LOCAL statement_timeout = {statement}; \
             {setting}"
        ))
    }
}

/// How long the server may work on a statement for whose answer a caller waits this long, in milliseconds: a little less.
/// Otherwise it would go on with what no caller waits for any more, and keep the locks that the next one needs.
pub(super) fn at_server(patience: Duration) -> u128 {
    millis(patience.saturating_sub(patience / 20))
}

/// As a setting of the server, which takes zero for no limit at all.
fn millis(time: Duration) -> u128 {
    time.as_millis().clamp(1, i32::MAX as u128)
}

/// A connection of the pool with a query under way. It goes back to the pool when [`GuardedConnection::answered`] is
/// called, and is closed when it is dropped before: by a timeout, or because the waiting caller was dropped itself.
pub(super) struct GuardedConnection {
    conn: PoolConnection<Postgres>,
    answered: bool,
}

impl GuardedConnection {
    /// Takes a connection out of the pool.
    pub(super) async fn of(pool: &PgPool) -> Result<Self, sqlx::Error> {
        Ok(Self { conn: pool.acquire().await?, answered: false })
    }

    /// All queries have been answered.
    pub(super) fn answered(mut self) {
        self.answered = true;
    }
}

impl Drop for GuardedConnection {
    fn drop(&mut self) {
        if !self.answered {
            self.conn.close_on_drop();
        }
    }
}

impl Deref for GuardedConnection {
    type Target = PgConnection;

    fn deref(&self) -> &PgConnection {
        &self.conn
    }
}

impl DerefMut for GuardedConnection {
    fn deref_mut(&mut self) -> &mut PgConnection {
        &mut self.conn
    }
}

/// Waits for an answer, but only for a limited time.
pub(super) async fn within<T, E: Into<Fault>>(
    patience: Duration,
    answer: impl Future<Output = Result<T, E>>,
) -> Result<T, Fault> {
    match tokio::time::timeout(patience, answer).await {
        Ok(answer) => answer.map_err(Into::into),
        Err(_) => Err(Fault::Store(StoreError::Unavailable(format!(
            "the server has not answered for {patience:?}; the connection is given up, and whether what was asked has \
             happened is unknown"
        )))),
    }
}

/// A pool whose idle connections are checked, for a limited time, before they are handed out, except those that have
/// just been used: a check would cost them as much as a statement does.
pub(super) fn pool(settings: &Settings) -> PgPoolOptions {
    PgPoolOptions::new()
        .max_connections(settings.connections.max(1))
        .acquire_timeout(settings.acquire_timeout.0)
        // The library's own check has no time limit: one dead connection would use up the whole time above.
        .test_before_acquire(false)
        .before_acquire(|conn, metadata| {
            Box::pin(async move {
                if metadata.idle_for < FRESH {
                    return Ok(true);
                }
                match tokio::time::timeout(ALIVE, conn.ping()).await {
                    Ok(Ok(())) => Ok(true),
                    Ok(Err(error)) => {
                        tracing::debug!(%error, "an idle connection has been lost");
                        Ok(false)
                    }
                    Err(_) => {
                        tracing::info!("an idle connection is half open; it is given up");
                        Ok(false)
                    }
                }
            })
        })
}

/// Whether the server still answers.
pub(super) async fn is_alive(conn: impl Future<Output = Result<(), sqlx::Error>>) -> bool {
    matches!(tokio::time::timeout(ALIVE, conn).await, Ok(Ok(())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_server_gives_up_before_its_caller_does_and_never_has_no_limit() {
        assert_eq!(at_server(Duration::from_secs(60)), 57_000);
        assert_eq!(at_server(Duration::ZERO), 1);
        assert_eq!(at_server(Duration::MAX), i32::MAX as u128);
    }
}
