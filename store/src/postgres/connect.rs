//! The connections to PostgreSQL, and how a transaction is run on one.

use std::fmt;
use std::ops::Deref;
use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use sqlx::postgres::{PgConnectOptions, PgConnection, PgPool};
use sqlx::{AssertSqlSafe, ConnectOptions, Connection, Postgres, Transaction};

use super::fault::{Fault, Outcome, in_words};
use super::guarded::{self, GuardedConnection, Patience, within};
use super::hints::Hints;
use super::notifier::{Notifier, Signals};
use super::own::{OwnConnection, OwnStep};
use super::session::Session;
use super::work::Work;
use crate::address::{encryption, postgres_options};
use crate::audit::{Attributed, Attribution};
use crate::condition::Condition;
use crate::duties::EndedCount;
use crate::error::{Result, StoreError};
use crate::failpoint;
use crate::settings::Settings;
use crate::sql::audit;

/// How many times a transaction that collides with another one is tried.
const TRIES_MAX: u32 = 8;

const VIEW: &str = "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY; \
                    SET LOCAL enable_seqscan = off; SET LOCAL enable_bitmapscan = off; SET LOCAL jit = off";

/// A view that takes longer than this is aborted, so that a page never holds up the transitions.
const VIEW_MAX: Duration = Duration::from_secs(15);

/// How long a separate connection may take that is to find out why the pool had none.
const LOOK: Duration = Duration::from_secs(3);

/// The truth in PostgreSQL.
#[derive(Clone)]
pub struct PostgresStore {
    shared: Arc<Shared>,
    /// The step of an order whose entry in the audit is written with the next change.
    attributed: Option<Arc<Attributed>>,
    /// Whether what is added is held to the quotas of tenants.
    metered: bool,
    /// What a transaction begins with that is confined to a tenant.
    pub(super) confined: Option<Arc<str>>,
}

/// What all handles of one store have in common.
pub struct Shared {
    pub(super) pool: PgPool,
    pub(super) hints: Hints,
    /// Keeps leases, whatever holds the pool.
    leases: OwnConnection,
    place: String,
    with_outbox: bool,
    /// The role of `[store] api_role`, where one is named.
    pub(super) api_role: Option<String>,
    options: PgConnectOptions,
    session: Session,
    notifier: Arc<Notifier>,
    patience: Patience,
    pub(super) condition: Condition,
    pub(super) ended_count: EndedCount,
}

impl Deref for PostgresStore {
    type Target = Shared;

    fn deref(&self) -> &Shared {
        &self.shared
    }
}

impl fmt::Debug for PostgresStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PostgresStore")
            .field("place", &self.place)
            .field("road", &self.with_outbox)
            .finish_non_exhaustive()
    }
}

/// One step inside a transaction, which gets its arguments.
pub(super) type Step<A, T> = for<'s, 'w> fn(&'s mut Work<'w>, &'s A) -> BoxFuture<'s, Outcome<T>>;

/// How a step's transaction begins and ends.
#[derive(Clone, Copy)]
struct Frame {
    /// What the transaction begins with; `None` when the step is a single statement, and so a transaction by itself.
    setting: Option<&'static str>,
    /// How long the whole of it may take.
    patience: Duration,
    /// It runs on the connection for leases instead of one of the pool.
    own: bool,
    /// Everything is rolled back at the end.
    dry_run: bool,
    /// The step's path, for crash points.
    name: &'static str,
}

/// What a step did.
struct Ran<T> {
    value: T,
    wrote: bool,
    /// What others are to be told now that it is committed.
    signals: Signals,
}

impl PostgresStore {
    /// Opens a pool of connections. With `with_outbox` a broker carries ids, and transitions write to the outbox.
    ///
    /// The URL is `postgres://USER:PASSWORD@HOST:PORT/DATABASE`, with `sslmode` (`disable`, `prefer`,
    /// `require`, `verify-ca`, `verify-full`; the last by default for another host), `sslrootcert`, `sslcert`, `sslkey`,
    /// `options` and `statement-cache-capacity` as parameters. Nothing is changed in the database.
    ///
    /// # Errors
    ///
    /// [`StoreError::Invalid`] when the URL cannot be read, [`StoreError::Unavailable`] when no server answers.
    pub async fn connect(url: &str, settings: &Settings, with_outbox: bool) -> Result<Self> {
        let options = options(url)?;
        let place = place(&options);
        let (patience, condition) = (Patience::of(settings), Condition::default());
        let (pool, statement) = (guarded::pool(settings), guarded::at_server(patience.usual));
        let (pool, options, session) = match Session::open(pool, options.clone(), statement).await {
            Ok(opened) => opened,
            Err(error) => {
                let error = why(&options, None, &error).await;
                return Err(in_place(&place, advised(error, encryption(url).advice())));
            }
        };
        let shared = Shared {
            hints: Hints::new(options.clone(), patience.usual),
            leases: OwnConnection::new(session.limited(options.clone(), guarded::at_server(patience.lease))),
            pool,
            place,
            with_outbox,
            api_role: Some(&settings.api_role).filter(|role| !role.is_empty()).cloned(),
            options,
            session,
            notifier: Arc::default(),
            patience,
            condition,
            ended_count: EndedCount::default(),
        };
        Ok(Self { shared: Arc::new(shared), attributed: None, metered: false, confined: None })
    }

    /// A handle of the same store that is attributed to a step of an order.
    pub(super) fn attributed(&self, attribution: Attribution) -> Self {
        Self { attributed: Some(Attributed::new(attribution)), ..self.clone() }
    }

    /// A handle of the same store that is held to the quotas of tenants.
    pub(super) fn metered(&self) -> Self {
        Self { metered: true, ..self.clone() }
    }

    /// Whether it is held to the quotas of tenants.
    pub(super) fn is_metered(&self) -> bool {
        self.metered
    }

    /// The step whose entry is still to be written.
    fn pending(&self) -> Option<&Attributed> {
        self.attributed.as_deref().filter(|attributed| attributed.pending())
    }

    /// The pool of connections, for the user's own statements in the same database. Its sessions are held to the plans
    /// of our statements, and a statement may take no longer than `[store] answer_timeout`: a transaction of
    /// [`PostgresStore::begin`] is planned as usual, and has no limit.
    pub fn pool(&self) -> &PgPool {
        &self.pool
    }

    /// Begins a transaction of the user's own. See [`super::tx`] for what may be done in it. The user decides how long
    /// to wait for its answers.
    ///
    /// # Errors
    ///
    /// [`StoreError::Unavailable`] when no connection is available.
    pub async fn begin(&self) -> Result<Transaction<'static, Postgres>> {
        match self.pool.begin_with(AssertSqlSafe(format!("BEGIN; {}", self.session.users()))).await {
            Ok(transaction) => Ok(transaction),
            Err(error) => Err(self.explain(&error).await),
        }
    }

    /// What an error means. A pool that had no connection in time says little: trying a separate connection
    /// distinguishes an unreachable server from an exhausted pool.
    pub(super) async fn explain(&self, error: &sqlx::Error) -> StoreError {
        let pool = self.pool.options().get_max_connections();
        let explained = in_place(&self.place, why(&self.options, Some(pool), error).await);
        self.condition.failed(&explained);
        explained
    }

    /// Whether a broker carries ids.
    pub(super) fn with_outbox(&self) -> bool {
        self.with_outbox
    }

    /// Waits until others have been told of what was committed.
    pub(super) async fn all_notified(&self) {
        self.notifier.all_sent().await;
    }

    /// Whether a session is this process's own for as long as it lasts.
    pub(super) fn holds_sessions(&self) -> bool {
        self.session == Session::Held
    }

    /// What a connection outside the pool is opened with.
    pub(super) fn options(&self) -> &PgConnectOptions {
        &self.options
    }

    pub(super) fn place(&self) -> &str {
        &self.place
    }

    /// Runs a step in a transaction and commits it. A step that collided with another transaction is tried again.
    pub(super) async fn transact<A: Sync, T: Send>(
        &self,
        name: &'static str,
        arguments: &A,
        step: Step<A, T>,
    ) -> Result<T> {
        self.tries(self.frame(name), arguments, step).await
    }

    /// The same on the connection for leases: for what begins and ends one.
    pub(super) async fn transact_lease<A: Sync, T: Send>(
        &self,
        name: &'static str,
        arguments: &A,
        step: Step<A, T>,
    ) -> Result<T> {
        self.tries(Frame { own: true, ..self.frame(name) }, arguments, step).await
    }

    /// Runs a step of single statements, each of which is a transaction by itself, without beginning one around them.
    /// Only the last of them may write. Where the session is not held, they are a transaction like any other.
    pub(super) async fn alone<A: Sync, T: Send>(
        &self,
        name: &'static str,
        arguments: &A,
        step: Step<A, T>,
    ) -> Result<T> {
        let setting = match self.session {
            // The entry of an order is a statement more.
            Session::Held if self.pending().is_none() && self.confined.is_none() => None,
            Session::Held | Session::Free => Some(self.session.held()),
        };
        self.tries(Frame { setting, ..self.frame(name) }, arguments, step).await
    }

    /// Runs one statement about a lease on the connection for leases. A lease that is not prolonged in time is lost, so
    /// that it is better to ask again than to wait for an answer for long.
    pub(super) async fn lease<A: Sync, T>(&self, arguments: &A, step: OwnStep<A, T>) -> Result<T> {
        match self.leases.run(self.patience.lease, arguments, step).await {
            Ok(value) => {
                self.condition.has_room();
                Ok(value)
            }
            Err(fault) => self.observed(Err(fault)).await,
        }
    }

    /// The same, but with `dry_run` everything is rolled back at the end: a dry run does the work to learn what would
    /// happen, so that its answer cannot differ from the real run.
    pub(super) async fn attempt<A: Sync, T: Send>(
        &self,
        name: &'static str,
        arguments: &A,
        dry_run: bool,
        step: Step<A, T>,
    ) -> Result<T> {
        let (setting, patience) = (Some(self.session.free()), self.patience.long);
        self.tries(Frame { setting, patience, dry_run, ..self.frame(name) }, arguments, step).await
    }

    /// A transaction of our own statements, committed at the end, on a connection of the pool.
    fn frame(&self, name: &'static str) -> Frame {
        let (setting, patience) = (Some(self.session.held()), self.patience.usual);
        Frame { setting, patience, own: false, dry_run: false, name }
    }

    async fn tries<A: Sync, T: Send>(&self, frame: Frame, arguments: &A, step: Step<A, T>) -> Result<T> {
        for _ in 1..TRIES_MAX {
            match self.try_once(frame, arguments, step).await {
                Err(fault) if fault.is_collision() => tracing::debug!(?fault, "a transaction collided; once more"),
                other => return self.observed(other).await,
            }
        }
        let last = self.try_once(frame, arguments, step).await;
        self.observed(last).await
    }

    async fn observed<T>(&self, outcome: Outcome<(T, bool)>) -> Result<T> {
        match outcome {
            Ok((value, wrote)) => {
                self.condition.well(wrote);
                Ok(value)
            }
            Err(Fault::Sql(error)) => Err(self.explain(&error).await),
            Err(fault) => {
                let error = StoreError::from(fault);
                self.condition.failed(&error);
                Err(error)
            }
        }
    }

    async fn try_once<A: Sync, T: Send>(&self, frame: Frame, arguments: &A, step: Step<A, T>) -> Outcome<(T, bool)> {
        if frame.own {
            let all = (self, frame, arguments, step);
            return self.leases.run(frame.patience, &all, |conn, all| on(conn, all)).await;
        }
        let mut held = GuardedConnection::of(&self.pool).await?;
        let run = async { Ok::<_, Fault>(self.run(&mut held, frame, arguments, step).await) };
        let outcome = within(frame.patience, run).await?;
        match &outcome {
            // The caller need not wait for it: what it asked for is committed.
            Ok(ran) if ran.signals.any() => self.notifier.send_beside(held, ran.signals, self.patience.usual),
            _ => held.answered(),
        }
        outcome.map(|ran| (ran.value, ran.wrote))
    }

    async fn run<A: Sync, T: Send>(
        &self,
        conn: &mut PgConnection,
        frame: Frame,
        arguments: &A,
        step: Step<A, T>,
    ) -> Outcome<Ran<T>> {
        let Some(setting) = frame.setting else { return self.run_alone(conn, frame, arguments, step).await };
        let begin = self.patience.begin(frame.patience, &self.confining(setting));
        let mut transaction = conn.begin_with(begin).await?;
        let mut work = Work::new(&mut transaction, self.with_outbox);
        if self.metered {
            work.hold_to_quotas();
        }
        let pending = self.pending().filter(|_| !frame.dry_run);
        if pending.is_some() {
            work.gather_facts();
        }
        let done = match (step(&mut work, arguments).await, pending) {
            (Ok(value), Some(attributed)) => audited(&mut work, attributed).await.map(|()| value),
            (done, _) => done,
        };
        let value = match done {
            Ok(value) => value,
            Err(fault) => {
                // If it were dropped, it would hold its locks until the connection is used again: a caller that has
                // seen the refusal may continue, and would be kept out or passed over. A connection that is gone has
                // rolled back already.
                let _ = transaction.rollback().await;
                return Err(fault);
            }
        };
        let (wrote, entered, signals) = (work.wrote(), work.entered_audit(), work.signals());
        if frame.dry_run {
            transaction.rollback().await?;
            return Ok(Ran { value, wrote: false, signals: Signals::default() });
        }
        failpoint::of_step(frame.name, "before_commit");
        transaction.commit().await.map_err(unknown)?;
        failpoint::of_step(frame.name, "committed");
        if let (Some(attributed), true) = (pending, entered) {
            attributed.written();
        }
        Ok(Ran { value, wrote, signals })
    }

    async fn run_alone<A: Sync, T: Send>(
        &self,
        conn: &mut PgConnection,
        frame: Frame,
        arguments: &A,
        step: Step<A, T>,
    ) -> Outcome<Ran<T>> {
        let mut work = Work::new(conn, self.with_outbox);
        failpoint::of_step(frame.name, "before_commit");
        let value = step(&mut work, arguments).await?;
        failpoint::of_step(frame.name, "committed");
        Ok(Ran { value, wrote: work.wrote(), signals: work.signals() })
    }

    /// Begins a transaction for views: one snapshot, nothing written, a time limit. [`PostgresStore::seen`] ends it.
    /// The caller may be dropped at any moment: then the connection is closed with it, since the next transition on it
    /// would fail because it is read-only.
    pub(super) async fn look(&self) -> Result<GuardedConnection> {
        let mut held = self.held().await?;
        let patience = self.patience.usual.min(VIEW_MAX);
        let begin = self.patience.begin(patience, &self.confining(&format!("{}; {VIEW}", self.session.free())));
        self.answer(sqlx::raw_sql(begin).execute(&mut *held)).await?;
        Ok(held)
    }

    /// Ends what [`PostgresStore::look`] began.
    pub(super) async fn seen(&self, mut held: GuardedConnection) -> Result<()> {
        self.answer(sqlx::raw_sql("ROLLBACK").execute(&mut *held)).await?;
        held.answered();
        Ok(())
    }

    /// A connection to send a query on.
    pub(super) async fn held(&self) -> Result<GuardedConnection> {
        match GuardedConnection::of(&self.pool).await {
            Ok(held) => Ok(held),
            Err(error) => Err(self.explain(&error).await),
        }
    }

    /// Waits for an answer for the usual time.
    pub(super) async fn answer<T, E: Into<Fault>>(
        &self,
        answer: impl Future<Output = std::result::Result<T, E>>,
    ) -> Result<T> {
        within(self.patience.usual, answer).await.map_err(|fault| {
            let error = StoreError::from(fault);
            self.condition.failed(&error);
            error
        })
    }
}

/// Writes the entry of an attributed step that has changed something.
async fn audited(work: &mut Work<'_>, attributed: &Attributed) -> Outcome<()> {
    let Some(facts) = work.take_facts() else { return Ok(()) };
    let written = audit::append(work, &facts.attribution(&attributed.attribution), &facts.fields).await?;
    work.audit_entered(written);
    Ok(())
}

/// A transaction on a connection that is not the pool's.
fn on<'s, A: Sync, T: Send>(
    conn: &'s mut PgConnection,
    (store, frame, arguments, step): &'s (&PostgresStore, Frame, &A, Step<A, T>),
) -> BoxFuture<'s, Outcome<(T, bool)>> {
    Box::pin(async {
        let ran = store.run(conn, *frame, *arguments, *step).await?;
        store.notifier.send(conn, ran.signals).await;
        Ok((ran.value, ran.wrote))
    })
}

/// What an error means; `pool` is how many connections the pool has, if there is one already.
async fn why(options: &PgConnectOptions, pool: Option<u32>, error: &sqlx::Error) -> StoreError {
    if !matches!(error, sqlx::Error::PoolTimedOut) {
        return in_words(error);
    }
    match tokio::time::timeout(LOOK, options.connect()).await {
        Err(_) => StoreError::Unavailable("the server does not answer".to_owned()),
        Ok(Err(error)) => in_words(&error),
        Ok(Ok(connection)) => {
            let _ = connection.close().await;
            StoreError::Unavailable(match pool {
                Some(connections) => format!(
                    "all {connections} connections of the pool are in use, and none came free within `[store] \
                     acquire_timeout`; raise `[store] connections`, or look for what holds them"
                ),
                None => "the server was slow to answer; try again".to_owned(),
            })
        }
    }
}

/// The error with what to write in the URL, where its encryption is what failed.
fn advised(error: StoreError, advice: Option<&str>) -> StoreError {
    match (error, advice) {
        (StoreError::Unavailable(text), Some(advice)) if text.contains("TLS") || text.contains("certificate") => {
            StoreError::Unavailable(format!("{text}; {advice}"))
        }
        (error, _) => error,
    }
}

fn in_place(place: &str, error: StoreError) -> StoreError {
    match error {
        StoreError::Unavailable(text) => StoreError::Unavailable(format!("{place}: {text}")),
        other => other,
    }
}

/// A commit whose answer never came may have happened: the caller may repeat the call, and every transition recognises
/// what it has already done.
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
    let options = postgres_options(url).map_err(|wrong| StoreError::Invalid(format!("the store URL {wrong}")))?;
    let named = options.get_application_name().is_some();
    let options = if named { options } else { options.application_name("gristmill") };
    // PgBouncer refuses start-up parameters that it does not know, and this one only matters for text output.
    Ok(options.extra_float_digits(None))
}

fn place(options: &PgConnectOptions) -> String {
    let host = match options.get_socket() {
        Some(socket) => socket.display().to_string(),
        None if options.get_host().contains(':') => format!("[{}]:{}", options.get_host(), options.get_port()),
        None => format!("{}:{}", options.get_host(), options.get_port()),
    };
    let database = options.get_database().unwrap_or(options.get_username());
    format!("postgres://{host}/{database}")
}

/// Runs a step in a transaction. The closure captures nothing, so that it can run again.
macro_rules! transact {
    ($store:expr, $step:path, $arguments:expr) => {
        $store.transact(stringify!($step), &$arguments, |work, arguments| Box::pin($step(work, arguments)))
    };
}

/// Runs a step of single statements without beginning a transaction around them.
macro_rules! alone {
    ($store:expr, $step:path, $arguments:expr) => {
        $store.alone(stringify!($step), &$arguments, |work, arguments| Box::pin($step(work, arguments)))
    };
}

/// The same on the connection for leases.
macro_rules! transact_lease {
    ($store:expr, $step:path, $arguments:expr) => {
        $store.transact_lease(stringify!($step), &$arguments, |work, arguments| Box::pin($step(work, arguments)))
    };
}

/// Runs one statement about a lease, on the connection for leases.
macro_rules! lease {
    ($store:expr, $step:path, $arguments:expr) => {
        $store.lease(&$arguments, |conn, arguments| Box::pin($step(conn, arguments)))
    };
}

/// The same for an operator's command: a dry run is rolled back, and nothing of it may be published.
macro_rules! control {
    ($store:expr, $dry_run:expr, $step:path, $arguments:expr) => {{
        let mut control_report = $store
            .attempt(stringify!($step), &$arguments, $dry_run, |work, arguments| {
                Box::pin(async move {
                    let report = $step(work, arguments).await?;
                    work.tell(&report);
                    Ok(report)
                })
            })
            .await?;
        if $dry_run {
            control_report.dispatched = $crate::Dispatched::default();
        }
        Ok(control_report)
    }};
}

/// Reads one snapshot.
macro_rules! look {
    ($store:expr, $view:path $(, $argument:expr)*) => {{
        let mut snapshot = $store.look().await?;
        let seen = $store.answer($view(&mut *snapshot $(, $argument)*)).await?;
        $store.seen(snapshot).await?;
        Ok(seen)
    }};
}

/// Runs one statement that needs no transaction of its own.
macro_rules! single {
    ($store:expr, $step:path $(, $argument:expr)*) => {{
        let mut held = $store.held().await?;
        // A refusal by the server is an answer, too.
        let answer = async { Ok::<_, $crate::postgres::fault::Fault>($step(&mut held $(, $argument)*).await) };
        let answer = $store.answer(answer).await?;
        held.answered();
        Ok(answer?)
    }};
}

pub(super) use {alone, control, lease, look, single, transact, transact_lease};
