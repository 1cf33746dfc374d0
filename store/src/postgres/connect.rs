//! The connections to PostgreSQL, and how a transaction is run on one.

use std::fmt;
use std::str::FromStr;

use futures::future::BoxFuture;
use sqlx::postgres::{PgConnectOptions, PgPool, PgPoolOptions};
use sqlx::{Postgres, Transaction};

use super::fault::{Fault, Outcome, in_words};
use super::hints::Hints;
use super::work::Work;
use crate::MigrationStatus;
use crate::crash;
use crate::error::{Result, StoreError};
use crate::migrations::{self, Applied, POSTGRES};
use crate::settings::Settings;

/// How many times a transaction that collided with another one is tried.
const TRIES_MAX: u32 = 8;

/// How the planner is held to the plans that these statements are written for: arrays joined to tables by their
/// keys, and heads of queues read in the order of an index. Statistics cannot lead there by themselves: they were
/// taken when a queue was empty, and now it holds a million. One round trip with the BEGIN, and as LOCAL settings
/// they are safe behind a pooler.
const HELD: &str = "BEGIN; SET LOCAL enable_sort = off; SET LOCAL enable_hashjoin = off; \
                    SET LOCAL enable_mergejoin = off; SET LOCAL jit = off";

/// A view that takes longer than this is given up, so that a page never holds up the transitions.
const VIEW: &str = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; SET LOCAL statement_timeout = '15s'";

/// The truth in PostgreSQL.
pub struct PostgresStore {
    pub(super) pool: PgPool,
    pub(super) hints: Hints,
    place: String,
    road: bool,
}

impl fmt::Debug for PostgresStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PostgresStore").field("place", &self.place).field("road", &self.road).finish_non_exhaustive()
    }
}

/// One step inside a transaction, with its arguments given to it.
pub(super) type Step<A, T> = for<'s, 'w> fn(&'s mut Work<'w>, &'s A) -> BoxFuture<'s, Outcome<T>>;

/// How a step's transaction begins and ends.
#[derive(Clone, Copy)]
struct Frame {
    begin: &'static str,
    /// Everything is rolled back at the end.
    dry_run: bool,
    /// The step's path, for crash points.
    name: &'static str,
}

impl PostgresStore {
    /// Opens a pool of connections. With `road` a broker carries ids, and transitions write to the outbox.
    ///
    /// The URL is `postgres://USER:PASSWORD@HOST:PORT/DATABASE`, with `sslmode` (`disable`, `prefer`,
    /// `require`, `verify-ca`, `verify-full`), `sslrootcert`, `sslcert`, `sslkey`, `options` and
    /// `statement-cache-capacity` as parameters. Nothing is changed in the database.
    ///
    /// # Errors
    ///
    /// [`StoreError::Invalid`] when the URL cannot be read, [`StoreError::Unavailable`] when nobody answers.
    pub async fn connect(url: &str, settings: &Settings, road: bool) -> Result<Self> {
        let options = options(url)?;
        let place = place(&options);
        let pool = PgPoolOptions::new()
            .max_connections(settings.connections.max(1))
            .acquire_timeout(settings.acquire_timeout.0)
            .connect_with(options.clone())
            .await
            .map_err(|error| match in_words(&error) {
                StoreError::Unavailable(text) => StoreError::Unavailable(format!("{place}: {text}")),
                other => other,
            })?;
        Ok(Self { hints: Hints::new(options), pool, place, road })
    }

    /// The pool of connections, for the user's own statements in the same database.
    pub fn pool(&self) -> &PgPool {
        &self.pool
    }

    /// Begins a transaction of the user's own. See [`super::tx`] for what may be done in it.
    ///
    /// # Errors
    ///
    /// [`StoreError::Unavailable`] when no connection can be had.
    pub async fn begin(&self) -> Result<Transaction<'static, Postgres>> {
        self.pool.begin().await.map_err(|error| in_words(&error))
    }

    /// Whether a broker carries ids.
    pub(super) fn road(&self) -> bool {
        self.road
    }

    pub(super) fn place(&self) -> &str {
        &self.place
    }

    /// Runs a step in a transaction and commits it. What collided with another transaction is tried again.
    pub(super) async fn transact<A: Sync, T>(&self, name: &'static str, arguments: &A, step: Step<A, T>) -> Result<T> {
        self.tries(Frame { begin: HELD, dry_run: false, name }, arguments, step).await
    }

    /// The same, but with `dry_run` everything is rolled back at the end: what would happen is found out
    /// by doing it, so that the answer cannot differ from the deed.
    pub(super) async fn attempt<A: Sync, T>(
        &self,
        name: &'static str,
        arguments: &A,
        dry_run: bool,
        step: Step<A, T>,
    ) -> Result<T> {
        self.tries(Frame { begin: "BEGIN; SET LOCAL jit = off", dry_run, name }, arguments, step).await
    }

    async fn tries<A: Sync, T>(&self, frame: Frame, arguments: &A, step: Step<A, T>) -> Result<T> {
        for _ in 1..TRIES_MAX {
            match self.try_once(frame, arguments, step).await {
                Err(fault) if fault.is_collision() => tracing::debug!(?fault, "a transaction collided; once more"),
                other => return other.map_err(StoreError::from),
            }
        }
        self.try_once(frame, arguments, step).await.map_err(StoreError::from)
    }

    async fn try_once<A: Sync, T>(&self, frame: Frame, arguments: &A, step: Step<A, T>) -> Outcome<T> {
        let mut transaction = self.pool.begin_with(frame.begin).await?;
        let value = step(&mut Work::new(&mut transaction, self.road), arguments).await?;
        if frame.dry_run {
            transaction.rollback().await?;
        } else {
            crash::of_step(frame.name, "before_commit");
            transaction.commit().await.map_err(unknown)?;
            crash::of_step(frame.name, "committed");
        }
        Ok(value)
    }

    /// Begins a transaction for views: one snapshot, nothing written, a bound on the time.
    pub(super) async fn look(&self) -> Result<Transaction<'static, Postgres>> {
        // Whoever asks may be dropped at any moment. The library would then put the connection back into the pool
        // with this transaction open, and whoever wrote on it next would be told that it is read-only. A task of its
        // own begins to its end, and what it gives to nobody is rolled back.
        let pool = self.pool.clone();
        let begun = tokio::spawn(async move { pool.begin_with(VIEW).await });
        match begun.await {
            Ok(begun) => begun.map_err(|error| in_words(&error)),
            Err(error) => Err(StoreError::Unavailable(format!("the view could not begin: {error}"))),
        }
    }

    /// Applies what is missing. The migrator holds an advisory lock, so that several processes may do so at once.
    pub(super) async fn apply_migrations(&self) -> Result<MigrationStatus> {
        migrations::refuse_newer(&self.read_migrations().await?)?;
        POSTGRES.run(&self.pool).await.map_err(|error| migrations::refused(error, |error| in_words(&error)))?;
        self.read_migrations().await
    }

    /// Which migrations are applied.
    pub(super) async fn read_migrations(&self) -> Result<MigrationStatus> {
        let applied = self.applied().await.map_err(|error| in_words(&error))?;
        Ok(migrations::status(&POSTGRES, &applied))
    }

    async fn applied(&self) -> std::result::Result<Vec<Applied>, sqlx::Error> {
        let there: bool = sqlx::query_scalar("SELECT to_regclass($1) IS NOT NULL")
            .bind(migrations::TABLE)
            .fetch_one(&self.pool)
            .await?;
        if !there {
            return Ok(Vec::new());
        }
        let rows: Vec<(i64, String, gristmill_core::Instant)> = sqlx::query_as(
            "SELECT version, description, installed_on FROM _gristmill_migrations WHERE success ORDER BY version",
        )
        .fetch_all(&self.pool)
        .await?;
        Ok(rows.into_iter().map(|(version, name, at)| Applied { version, name, at }).collect())
    }
}

/// A commit whose answer never came may have happened: the caller may call again, and every transition
/// recognises what it has already done.
fn unknown(error: sqlx::Error) -> Fault {
    match Fault::from(error) {
        fault if fault.is_collision() => fault,
        fault => match StoreError::from(fault) {
            StoreError::Unavailable(text) => Fault::Store(StoreError::Unavailable(format!(
                "the connection broke off at the commit, whose result is unknown: {text}"
            ))),
            other => Fault::Store(other),
        },
    }
}

fn options(url: &str) -> Result<PgConnectOptions> {
    let options = PgConnectOptions::from_str(url).map_err(|error| {
        // The error of the parser may quote the URL, and with it the password.
        tracing::trace!(kind = ?std::mem::discriminant(&error), "the URL of the store cannot be read");
        StoreError::Invalid(
            "`store.url` is not a PostgreSQL URL; write `postgres://USER:PASSWORD@HOST:5432/DATABASE`, with \
             `?sslmode=verify-full` where the way leads over a network; special characters in the password are \
             written as %XX"
                .to_owned(),
        )
    })?;
    let named = options.get_application_name().is_some();
    let options = if named { options } else { options.application_name("gristmill") };
    // PgBouncer refuses start-up parameters that it does not know, and this one only matters to text output.
    Ok(options.extra_float_digits(None))
}

fn place(options: &PgConnectOptions) -> String {
    let host = match options.get_socket() {
        Some(socket) => socket.display().to_string(),
        None => format!("{}:{}", options.get_host(), options.get_port()),
    };
    let database = options.get_database().unwrap_or(options.get_username());
    format!("postgres://{host}/{database}")
}
