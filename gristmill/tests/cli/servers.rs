//! A schema on the tests' PostgreSQL and a namespace on their RabbitMQ, cleaned up after the test.

use std::future::Future;

use lapin::options::{ExchangeDeclareOptions, QueueDeclareOptions, QueueDeleteOptions};
use lapin::types::FieldTable;
use lapin::{Connection as Amqp, ConnectionProperties, ExchangeKind};
use sqlx::postgres::PgConnection;
use sqlx::{AssertSqlSafe, Connection};
use uuid::Uuid;

use crate::place::Place;

fn given(variable: &str) -> String {
    std::env::var(variable).unwrap_or_else(|_| panic!("set {variable} or run `make test`"))
}

fn block_on<F: Future>(future: F) -> F::Output {
    tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime").block_on(future)
}

/// A schema of its own.
pub(crate) struct Schema {
    pub(crate) url: String,
    name: String,
}

impl Schema {
    pub(crate) fn new() -> Self {
        let server = given("GRISTMILL_TEST_POSTGRES");
        let name = format!("door_{}", Uuid::now_v7().simple());
        let joint = if server.contains('?') { '&' } else { '?' };
        let schema = Self { url: format!("{server}{joint}options=-c%20search_path%3D{name}"), name };
        schema.change(&format!("CREATE SCHEMA {}", schema.name));
        schema
    }

    /// Creates our tables in it, and returns its address.
    pub(crate) fn migrated(&self) -> String {
        Place::new().expect(0, &["--store", &self.url, "db", "migrate"]);
        self.url.clone()
    }

    pub(crate) fn change(&self, statement: &str) {
        block_on(async {
            let mut connection = PgConnection::connect(&self.url).await.expect("the test server answers");
            sqlx::raw_sql(AssertSqlSafe(statement.to_owned())).execute(&mut connection).await.expect("done");
        });
    }

    pub(crate) fn count(&self, query: &str) -> i64 {
        block_on(async {
            let mut connection = PgConnection::connect(&self.url).await.expect("the test server answers");
            sqlx::query_scalar(AssertSqlSafe(query.to_owned())).fetch_one(&mut connection).await.expect("a number")
        })
    }

    pub(crate) fn tables(&self) -> i64 {
        self.count(&format!("SELECT count(*) FROM information_schema.tables WHERE table_schema = '{}'", self.name))
    }
}

impl Drop for Schema {
    fn drop(&mut self) {
        self.change(&format!("DROP SCHEMA {} CASCADE", self.name));
    }
}

/// A namespace of its own.
pub(crate) struct Broker {
    pub(crate) url: String,
    pub(crate) namespace: String,
}

impl Broker {
    pub(crate) fn new() -> Self {
        Self { url: given("GRISTMILL_TEST_AMQP"), namespace: format!("door-{}", Uuid::now_v7().simple()) }
    }

    /// The same address with another password.
    pub(crate) fn with_password(&self, password: &str) -> String {
        let mut url = url::Url::parse(&self.url).expect("a URL");
        url.set_password(Some(password)).expect("a password fits");
        url.to_string()
    }

    /// Whether it has this exchange of ours.
    pub(crate) fn has_exchange(&self, name: &str) -> bool {
        let name = format!("{}.{name}.v1", self.namespace);
        let passive = ExchangeDeclareOptions { passive: true, ..ExchangeDeclareOptions::default() };
        block_on(async {
            let connection = Amqp::connect(&self.url, ConnectionProperties::default()).await.expect("connected");
            let channel = connection.create_channel().await.expect("a channel");
            let asked =
                channel.exchange_declare(name.as_str().into(), ExchangeKind::Direct, passive, FieldTable::default());
            let there = asked.await.is_ok();
            connection.close(200, "done".into()).await.expect("closed");
            there
        })
    }

    /// Creates the queue of the normal priority as a program that knows nothing of us would.
    pub(crate) fn odd_queue(&self) -> String {
        let name = format!("{}.default.normal.v1", self.namespace);
        block_on(async {
            let connection = Amqp::connect(&self.url, ConnectionProperties::default()).await.expect("connected");
            let channel = connection.create_channel().await.expect("a channel");
            let options = QueueDeclareOptions { durable: true, ..QueueDeclareOptions::default() };
            channel.queue_declare(name.as_str().into(), options, FieldTable::default()).await.expect("declared");
            connection.close(200, "done".into()).await.expect("closed");
        });
        name
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        block_on(async {
            let Ok(connection) = Amqp::connect(&self.url, ConnectionProperties::default()).await else { return };
            let priorities =
                ["high", "normal", "low"].map(|priority| format!("{}.default.{priority}.v1", self.namespace));
            let others = ["dlq.default.v1", "returned.v1"].map(|name| format!("{}.{name}", self.namespace));
            for queue in priorities.into_iter().chain(others) {
                if let Ok(channel) = connection.create_channel().await {
                    let _ = channel.queue_delete(queue.as_str().into(), QueueDeleteOptions::default()).await;
                }
            }
            for exchange in ["dispatch", "returned"] {
                let name = format!("{}.{exchange}.v1", self.namespace);
                if let Ok(channel) = connection.create_channel().await {
                    let _ = channel.exchange_delete(name.as_str().into(), Default::default()).await;
                }
            }
            let _ = connection.close(200, "done".into()).await;
        });
    }
}
