//! PostgreSQL: how many rows and index entries each step reads, and the plans of all that was sent.

use std::collections::BTreeMap;
use std::future::Future;

use gristmill_store::postgres::PostgresStore;
use gristmill_store::testing::TestStore;
use gristmill_store::{Settings, StoreHandle};
use serde_json::Value;
use sqlx::{AssertSqlSafe, PgPool, Row};

use crate::history::{self, POSTGRES};
use crate::operations::{self, Meter};

/// How many rows and index entries of the large tables a step may read. The backlogs have 10,000 jobs each.
const READ_MAX: i64 = 6_000;

const READ: &str = "
SELECT (SELECT COALESCE(sum(seq_tup_read), 0) FROM pg_stat_user_tables
        WHERE schemaname = current_schema() AND relname = ANY($1))::bigint
     + (SELECT COALESCE(sum(idx_tup_read), 0) FROM pg_stat_user_indexes
        WHERE schemaname = current_schema() AND relname = ANY($1))::bigint";

const LARGE: [&str; 6] = ["job", "quarantine", "attempt", "result", "batch", "schedule_tick"];

/// What the planner knows of the tables: nothing; how they are; how they were before any job died.
const STATISTICS: [(&str, &[&str]); 3] = [
    ("without statistics", &[]),
    ("with statistics", &["ANALYZE job, batch, queue_count, quarantine, schedule_tick"]),
    (
        "with statistics from before any job died",
        &[
            "CREATE TABLE died AS SELECT id FROM job WHERE state = 'dead'",
            "UPDATE job SET state = 'cancelled' WHERE state = 'dead'",
            "VACUUM ANALYZE job",
            "UPDATE job SET state = 'dead' WHERE id IN (SELECT id FROM died)",
            "DROP TABLE died",
        ],
    ),
];

/// A store with a single connection, whose statistics say what it has read.
struct Counted {
    pool: PgPool,
    wrong: Vec<String>,
}

impl Counted {
    async fn read(&self) -> i64 {
        // What a connection has read is reported a while later, unless it is asked to do so.
        sqlx::query("SELECT pg_stat_force_next_flush()").execute(&self.pool).await.expect("asked");
        sqlx::query("SELECT pg_stat_clear_snapshot()").execute(&self.pool).await.expect("cleared");
        sqlx::query_scalar(READ).bind(LARGE).fetch_one(&self.pool).await.expect("read")
    }
}

impl Meter for Counted {
    async fn step<T>(&mut self, name: &str, step: impl Future<Output = gristmill_store::Result<T>>) -> T {
        let before = self.read().await;
        let done = step.await.unwrap_or_else(|error| panic!("{name}: {error}"));
        let read = self.read().await - before;
        println!("{read:>8} {name}");
        if read > READ_MAX {
            self.wrong.push(format!("{name} read {read} rows and index entries, {READ_MAX} at most"));
        }
        done
    }
}

/// A node of a plan that reads a table, and how.
#[derive(Debug)]
struct Read {
    table: String,
    how: String,
    index: Option<String>,
    /// Whether a condition says where in the index to look.
    sought: bool,
}

fn reads(plan: &Value, found: &mut Vec<Read>) {
    let text = |key: &str| plan[key].as_str().map(str::to_owned);
    if let (Some(table), Some(how)) = (text("Relation Name"), text("Node Type")) {
        found.push(Read { table, how, index: text("Index Name"), sought: plan["Index Cond"].is_string() });
    }
    if let (Some(index), "Bitmap Index Scan") = (text("Index Name"), plan["Node Type"].as_str().unwrap_or_default()) {
        found.push(Read {
            table: "job".to_owned(),
            how: "Bitmap Index Scan".to_owned(),
            index: Some(index),
            sought: true,
        });
    }
    for inner in plan["Plans"].as_array().into_iter().flatten() {
        reads(inner, found);
    }
}

/// Small partial indexes that are read whole, and the walk from one tenant or queue to the next, which begins anywhere.
const READ_WHOLE: [&str; 8] = [
    "job_running",
    "job_due",
    "job_waiting",
    "job_limited",
    "job_listed",
    "batch_paused",
    "batch_unfinished",
    "batch_late",
];

/// The plans of all statements that a connection has prepared, as they are for parameters that are not known.
async fn plans(pool: &PgPool, planner: &str) -> Vec<String> {
    let mut wrong = Vec::new();
    let mut conn = pool.acquire().await.expect("the connection");
    let prepared =
        "SELECT name, statement, cardinality(parameter_types) FROM pg_prepared_statements WHERE from_sql = FALSE";
    let prepared = sqlx::query(prepared).fetch_all(&mut *conn).await.expect("listed");
    let mut indexes: BTreeMap<String, usize> = BTreeMap::new();
    for row in prepared {
        let (name, statement, parameters): (String, String, i32) = (row.get(0), row.get(1), row.get(2));
        let word = statement.split_whitespace().next().unwrap_or_default().to_uppercase();
        if !["SELECT", "WITH", "UPDATE", "INSERT", "DELETE"].contains(&word.as_str()) {
            continue;
        }
        let nulls = vec!["NULL"; usize::try_from(parameters).unwrap_or(0)].join(", ");
        let call = if nulls.is_empty() { String::new() } else { format!("({nulls})") };
        let explain = format!("BEGIN; {planner}; EXPLAIN (FORMAT JSON) EXECUTE {name}{call}");
        let rows = sqlx::raw_sql(AssertSqlSafe(explain)).fetch_all(&mut *conn).await;
        sqlx::raw_sql("ROLLBACK").execute(&mut *conn).await.expect("rolled back");
        let rows = rows.unwrap_or_else(|error| panic!("{statement}: {error}"));
        let plan: String = rows[0].try_get_unchecked(0).expect("a text");
        let plan: Value = serde_json::from_str(&plan).expect("a plan");
        let mut found = Vec::new();
        reads(&plan[0]["Plan"], &mut found);
        for read in found {
            let large = ["job", "quarantine", "attempt", "result"].contains(&read.table.as_str());
            let whole = read.how == "Seq Scan";
            let walked = read.index.as_ref().is_some_and(|index| !read.sought && !READ_WHOLE.contains(&index.as_str()));
            if (large && whole) || (read.table == "job" && walked) {
                wrong.push(format!("{read:?} in {statement}"));
            }
            *indexes.entry(read.index.unwrap_or(read.how)).or_default() += 1;
        }
    }
    println!("{planner}: {indexes:?}");
    wrong
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn on_postgres_each_step_reads_what_it_needs() {
    let test = TestStore::postgres(true).await;
    for statement in history::statements(&POSTGRES) {
        test.tamper(&statement).await;
    }
    // What the planner knows is what each round says, and nothing that came in between.
    for table in LARGE {
        test.tamper(&format!("ALTER TABLE {table} SET (autovacuum_enabled = FALSE)")).await;
    }
    let settings = Settings { connections: 1, ..Settings::default() };
    let url = format!("{}&statement-cache-capacity=2000", test.url());
    for (statistics, statements) in STATISTICS {
        for statement in statements {
            test.tamper(statement).await;
        }
        let store = PostgresStore::connect(&url, &settings, true).await.expect("connected");
        let pool = store.pool().clone();
        let store: StoreHandle = std::sync::Arc::new(store);
        let mut counted = Counted { pool: pool.clone(), wrong: Vec::new() };
        operations::all(&store, &mut counted).await;
        assert!(counted.wrong.is_empty(), "{statistics}:\n{}", counted.wrong.join("\n"));
        let held = plans(&pool, gristmill_store::postgres::PLANNER).await;
        assert!(held.is_empty(), "{statistics}, as transitions run:\n{}", held.join("\n"));
    }
}
