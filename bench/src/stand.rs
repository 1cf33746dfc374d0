//! What one measurement of Gristmill stands on: a store, a broker's queues and a folder of its own, and the program.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use gristmill_client::Client;
use sqlx::postgres::{PgConnection, PgPool, PgPoolOptions};
use sqlx::{AssertSqlSafe, Connection, Executor};
use tokio::process::{Child, Command};
use tokio::time::timeout;
use uuid::Uuid;

use crate::fault::Result;
use crate::folder::Folder;
use crate::metric::{Metric, Setup};
use crate::note::RECORDS;

/// The servers and programs of a run.
#[derive(Debug, Clone)]
pub struct Ground {
    /// The address of PostgreSQL.
    pub postgres: String,
    /// The address of RabbitMQ.
    pub amqp: String,
    /// Where folders are made.
    pub folder: PathBuf,
    /// Gristmill's program with the kind `note`.
    pub program: PathBuf,
    /// The peer's program, if it was built.
    pub peer: Option<PathBuf>,
}

/// The batch that is measured, and nothing else: all settings are as shipped.
const CONFIG: &str = r#"[batch.sum]
source    = { csv = "amounts.csv" }
chunk     = 500
parse     = { amount = "decimal" }
aggregate = { rows = "count", total = { sum = "amount" } }
"#;

/// How long a program that was asked to stop may take.
const STOP: Duration = Duration::from_secs(40);

impl Ground {
    /// The address of a database on the server.
    pub fn database(&self, name: &str) -> String {
        let (address, query) =
            self.postgres.split_once('?').map_or((self.postgres.as_str(), None), |(a, q)| (a, Some(q)));
        let authority = address.find("://").map_or(0, |at| at + 3);
        let end = address[authority..].find('/').map_or(address.len(), |at| authority + at);
        let query = query.map(|query| format!("?{query}")).unwrap_or_default();
        format!("{}/{name}{query}", &address[..end])
    }

    /// Runs one statement as the server's administrator.
    ///
    /// # Errors
    ///
    /// Those of the server.
    pub async fn administer(&self, statement: String) -> Result<()> {
        let mut connection = PgConnection::connect(&self.postgres).await?;
        connection.execute(AssertSqlSafe(statement)).await?;
        connection.close().await?;
        Ok(())
    }

    /// How many bytes PostgreSQL has written to its log so far.
    ///
    /// # Errors
    ///
    /// Those of the server.
    pub async fn log_bytes(&self) -> Result<i64> {
        let mut connection = PgConnection::connect(&self.postgres).await?;
        let position = "SELECT (pg_current_wal_lsn() - '0/0'::pg_lsn)::bigint";
        let bytes = sqlx::query_scalar(position).fetch_one(&mut connection).await?;
        connection.close().await?;
        Ok(bytes)
    }

    /// How many bytes of the log each of so many jobs took since then. Nothing on SQLite, whose log is another.
    ///
    /// # Errors
    ///
    /// Those of the server.
    pub async fn log_of(&self, metric: Metric, setup: Setup, before: i64, jobs: u32) -> Result<Option<(Metric, f64)>> {
        if setup == Setup::Sqlite {
            return Ok(None);
        }
        let bytes = self.log_bytes().await? - before;
        Ok(Some((metric, bytes as f64 / f64::from(jobs))))
    }

    /// Writes everything out, so that no measurement pays for the one before. Only a superuser may.
    ///
    /// # Errors
    ///
    /// Those of the server.
    pub async fn settle(&self) -> Result<()> {
        self.administer("CHECKPOINT".to_owned()).await
    }
}

/// See the module's documentation.
#[derive(Debug)]
pub struct Stand {
    /// What it is.
    pub setup: Setup,
    ground: Ground,
    folder: Folder,
    database: Option<String>,
    namespace: String,
    files: AtomicU32,
}

impl Stand {
    /// Makes one, with its migrations applied.
    ///
    /// # Errors
    ///
    /// Those of the servers.
    pub async fn new(ground: &Ground, setup: Setup) -> Result<Self> {
        let name = Uuid::new_v4().simple();
        let folder = Folder::within(&ground.folder)?;
        let database = (setup != Setup::Sqlite).then(|| format!("gristmill_{name}"));
        if let Some(database) = &database {
            ground.administer(format!("CREATE DATABASE {database}")).await?;
        }
        std::fs::write(folder.file("config.toml"), CONFIG)?;
        let namespace = format!("bench-{name}");
        let stand = Self { setup, ground: ground.clone(), folder, database, namespace, files: AtomicU32::new(0) };
        stand.finish(&["db", "migrate"], Path::new("/dev/null")).await?;
        Ok(stand)
    }

    /// The address of the store.
    pub fn store(&self) -> String {
        match &self.database {
            None => format!("sqlite://{}", self.database_file().display()),
            Some(database) => self.ground.database(database),
        }
    }

    /// SQLite's file.
    pub fn database_file(&self) -> PathBuf {
        self.folder.file("gristmill.db")
    }

    /// A file that nothing has used yet.
    pub fn file(&self, name: &str) -> PathBuf {
        let number = self.files.fetch_add(1, Ordering::Relaxed);
        self.folder.file(&format!("{number}-{name}"))
    }

    fn broker(&self) -> &str {
        if self.setup == Setup::Rabbitmq { &self.ground.amqp } else { "in-process" }
    }

    /// A pool of connections to its database. `None` on SQLite.
    ///
    /// # Errors
    ///
    /// Those of the server.
    pub async fn pool(&self) -> Result<Option<PgPool>> {
        match &self.database {
            None => Ok(None),
            Some(database) => {
                let url = self.ground.database(database);
                Ok(Some(PgPoolOptions::new().max_connections(1).connect(&url).await?))
            }
        }
    }

    /// A client with the settings as shipped.
    ///
    /// # Errors
    ///
    /// Those of the store and the broker.
    pub async fn client(&self) -> Result<Client> {
        let store = gristmill_store::Settings { url: self.store(), ..gristmill_store::Settings::default() };
        let broker = gristmill_broker::Settings {
            url: self.broker().to_owned(),
            namespace: self.namespace.clone(),
            ..gristmill_broker::Settings::default()
        };
        Ok(Client::with_settings(store, broker).await?)
    }

    /// The name of the broker's queue for ordinary jobs.
    pub fn queue(&self) -> String {
        format!("{}.default.normal.v1", self.namespace)
    }

    fn command(&self, arguments: &[&str], records: &Path) -> Command {
        let mut command = Command::new(&self.ground.program);
        command
            .arg("--quiet")
            .arg("--config")
            .arg(self.folder.file("config.toml"))
            .args(["--store", &self.store(), "--broker", self.broker()])
            .args(arguments)
            .current_dir(self.folder.path())
            .env("GRISTMILL_BROKER_NAMESPACE", &self.namespace)
            .env(RECORDS, records)
            .stdin(Stdio::null())
            .kill_on_drop(true);
        command
    }

    /// Runs the program to its end and returns what it printed.
    ///
    /// # Errors
    ///
    /// When it ends badly.
    pub async fn finish(&self, arguments: &[&str], records: &Path) -> Result<String> {
        let output = self.command(arguments, records).output().await?;
        if output.status.success() {
            return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
        }
        let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        Err(format!("{arguments:?} ended with {}: {out} {err}", output.status).into())
    }

    /// Starts the program and lets it run.
    ///
    /// # Errors
    ///
    /// When it cannot be started.
    pub fn start(&self, arguments: &[&str], records: &Path) -> Result<Running> {
        Ok(Running(self.command(arguments, records).stdout(Stdio::null()).spawn()?))
    }

    /// Starts a worker with 256 slots.
    ///
    /// # Errors
    ///
    /// When it cannot be started.
    pub fn worker(&self, records: &Path) -> Result<Running> {
        self.start(&["worker", "--slots", "256"], records)
    }

    /// Starts a scheduler where one is a process of its own.
    ///
    /// # Errors
    ///
    /// When it cannot be started.
    pub fn scheduler(&self) -> Result<Option<Running>> {
        let runs = self.setup != Setup::Sqlite;
        runs.then(|| self.start(&["scheduler"], Path::new("/dev/null"))).transpose()
    }

    /// Removes its database and its queues.
    ///
    /// # Errors
    ///
    /// Those of the servers.
    pub async fn clear(self) -> Result<()> {
        if let Some(database) = &self.database {
            self.ground.administer(format!("DROP DATABASE IF EXISTS {database} WITH (FORCE)")).await?;
        }
        if self.setup == Setup::Rabbitmq {
            let own = |name: &str| format!("{}.{name}.v1", self.namespace);
            let queues = ["default.high", "default.normal", "default.low", "dlq.default", "returned"].map(own);
            crate::raw::rabbitmq::delete(&self.ground.amqp, &queues, &["dispatch", "returned"].map(own)).await?;
        }
        Ok(())
    }
}

/// A process that runs until it is stopped, or dropped.
#[derive(Debug)]
pub struct Running(Child);

impl Running {
    /// Takes over a process that was started.
    pub fn of(child: Child) -> Self {
        Self(child)
    }

    /// Its id.
    ///
    /// # Errors
    ///
    /// When it has ended.
    pub fn id(&self) -> Result<u32> {
        self.0.id().ok_or_else(|| "the process has ended by itself".into())
    }

    /// Asks it to stop, and waits for that.
    ///
    /// # Errors
    ///
    /// When it does not stop, or had ended badly before.
    pub async fn stop(mut self) -> Result<()> {
        let id = self.id()?.to_string();
        Command::new("kill").args(["-TERM", &id]).status().await?;
        let status = timeout(STOP, self.0.wait()).await.map_err(|_| "a process did not stop")??;
        if status.success() { Ok(()) } else { Err(format!("a process ended with {status}").into()) }
    }
}
