//! A store and a broker of one test's own, cleaned up after it.

use std::path::{Path, PathBuf};

use sqlx::{Connection, Executor};
use uuid::Uuid;

/// What a test runs on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum On {
    /// SQLite and in-process: nothing installed.
    Sqlite,
    /// PostgreSQL alone.
    Postgres,
    /// PostgreSQL and RabbitMQ.
    PostgresAndRabbit,
}

/// A folder, a store and a broker namespace that nobody else uses.
#[derive(Debug)]
pub struct Place {
    folder: tempfile::TempDir,
    database: Option<String>,
    namespace: String,
    on: On,
}

fn given(variable: &str) -> String {
    std::env::var(variable).unwrap_or_else(|_| panic!("set {variable} or run `make test`"))
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime")
}

impl Place {
    /// Makes one.
    pub fn new(on: On) -> Self {
        let namespace = format!("test-{}", Uuid::new_v4().simple());
        let database = (on != On::Sqlite).then(|| format!("gristmill_{}", Uuid::new_v4().simple()));
        if let Some(database) = &database {
            administer(&format!("CREATE DATABASE {database}"));
        }
        Self { folder: tempfile::tempdir().expect("a temporary folder"), database, namespace, on }
    }

    /// The test's folder.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// A file in the test's folder.
    pub fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// The address of the store.
    pub fn store(&self) -> String {
        match &self.database {
            None => format!("sqlite://{}", self.file("gristmill.db").display()),
            Some(database) => with_database(&given("GRISTMILL_TEST_POSTGRES"), database),
        }
    }

    /// The address of the broker.
    pub fn broker(&self) -> String {
        if self.on == On::PostgresAndRabbit { given("GRISTMILL_TEST_AMQP") } else { "in-process".to_owned() }
    }

    /// The first part of its queues' names.
    pub fn namespace(&self) -> &str {
        &self.namespace
    }

    /// What it runs on.
    pub fn on(&self) -> On {
        self.on
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if let Some(database) = &self.database {
            administer(&format!("DROP DATABASE IF EXISTS {database} WITH (FORCE)"));
        }
        if self.on == On::PostgresAndRabbit {
            runtime().block_on(delete_queues(&self.namespace));
        }
    }
}

/// The same server, another database.
fn with_database(url: &str, database: &str) -> String {
    let (address, query) = url.split_once('?').map_or((url, None), |(address, query)| (address, Some(query)));
    let authority = address.find("://").map_or(0, |at| at + 3);
    let end = address[authority..].find('/').map_or(address.len(), |at| authority + at);
    let query = query.map(|query| format!("?{query}")).unwrap_or_default();
    format!("{}/{database}{query}", &address[..end])
}

/// Runs one statement as the server's administrator.
fn administer(statement: &str) {
    let url = given("GRISTMILL_TEST_POSTGRES");
    runtime().block_on(async {
        let mut connection = sqlx::PgConnection::connect(&url).await.expect("the test's PostgreSQL answers");
        connection
            .execute(sqlx::AssertSqlSafe(statement.to_owned()))
            .await
            .unwrap_or_else(|error| panic!("{statement}: {error}"));
    });
}

async fn delete_queues(namespace: &str) {
    let Ok(connection) =
        lapin::Connection::connect(&given("GRISTMILL_TEST_AMQP"), lapin::ConnectionProperties::default()).await
    else {
        return;
    };
    let queues = ["default", "mail", "slow"];
    let dispatch = queues
        .iter()
        .flat_map(|queue| ["high", "normal", "low"].map(|priority| format!("{namespace}.{queue}.{priority}.v1")));
    let others =
        queues.iter().map(|queue| format!("{namespace}.dlq.{queue}.v1")).chain([format!("{namespace}.returned.v1")]);
    for queue in dispatch.chain(others) {
        if let Ok(channel) = connection.create_channel().await {
            let _ = channel.queue_delete(queue.as_str().into(), lapin::options::QueueDeleteOptions::default()).await;
        }
    }
    for exchange in ["dispatch", "returned"] {
        if let Ok(channel) = connection.create_channel().await {
            let name = format!("{namespace}.{exchange}.v1");
            let _ =
                channel.exchange_delete(name.as_str().into(), lapin::options::ExchangeDeleteOptions::default()).await;
        }
    }
    let _ = connection.close(200, "done".into()).await;
}
