//! Tenants that PostgreSQL itself keeps apart: what a confined handle sees and changes of others is nothing.

use gristmill_core::access::Role;
use gristmill_core::id::BatchId;
use gristmill_core::job::NewJob;
use gristmill_store::testing::{self, API_ROLE, TestStore};
use gristmill_store::{JobFilter, OpenOptions, Page, Settings, StoreHandle, connect};
use serde_json::json;
use sqlx::{AssertSqlSafe, Connection, Executor, PgConnection, Row};
use uuid::Uuid;

use super::accounts::user;
use super::{TENANT, enter};

/// The columns that must be given a value, and one of each type. Every id is the same, so that what belongs to another row
/// finds it.
const VALUES: &str = "
SELECT string_agg(quote_ident(a.attname), ', ' ORDER BY a.attnum) AS names,
       string_agg(CASE
           WHEN a.attname = 'tenant' OR (c.relname = 'access_tenant' AND a.attname = 'name') THEN quote_literal('north')
           WHEN t.typname = 'uuid' THEN quote_literal('00000000-0000-0000-0000-000000000001')
           WHEN t.typname = 'bytea' THEN quote_literal('x')
           WHEN t.typname = 'timestamptz' THEN 'now()'
           WHEN t.typname = 'bool' THEN 'true'
           WHEN t.typname IN ('int2', 'int4', 'int8') THEN '1'
           ELSE quote_literal('x') END, ', ' ORDER BY a.attnum) AS given
FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
JOIN pg_type t ON t.oid = a.atttypid
WHERE c.oid = $1::regclass AND a.attidentity = '' AND a.attgenerated = '' AND (a.attnotnull OR a.attname = 'tenant')";

const RULES: &str = "
SELECT format('ALTER TABLE %s DROP CONSTRAINT %I', conrelid::regclass, conname) FROM pg_constraint
WHERE connamespace = current_schema()::regnamespace AND contype IN ('c', 'f') ORDER BY contype DESC";

const KEPT: &str = "
SELECT c.relname::text FROM pg_policy p JOIN pg_class c ON c.oid = p.polrelid
WHERE c.relnamespace = current_schema()::regnamespace ORDER BY 1";

async fn texts(raw: &mut PgConnection, query: &'static str) -> Vec<String> {
    sqlx::query_scalar(query).fetch_all(raw).await.expect("listed")
}

/// Puts a row of the tenant `north` into each table with a policy. What rows have to be like is dropped first: it is not what
/// is looked at.
async fn fill(raw: &mut PgConnection) -> Vec<(String, String)> {
    for rule in texts(raw, RULES).await {
        raw.execute(AssertSqlSafe(rule)).await.expect("dropped");
    }
    let mut filled = Vec::new();
    for table in texts(raw, KEPT).await {
        let row = sqlx::query(VALUES).bind(&table).fetch_one(&mut *raw).await.expect("its columns");
        let (names, given): (String, String) = (row.get("names"), row.get("given"));
        let insert = format!("INSERT INTO {table} ({names}) VALUES ({given})");
        raw.execute(AssertSqlSafe(format!("DELETE FROM {table}"))).await.ok();
        raw.execute(AssertSqlSafe(insert.clone())).await.unwrap_or_else(|error| panic!("{insert}: {error}"));
        filled.push((table, insert));
    }
    filled
}

/// Runs a statement in a transaction that begins so; returns how many rows it saw or changed, or why it was refused.
async fn tried(raw: &mut PgConnection, begin: &str, statement: &str) -> Result<u64, String> {
    let mut transaction = raw.begin().await.expect("begun");
    transaction.execute(AssertSqlSafe(begin.to_owned())).await.expect("begun so");
    let done = transaction.execute(AssertSqlSafe(statement.to_owned())).await;
    transaction.rollback().await.expect("rolled back");
    done.map(|done| done.rows_affected()).map_err(|error| error.to_string())
}

/// Whether it is the server that keeps the role from it, and not anything else that is wrong.
fn is_kept(refused: &Result<u64, String>) -> bool {
    refused.as_ref().is_err_and(|why| why.contains("row-level security") || why.contains("permission denied"))
}

fn as_tenant(tenant: &str) -> String {
    format!("SET LOCAL ROLE {API_ROLE}; SET LOCAL gristmill.tenant = '{tenant}'")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_table_shows_a_row_of_another_tenant_or_lets_it_be_changed() {
    let store = TestStore::postgres_confined(false).await;
    let mut raw = PgConnection::connect(store.url()).await.expect("connected");
    let filled = fill(&mut raw).await;
    assert!(filled.len() >= 24, "{}", filled.len());
    let (north, south) = (as_tenant("north"), as_tenant("south"));
    let nobody = format!("SET LOCAL ROLE {API_ROLE}");
    for (table, insert) in &filled {
        let look = format!("SELECT 1 FROM {table}");
        assert_eq!(tried(&mut raw, "SELECT 1", &look).await, Ok(1), "{table}: its owner");
        assert_eq!(tried(&mut raw, &north, &look).await, Ok(1), "{table}: its tenant");
        for other in [&south, &nobody] {
            assert_eq!(tried(&mut raw, other, &look).await, Ok(0), "{table} shows a row to another tenant");
            let column: String = sqlx::query_scalar(
                "SELECT attname::text FROM pg_attribute WHERE attrelid = $1::regclass AND attnum > 0 \
                 AND attidentity = '' ORDER BY attnum LIMIT 1",
            )
            .bind(table)
            .fetch_one(&mut raw)
            .await
            .expect("a column");
            for change in [format!("UPDATE {table} SET {column} = {column}"), format!("DELETE FROM {table}")] {
                let done = tried(&mut raw, other, &change).await;
                assert!(done == Ok(0) || is_kept(&done), "{change}: {done:?}");
            }
            let done = tried(&mut raw, other, insert).await;
            assert!(is_kept(&done), "{insert}: {done:?}");
        }
    }
    for secret in ["password FROM access_user", "1 FROM access_session", "1 FROM access_key", "1 FROM access_factor"] {
        assert!(is_kept(&tried(&mut raw, &north, &format!("SELECT {secret}")).await), "{secret}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_is_not_confined_sees_what_they_saw_before() {
    let store = TestStore::postgres_confined(false).await;
    let mut raw = PgConnection::connect(store.url()).await.expect("connected");
    let filled = fill(&mut raw).await;
    let reader = format!("gristmill_test_reader_{}", Uuid::now_v7().simple());
    let schema: String = sqlx::query_scalar("SELECT current_schema()").fetch_one(&mut raw).await.expect("a schema");
    let made = format!(
        "CREATE ROLE {reader}; GRANT USAGE ON SCHEMA {schema} TO {reader};
         GRANT SELECT ON ALL TABLES IN SCHEMA {schema} TO {reader}"
    );
    raw.execute(AssertSqlSafe(made)).await.expect("made");
    for (table, _) in &filled {
        let looked = tried(&mut raw, &format!("SET LOCAL ROLE {reader}"), &format!("SELECT 1 FROM {table}")).await;
        assert_eq!(looked, Ok(1), "{table}");
    }
    raw.execute(AssertSqlSafe(format!("DROP OWNED BY {reader}; DROP ROLE {reader}"))).await.expect("dropped");
}

/// A job of a tenant.
fn job_of(tenant: &str) -> NewJob {
    NewJob { tenant: tenant.to_owned(), ..NewJob::new(testing::job_id(), "work", json!({ "of": tenant })) }
}

async fn seen(store: &StoreHandle, tenant: &str) -> usize {
    let filter = JobFilter { tenant: tenant.to_owned(), ..JobFilter::default() };
    store.jobs(&filter, &Page::default()).await.expect("listed").len()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_confined_handle_works_for_its_tenant_and_for_no_other() {
    let store = TestStore::postgres_confined(true).await;
    // One connection: what a transaction was confined to must be over with it.
    let settings = Settings { api_role: API_ROLE.to_owned(), connections: 1, ..Settings::default() };
    let whole = connect(store.url(), OpenOptions { settings, with_outbox: true }).await.expect("opened");
    let (main, north) = (whole.clone().confined(TENANT), whole.clone().confined("north"));
    let (ours, theirs) = (job_of(TENANT), job_of("north"));
    main.enqueue(std::slice::from_ref(&ours)).await.expect("enqueued");
    north.enqueue(std::slice::from_ref(&theirs)).await.expect("enqueued");
    main.enqueue(&[job_of("north")]).await.expect_err("a job of another tenant");
    assert_eq!(north.job(TENANT, ours.id).await.expect("asked"), None, "although its tenant is named");
    assert_eq!((seen(&north, TENANT).await, seen(&north, "north").await), (0, 1));
    assert_eq!((seen(&main, TENANT).await, seen(&main, "north").await), (1, 0));
    assert_eq!((seen(&whole, TENANT).await, seen(&whole, "north").await), (1, 1), "who is not confined sees all");
    let worker = enter(&store).await;
    assert_eq!(super::claim(&store, worker, 10).await.len(), 2, "and works for all");
    let queues = whole.queues("north").await.expect("asked");
    assert!(!queues.is_empty() && main.queues("north").await.expect("asked").is_empty());
    assert_eq!(main.batch_plan(BatchId(Uuid::now_v7())).await.expect("asked"), None);
    user(&store, "ada", Some(Role::Owner)).await;
    assert_eq!(main.members(TENANT, &Page::default()).await.expect("asked").len(), 1);
    assert_eq!(north.members(TENANT, &Page::default()).await.expect("asked").len(), 0);
    north.clone().metered().enqueue(&[job_of("north")]).await.expect("held to quotas, of which there are none");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_missing_for_it_is_said() {
    let store = TestStore::postgres(false).await;
    assert_eq!(store.row_security().await.expect("asked"), None, "no role is named");
    store.make_api_role().await.expect_err("no role is named");
    let role = format!("gristmill_test_{}", Uuid::now_v7().simple());
    let settings = Settings { api_role: role.clone(), ..Settings::default() };
    let opened = connect(store.url(), OpenOptions { settings, with_outbox: false }).await.expect("opened");
    let faults = async || opened.row_security().await.expect("asked").expect("a role is named").faults;
    assert_eq!(faults().await, ["there is no role of that name"]);
    seen_refused(&opened).await;
    assert_eq!(opened.make_api_role().await.expect("made").faults, Vec::<String>::new());
    assert_eq!(opened.make_api_role().await.expect("again").faults, Vec::<String>::new());
    store
        .tamper(&format!(
            "REVOKE SELECT ON job FROM {role}; DELETE FROM confined_role; CREATE TABLE later (tenant TEXT)"
        ))
        .await;
    let found = faults().await;
    assert!(found.len() == 3 && found.iter().any(|fault| fault.contains("read the table job")), "{found:?}");
    store.migrate().await.expect("nothing is missing");
    assert_eq!(faults().await.len(), 3, "a table that is new has a policy now, and is not readable yet");
    assert_eq!(opened.make_api_role().await.expect("made").faults, Vec::<String>::new());
    store.tamper(&format!("DROP OWNED BY {role}; DROP ROLE {role}")).await;
}

/// Without the role nothing is shown, rather than everything.
async fn seen_refused(store: &StoreHandle) {
    let filter = JobFilter { tenant: TENANT.to_owned(), ..JobFilter::default() };
    store.clone().confined(TENANT).jobs(&filter, &Page::default()).await.expect_err("there is no such role");
}
