//! The cost of a step does not grow with the history: by the plans of its statements, over hundreds of thousands of
//! rows. No time is measured.

use gristmill_store::testing::{Planned, TestStore, operation_statements, retention_statements};
use sqlx::postgres::PgConnection;
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};
use sqlx::{AssertSqlSafe, ConnectOptions, Connection};

/// Tables that grow with the history.
const LARGE: [&str; 7] = ["job", "attempt", "result", "quarantine", "schedule_tick", "email", "idempotency"];

const POSTGRES_ROWS: &str = "
INSERT INTO batch (id, tenant, name, state, definition, stamp, tolerate, created_at, planned_at, finished_at)
SELECT ('00000000-0000-7000-8000-' || lpad(to_hex(n), 12, '0'))::uuid, 'main', 'orders', 'complete', '{}', '{}', '0', now(), now(), now()
FROM generate_series(1, 1000) n;
INSERT INTO job (id, tenant, queue, lane, kind, state, max_attempts, granted, timeout_ms, retry, payload, batch_id, seq,
                 created_at, finished_at)
SELECT ('00000000-0000-7000-9000-' || lpad(to_hex(n), 12, '0'))::uuid, 'main', 'default', 1, 'work',
       CASE WHEN n % 50 = 0 THEN 'dead' ELSE 'done' END, 3, 3, 1000, '{}', '{}',
       CASE WHEN n % 3 = 0 THEN ('00000000-0000-7000-8000-' || lpad(to_hex(n % 1000 + 1), 12, '0'))::uuid END,
       CASE WHEN n % 3 = 0 THEN n END, now(), now()
FROM generate_series(1, 300000) n;
INSERT INTO attempt (job_id, attempt, ended_at, ending)
SELECT id, 1, now(), 'failed' FROM job WHERE state = 'dead';
INSERT INTO result (batch_id, seq, generation, job_id, result) SELECT batch_id, seq, 0, id, '{}' FROM job WHERE seq IS NOT NULL;
INSERT INTO quarantine (tenant, batch_id, seq, generation, position, stage, reason, item, created_at)
SELECT 'main', batch_id, seq, 0, 0, 'parse', 'no', '1', now() FROM job WHERE seq IS NOT NULL;
INSERT INTO schedule_tick (tenant, schedule, tick, cause, outcome, from_at, to_at, decided_at)
SELECT 'main', 'hourly', now() - n * interval '1 second', 'tick', 'skipped_missed', now(), now(), now() FROM generate_series(1, 100000) n;
INSERT INTO email (tenant, key, job_id, state, message_id, created_at, moved_at)
SELECT 'main', id::text, id, 'sent', 'm', now(), now() FROM job WHERE batch_id IS NULL;
INSERT INTO idempotency (tenant, scope, key, id, until) SELECT 'main', 'job', id::text, id, now() FROM job;
ANALYZE";

const SQLITE_ROWS: &str = "
CREATE TEMP TABLE n AS WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c WHERE n < 300000) SELECT n FROM c;
INSERT INTO batch (id, tenant, name, state, definition, stamp, tolerate, created_at, planned_at, finished_at)
SELECT unhex(printf('0000000000007000%016x', n)), 'main', 'orders', 'complete', '{}', '{}', '0', 1, 1, 1 FROM n WHERE n <= 1000;
INSERT INTO job (id, tenant, queue, lane, kind, state, max_attempts, granted, timeout_ms, retry, payload, batch_id, seq,
                 created_at, finished_at)
SELECT unhex(printf('0000000000007001%016x', n)), 'main', 'default', 1, 'work', CASE WHEN n % 50 = 0 THEN 'dead' ELSE 'done' END,
       3, 3, 1000, '{}', '{}', CASE WHEN n % 3 = 0 THEN unhex(printf('0000000000007000%016x', n % 1000 + 1)) END,
       CASE WHEN n % 3 = 0 THEN n END, 1, 1
FROM n;
INSERT INTO attempt (job_id, attempt, ended_at, ending) SELECT id, 1, 1, 'failed' FROM job WHERE state = 'dead';
INSERT INTO result (batch_id, seq, generation, job_id, result) SELECT batch_id, seq, 0, id, '{}' FROM job WHERE seq IS NOT NULL;
INSERT INTO quarantine (tenant, batch_id, seq, generation, position, stage, reason, item, created_at)
SELECT 'main', batch_id, seq, 0, 0, 'parse', 'no', '1', 1 FROM job WHERE seq IS NOT NULL;
INSERT INTO schedule_tick (tenant, schedule, tick, cause, outcome, from_at, to_at, decided_at)
SELECT 'main', 'hourly', n, 'tick', 'skipped_missed', 1, 1, 1 FROM n WHERE n <= 100000;
INSERT INTO email (tenant, key, job_id, state, message_id, created_at, moved_at)
SELECT 'main', hex(id), id, 'sent', 'm', 1, 1 FROM job WHERE batch_id IS NULL;
INSERT INTO idempotency (tenant, scope, key, id, until) SELECT 'main', 'job', hex(id), id, 1 FROM job;
ANALYZE";

#[tokio::test]
async fn on_postgresql_no_step_scans_or_sorts_a_table_that_grows() {
    let store = TestStore::postgres(true).await;
    let mut connection = PgConnection::connect(store.url()).await.expect("the server answers");
    sqlx::raw_sql(POSTGRES_ROWS).execute(&mut connection).await.expect("filled");
    // As the store sets it, for the whole session: one plan for all parameters.
    let settings = AssertSqlSafe(gristmill_store::postgres::PLANNER.replace("SET LOCAL", "SET"));
    sqlx::raw_sql(settings).execute(&mut connection).await.expect("set");
    let mut wrong = Vec::new();
    for Planned { name, postgres, parameters, .. } in retention_statements().into_iter().chain(operation_statements()) {
        let nulls = vec!["NULL"; parameters].join(", ");
        let prepare = AssertSqlSafe(format!("PREPARE step AS {postgres}"));
        sqlx::raw_sql(prepare).execute(&mut connection).await.unwrap_or_else(|error| panic!("{name}: {error}"));
        let explain = AssertSqlSafe(format!("EXPLAIN EXECUTE step({nulls})"));
        let plan: Vec<String> = sqlx::query_scalar(explain).fetch_all(&mut connection).await.expect("explained");
        sqlx::raw_sql("DEALLOCATE step").execute(&mut connection).await.expect("forgotten");
        let scans = |line: &&String| {
            LARGE.iter().any(|table| {
                let seq = line.contains(&format!("Seq Scan on {table} "));
                // All of a batch: it may have a million.
                let all = *table != "schedule_tick" && line.contains(&format!("Bitmap Heap Scan on {table} "));
                seq || all
            }) || line.contains("Sort  (")
                || line.contains("Incremental Sort")
        };
        if plan.iter().any(|line| scans(&line)) {
            wrong.push(format!("{name}:\n{}", plan.join("\n")));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
    connection.close().await.expect("closed");
}

#[tokio::test]
async fn on_sqlite_no_step_scans_or_sorts_a_table_that_grows() {
    let store = TestStore::sqlite(true).await;
    let options: SqliteConnectOptions = store.url().parse().expect("our own URL");
    let mut connection: SqliteConnection = options.connect().await.expect("the file opens");
    sqlx::raw_sql(SQLITE_ROWS).execute(&mut connection).await.expect("filled");
    let mut wrong = Vec::new();
    for Planned { name, sqlite, .. } in retention_statements().into_iter().chain(operation_statements()) {
        let explain = AssertSqlSafe(format!("EXPLAIN QUERY PLAN {sqlite}"));
        let rows: Vec<(i64, i64, i64, String)> =
            sqlx::query_as(explain).fetch_all(&mut connection).await.unwrap_or_else(|error| panic!("{name}: {error}"));
        let plan: Vec<String> = rows.into_iter().map(|(.., line)| line).collect();
        // A look goes on from a cursor, and so it searches. A scan is one of the page's own rows.
        let bad = |line: &&String| {
            // The pages of an operation's walk, one for each state, are merged: each has a limit.
            let merged = ["SCAN page", "SCAN next"].contains(&line.as_str());
            let pages = plan.iter().any(|line| line == "CO-ROUTINE page" || line == "CO-ROUTINE next");
            if merged || pages && line.contains("TEMP B-TREE") {
                return false;
            }
            let scans = line.starts_with("SCAN ")
                && !line.starts_with("SCAN e VIRTUAL TABLE")
                && !line.starts_with("SCAN json_each VIRTUAL TABLE");
            scans || line.contains("TEMP B-TREE")
        };
        if plan.iter().any(|line| bad(&line)) {
            wrong.push(format!("{name}:\n{}", plan.join("\n")));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
}
