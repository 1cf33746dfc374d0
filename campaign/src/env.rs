//! What one schedule stands on: a database, a namespace, proxies, a mail server and a folder of its own.

use std::path::PathBuf;

use serde_json::{Value, json};
use sqlx::postgres::{PgPool, PgPoolOptions};
use sqlx::{AssertSqlSafe, Connection, Executor};
use uuid::Uuid;

use crate::fleet::Servers;
use gristmill_testkit::http::reply;
use gristmill_testkit::{FakeHttp, FakeSmtp, Proxy};

/// The queues that a schedule uses.
pub const QUEUES: [&str; 2] = ["default", "mail"];

/// See the module's documentation.
#[derive(Debug)]
pub struct TestEnv {
    /// Its folder.
    pub folder: tempfile::TempDir,
    /// The servers below.
    pub servers: Servers,
    /// The name of its database.
    pub database: String,
    /// The first part of its queues' names.
    pub namespace: String,
    /// Between the processes and PostgreSQL.
    pub postgres: Proxy,
    /// Between the processes and RabbitMQ.
    pub amqp: Proxy,
    /// Where emails go.
    pub smtp: FakeSmtp,
    /// What items go through: it answers each with itself, and a culprit with an error of its own.
    pub service: FakeHttp,
    /// A way to the database that no fault touches.
    pub pool: PgPool,
}

impl TestEnv {
    /// Makes one. `bad_mail` of a hundred emails are treated badly by the mail server.
    ///
    /// # Panics
    ///
    /// When the servers do not answer.
    pub async fn new(servers: &Servers, seed: u64, bad_mail: u64) -> Self {
        let database = format!("gristmill_{}", Uuid::new_v4().simple());
        administer(&servers.postgres, &format!("CREATE DATABASE {database} TEMPLATE {}", servers.template)).await;
        let url = with_database(&servers.postgres, &database);
        let pool = PgPoolOptions::new().max_connections(2).connect_lazy(&url).expect("an address");
        Self {
            folder: tempfile::tempdir().expect("a temporary folder"),
            postgres: Proxy::start(&local(&servers.postgres, 5432)).await,
            amqp: Proxy::start(&local(&servers.amqp, 5672)).await,
            smtp: FakeSmtp::unreliable(seed, bad_mail).await,
            service: FakeHttp::start(|asked| async move {
                match accepted(&asked.body) {
                    Some(item) => reply(200, &[], json!({ "ok": item }).to_string()),
                    None => reply(500, &[], "it is beyond me"),
                }
            })
            .await,
            servers: servers.clone(),
            namespace: format!("campaign-{}", Uuid::new_v4().simple()),
            database,
            pool,
        }
    }

    /// A file in its folder.
    pub fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// The address of the store by the proxy.
    pub fn store_url(&self) -> String {
        at_port(&with_database(&self.servers.postgres, &self.database), self.postgres.port)
    }

    /// The address of the broker by the proxy.
    pub fn broker_url(&self) -> String {
        at_port(&self.servers.amqp, self.amqp.port)
    }

    /// The full name of a priority's queue.
    pub fn priority(&self, queue: &str, priority: &str) -> String {
        format!("{}.{queue}.{priority}.v1", self.namespace)
    }

    /// All priorities of all queues.
    pub fn priorities(&self) -> Vec<String> {
        QUEUES
            .iter()
            .flat_map(|queue| ["high", "normal", "low"].map(|priority| self.priority(queue, priority)))
            .collect()
    }

    /// The queue with the copies of dead jobs.
    pub fn dead(&self, queue: &str) -> String {
        format!("{}.dlq.{queue}.v1", self.namespace)
    }

    /// The queue of what the broker gave up on.
    pub fn returned(&self) -> String {
        format!("{}.returned.v1", self.namespace)
    }

    /// Deletes the database and the queues. Not done when a schedule fails and somebody wants to look.
    pub async fn clear(self) {
        self.pool.close().await;
        let Self { servers, database, namespace, .. } = &self;
        administer(&servers.postgres, &format!("DROP DATABASE IF EXISTS {database} WITH (FORCE)")).await;
        let queues: Vec<String> = self
            .priorities()
            .into_iter()
            .chain(QUEUES.iter().map(|queue| self.dead(queue)))
            .chain([self.returned()])
            .collect();
        // What stays behind on a broker of the campaign's own goes with it.
        let _ = delete_queues(&servers.amqp, namespace, &queues).await;
    }
}

async fn delete_queues(amqp: &str, namespace: &str, queues: &[String]) -> lapin::Result<()> {
    let connection = lapin::Connection::connect(amqp, lapin::ConnectionProperties::default()).await?;
    let channel = connection.create_channel().await?;
    for queue in queues {
        channel.queue_delete(queue.as_str().into(), lapin::options::QueueDeleteOptions::default()).await?;
    }
    for exchange in ["dispatch", "returned"] {
        let name = format!("{namespace}.{exchange}.v1");
        channel.exchange_delete(name.as_str().into(), lapin::options::ExchangeDeleteOptions::default()).await?;
    }
    connection.close(200, "done".into()).await
}

/// The item that the service was asked for, unless that is a culprit.
fn accepted(body: &[u8]) -> Option<Value> {
    let mut asked: Value = serde_json::from_slice(body).ok()?;
    Some(asked["item"].take()).filter(|item| item.is_object() && item["note"] != "culprit")
}

/// Runs one statement as the server's administrator.
///
/// # Panics
///
/// When it fails.
pub async fn administer(url: &str, statement: &str) {
    let mut connection = sqlx::PgConnection::connect(url).await.expect("the campaign's PostgreSQL answers");
    connection
        .execute(AssertSqlSafe(statement.to_owned()))
        .await
        .unwrap_or_else(|error| panic!("{statement}: {error}"));
    // It has done its work.
    let _ = connection.close().await;
}

/// The same server, another database.
pub fn with_database(url: &str, database: &str) -> String {
    let (address, query) = url.split_once('?').map_or((url, None), |(address, query)| (address, Some(query)));
    let authority = address.find("://").map_or(0, |at| at + 3);
    let end = address[authority..].find('/').map_or(address.len(), |at| authority + at);
    let query = query.map(|query| format!("?{query}")).unwrap_or_default();
    format!("{}/{database}{query}", &address[..end])
}

/// The same address on another port of this machine.
fn at_port(url: &str, port: u16) -> String {
    let mut url = url::Url::parse(url).expect("an address");
    url.set_host(Some("127.0.0.1")).expect("it has a host");
    url.set_port(Some(port)).expect("it may have a port");
    url.to_string()
}

/// Where the server of an address listens on this machine.
fn local(url: &str, usual: u16) -> String {
    let port = url::Url::parse(url).ok().and_then(|url| url.port()).unwrap_or(usual);
    format!("127.0.0.1:{port}")
}
