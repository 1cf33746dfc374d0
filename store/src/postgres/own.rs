//! A connection of its own, outside the pool, for what must never wait until a connection of the pool is free.
//!
//! A lease is prolonged in time or lost, and with it all that runs under it. Transactions that wait for locks, and
//! views that take long, may hold every connection of the pool for longer than a lease lasts.

use std::time::Duration;

use futures::future::BoxFuture;
use sqlx::ConnectOptions;
use sqlx::postgres::{PgConnectOptions, PgConnection};
use tokio::sync::Mutex;

use super::fault::Outcome;
use super::guarded::within;

/// What is run on it, with its arguments.
pub(super) type OwnStep<A, T> = for<'s> fn(&'s mut PgConnection, &'s A) -> BoxFuture<'s, Outcome<T>>;

/// The connection. It opens with its first use, and again whenever it has been lost.
pub(super) struct OwnConnection {
    options: PgConnectOptions,
    /// `None` while there is none: before the first use, and after one that had no answer.
    conn: Mutex<Option<PgConnection>>,
}

impl OwnConnection {
    pub(super) fn new(options: PgConnectOptions) -> Self {
        Self { options, conn: Mutex::new(None) }
    }

    /// Runs a step, at most for the given time, with the connecting and the wait for its turn. When the connection
    /// turns out to be lost, the step runs a second time on a fresh one: repeating it must do no harm.
    pub(super) async fn run<A: Sync, T>(&self, at_most: Duration, arguments: &A, step: OwnStep<A, T>) -> Outcome<T> {
        within(at_most, self.try_twice(arguments, step)).await
    }

    async fn try_twice<A: Sync, T>(&self, arguments: &A, step: OwnStep<A, T>) -> Outcome<T> {
        let mut place = self.conn.lock().await;
        // It is out of its place while a step runs: when the caller gives up in the middle of an answer, it is closed.
        if let Some(mut conn) = place.take() {
            match step(&mut conn, arguments).await {
                Err(fault) if fault.is_lost() => tracing::debug!(?fault, "the connection for leases was lost"),
                outcome => {
                    *place = Some(conn);
                    return outcome;
                }
            }
        }
        let mut conn = self.options.connect().await?;
        let outcome = step(&mut conn, arguments).await;
        if !outcome.as_ref().is_err_and(|fault| fault.is_lost()) {
            *place = Some(conn);
        }
        outcome
    }
}
