//! Jobs of the user's own kinds, enqueued from any program, also inside a transaction of its own.

use gristmill::client::ClientError;
use gristmill::model::job::RunAt;
use gristmill::{Client, Context, Failure, Kind};
use gristmill_store::{JobFilter, OpenOptions, Page, Settings, StoreHandle};
use serde::{Deserialize, Serialize};
use sqlx::Connection;
use sqlx::postgres::PgConnection;

#[derive(Serialize, Deserialize)]
struct Greet {
    name: String,
}

impl Kind for Greet {
    const NAME: &str = "greet";
    type Output = String;

    fn max_attempts() -> u32 {
        2
    }

    fn unique_key(&self) -> Option<String> {
        Some(self.name.clone())
    }

    async fn run(self, _context: Context) -> Result<String, Failure> {
        Ok(format!("Hello {}", self.name))
    }
}

fn greet(name: &str) -> Greet {
    Greet { name: name.to_owned() }
}

async fn store(url: &str) -> StoreHandle {
    let settings = Settings { migrate: true, ..Settings::default() };
    gristmill_store::open(url, OpenOptions { settings, with_outbox: false }).await.expect("opened")
}

async fn kinds_of(store: &StoreHandle) -> Vec<(String, u32)> {
    let filter = JobFilter { tenant: "main".to_owned(), ..JobFilter::default() };
    let jobs = store.jobs(&filter, &Page::default()).await.expect("a list");
    jobs.into_iter().map(|job| (job.kind, job.max_attempts)).collect()
}

#[tokio::test]
async fn a_typed_job_carries_what_its_kind_says_and_is_there_once_for_its_key() {
    let folder = tempfile::tempdir().expect("a folder");
    let url = format!("sqlite://{}", folder.path().join("a.db").display());
    let client = Client::connect(&url).await.expect("connected");
    let first = client.enqueue(&greet("Ada")).await.expect("enqueued");
    let second = client.enqueue_at(&greet("Ada"), RunAt::Now).await.expect("known");
    assert!(first.created && !second.created);
    assert_eq!(first.id, second.id);
    assert_eq!(kinds_of(&store(&url).await).await, [("greet".to_owned(), 2)]);
}

/// A schema of its own on the tests' server.
async fn schema() -> (String, PgConnection, String) {
    let server = std::env::var("GRISTMILL_TEST_POSTGRES").expect("set GRISTMILL_TEST_POSTGRES or run `make test`");
    let name = format!("door_{}", uuid::Uuid::now_v7().simple());
    let mut connection = PgConnection::connect(&server).await.expect("connected");
    let create = sqlx::AssertSqlSafe(format!("CREATE SCHEMA {name}"));
    sqlx::raw_sql(create).execute(&mut connection).await.expect("created");
    let joint = if server.contains('?') { '&' } else { '?' };
    (format!("{server}{joint}options=-c%20search_path%3D{name}"), connection, name)
}

#[tokio::test]
async fn a_job_in_a_transaction_of_ones_own_exists_exactly_if_that_commits() {
    let (url, mut connection, name) = schema().await;
    let store = store(&url).await;
    let client = Client::connect(&url).await.expect("connected");
    let mut own = PgConnection::connect(&url).await.expect("connected");

    let mut transaction = own.begin().await.expect("begun");
    client.enqueue_in(&mut transaction, &greet("Ada")).await.expect("enqueued");
    transaction.rollback().await.expect("rolled back");
    assert_eq!(kinds_of(&store).await, []);

    let mut transaction = own.begin().await.expect("begun");
    client.enqueue_in(&mut transaction, &greet("Ada")).await.expect("enqueued");
    transaction.commit().await.expect("committed");
    assert_eq!(kinds_of(&store).await, [("greet".to_owned(), 2)]);

    let drop = sqlx::AssertSqlSafe(format!("DROP SCHEMA {name} CASCADE"));
    sqlx::raw_sql(drop).execute(&mut connection).await.expect("dropped");
}

#[tokio::test]
async fn an_embedded_store_refuses_a_transaction_of_the_servers() {
    let folder = tempfile::tempdir().expect("a folder");
    let url = format!("sqlite://{}", folder.path().join("a.db").display());
    let client = Client::connect(&url).await.expect("connected");
    let (server, mut connection, name) = schema().await;
    let mut own = PgConnection::connect(&server).await.expect("connected");
    let refused = client.enqueue_in(&mut own, &greet("Ada")).await.expect_err("refused");
    assert!(matches!(&refused, ClientError::Store(error) if error.to_string().contains("PostgreSQL")), "{refused}");
    let drop = sqlx::AssertSqlSafe(format!("DROP SCHEMA {name} CASCADE"));
    sqlx::raw_sql(drop).execute(&mut connection).await.expect("dropped");
}
