//! PostgreSQL: how many rows and index entries a page reads, and how many statements it sends.

use std::fmt::Debug;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use gristmill_store::Settings;
use gristmill_store::postgres::PostgresStore;
use gristmill_store::testing::TestStore;
use sqlx::PgPool;
use tracing::field::{Field, Visit};
use tracing::{Event, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::{Context, SubscriberExt};

use crate::counted::{Meter, every_page};
use crate::history::{self, POSTGRES};
use crate::{env, past};

const READ: &str = "
SELECT (SELECT COALESCE(sum(seq_tup_read), 0) FROM pg_stat_user_tables WHERE schemaname = current_schema())::bigint
     + (SELECT COALESCE(sum(idx_tup_read), 0) FROM pg_stat_user_indexes WHERE schemaname = current_schema())::bigint";

/// Counts the statements that read or write, as sqlx tells of them. The frame of a transaction is none.
#[derive(Clone, Default)]
struct Statements(Arc<AtomicU64>);

/// Whether an event is of such a statement.
struct Reads(bool);

impl Visit for Reads {
    fn record_str(&mut self, field: &Field, text: &str) {
        let word = text.split_whitespace().next().unwrap_or_default().to_uppercase();
        self.0 |=
            field.name() == "summary" && ["SELECT", "WITH", "INSERT", "UPDATE", "DELETE"].contains(&word.as_str());
    }

    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.record_str(field, format!("{value:?}").trim_matches('"'));
    }
}

impl<S: Subscriber> Layer<S> for Statements {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        if event.metadata().target() == "sqlx::query" {
            let mut reads = Reads(false);
            event.record(&mut reads);
            self.0.fetch_add(u64::from(reads.0), Ordering::Relaxed);
        }
    }
}

/// A store with a single connection, whose statistics say what it has read.
struct Rows {
    pool: PgPool,
    before: i64,
    statements: Statements,
}

impl Meter for Rows {
    const MOST: i64 = 5_000;
    const WHAT: &'static str = "rows and index entries";

    async fn read(&mut self) -> (i64, Option<u64>) {
        let sent = self.statements.0.load(Ordering::Relaxed);
        // What a connection has read is reported a while later, unless it is asked to do so.
        sqlx::query("SELECT pg_stat_force_next_flush()").execute(&self.pool).await.expect("asked");
        sqlx::query("SELECT pg_stat_clear_snapshot()").execute(&self.pool).await.expect("cleared");
        let now: i64 = sqlx::query_scalar(READ).fetch_one(&self.pool).await.expect("read");
        let read = now - std::mem::replace(&mut self.before, now);
        self.statements.0.store(0, Ordering::Relaxed);
        (read, Some(sent))
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn on_postgres_no_page_reads_more_than_it_needs() {
    let statements = Statements::default();
    let subscriber = tracing_subscriber::registry().with(statements.clone());
    tracing::subscriber::set_global_default(subscriber).expect("the first");
    let home = TestStore::postgres(true).await;
    for statement in history::statements(&POSTGRES).iter().chain(&past::statements(&POSTGRES)) {
        home.tamper(statement).await;
    }
    home.tamper("ANALYZE").await;
    let settings = Settings { connections: 1, ..Settings::default() };
    let store = PostgresStore::connect(home.url(), &settings, true).await.expect("connected");
    let pool = store.pool().clone();
    sqlx::query("SELECT 1").execute(&pool).await.expect("asked");
    assert!(statements.0.load(Ordering::Relaxed) > 0, "statements are seen");
    let mut meter = Rows { pool, before: 0, statements };
    let env = env::over(home, Arc::new(store)).await;
    every_page(&env, &mut meter).await;
}
