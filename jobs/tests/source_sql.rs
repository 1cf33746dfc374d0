//! Queries as sources, on SQLite and on PostgreSQL.

use std::time::Duration;

use gristmill_core::chunk::{ChunkPayload, Slice, SourceFingerprint};
use gristmill_core::definition::{SourceSpec, SqlSource};
use gristmill_core::duration::Span;
use gristmill_jobs::source::{self, OpenOptions, SourceError};
use gristmill_testkit::proxy::{Break, Proxy};
use serde_json::{Value, json};
use sqlx::{AssertSqlSafe, Connection, PgConnection, SqliteConnection};
use tempfile::TempDir;

fn spec(url: &str, query: &str, key: &str) -> SourceSpec {
    let sql = SqlSource {
        url: url.to_owned(),
        query: query.to_owned(),
        key: key.to_owned(),
        bind: Vec::new(),
        answer_timeout: None,
    };
    SourceSpec { sql: Some(sql), ..SourceSpec::default() }
}

/// The same with values for its places.
fn bound(mut spec: SourceSpec, values: &[Value]) -> SourceSpec {
    if let Some(sql) = &mut spec.sql {
        sql.bind = values.to_vec();
    }
    spec
}

async fn plan(spec: &SourceSpec, chunk: u64) -> Result<Vec<ChunkPayload>, SourceError> {
    let nowhere = std::env::temp_dir();
    let options = OpenOptions {
        spool_dir: nowhere.clone(),
        base_dir: nowhere,
        chunk: chunk.into(),
        spool_bytes_max: 0,
        stdin: None,
    };
    let mut planner = source::open(spec, options).await?;
    assert_eq!(planner.fingerprint(), &SourceFingerprint::default());
    let mut chunks = Vec::new();
    while let Some(chunk) = planner.next_chunk().await? {
        chunks.push(chunk);
    }
    Ok(chunks)
}

async fn items(spec: &SourceSpec, chunk: u64) -> Vec<Value> {
    let mut items = Vec::new();
    for payload in plan(spec, chunk).await.expect("it can be planned") {
        assert_eq!(payload.first, items.len() as u64);
        assert!(payload.items <= chunk);
        for record in source::read(&payload, &SourceFingerprint::default(), spec).await.expect("it can be read") {
            assert_eq!((record.position, record.line), (items.len() as u64, None));
            items.push(record.item.expect("it is an object"));
        }
    }
    items
}

async fn refusal(spec: &SourceSpec) -> SourceError {
    plan(spec, 2).await.expect_err("it is refused")
}

// ---- SQLite --------------------------------------------------------------------------------------

struct Lite {
    url: String,
    connection: SqliteConnection,
    _dir: TempDir,
}

impl Lite {
    async fn new(sql: &'static str) -> Self {
        let dir = TempDir::new().expect("a temporary folder");
        let url = format!("sqlite://{}", dir.path().join("source.db").display());
        let options = format!("{url}?mode=rwc");
        let mut connection = SqliteConnection::connect(&options).await.expect("the file is made");
        sqlx::raw_sql(sql).execute(&mut connection).await.expect("the tables are made");
        Self { url, connection, _dir: dir }
    }

    fn spec(&self, query: &str, key: &str) -> SourceSpec {
        spec(&self.url, query, key)
    }
}

#[tokio::test]
async fn sqlite_rows_are_cut_by_key_in_any_chunk_size() {
    let lite = Lite::new(
        "create table orders (id integer primary key, who text, price real, note blob);
        insert into orders values (7, 'a', 1.5, x'00ff'), (-1, null, 2, null), (30, 'c', 0, null), (8, 'd', 1, null), (9, '', 1, null)",
    )
    .await;
    let spec = lite.spec("select * from orders -- all of them", "id");
    let all = items(&spec, 100).await;
    assert_eq!(all[1], json!({"id": 7, "who": "a", "price": 1.5, "note": "00ff"}));
    assert_eq!(all[0]["who"], Value::Null);
    for chunk in [1, 2, 3, 5] {
        assert_eq!(items(&spec, chunk).await, all, "chunks of {chunk}");
    }
}

#[tokio::test]
async fn sqlite_text_keys_keep_their_quotes_and_their_type() {
    let lite = Lite::new(
        "create table names (name, n); insert into names values ('a''b', 1), ('42', 2), (42, 3), ('z', 4), ('é', 5)",
    )
    .await;
    let spec = lite.spec("select name, n from names;", "name");
    for chunk in [1, 2, 4] {
        let order: Vec<Value> = items(&spec, chunk).await.iter().map(|item| item["n"].clone()).collect();
        assert_eq!(order, [3, 2, 1, 4, 5].map(Value::from), "chunks of {chunk}");
    }
}

#[tokio::test]
async fn an_sql_source_that_changed_is_an_error_and_one_that_grew_above_is_not() {
    let mut lite = Lite::new("create table t (id integer primary key); insert into t values (1), (2), (3), (4)").await;
    let spec = lite.spec("select id from t", "id");
    let chunks = plan(&spec, 2).await.expect("it can be planned");
    assert_eq!(chunks[1].slice, Slice::Keys { after: Some("2".to_owned()), upto: Some("4".to_owned()) });
    sqlx::raw_sql("insert into t values (5), (0); delete from t where id = 3")
        .execute(&mut lite.connection)
        .await
        .expect("it is changed");
    for (chunk, found) in chunks.iter().zip(["had 2 rows and have more", "had 2 rows and have 1"]) {
        let error = source::read(chunk, &SourceFingerprint::default(), &spec).await.expect_err("it changed");
        assert!(matches!(error, SourceError::Changed { .. }) && error.to_string().contains(found), "{error}");
    }
    sqlx::raw_sql("insert into t values (3); delete from t where id = 0")
        .execute(&mut lite.connection)
        .await
        .expect("it is mended");
    for chunk in &chunks {
        assert!(source::read(chunk, &SourceFingerprint::default(), &spec).await.is_ok());
    }
}

#[tokio::test]
async fn keys_that_are_no_keys_are_refused() {
    let lite = Lite::new(
        "create table t (id integer, twice integer, maybe integer, real_one real);
        insert into t values (1, 5, 1, 1.5), (2, 6, null, 2.5), (3, 6, 3, 3.5), (4, 7, 4, 4.5)",
    )
    .await;
    let refused = async |key| refusal(&lite.spec("select * from t", key)).await;
    let twice = refused("twice").await;
    assert!(twice.is_permanent() && twice.to_string().contains("must be unique"), "{twice}");
    let maybe = refused("maybe").await.to_string();
    assert!(maybe.contains("NULL in some rows"), "{maybe}");
    let real = refused("real_one").await.to_string();
    assert!(real.contains("type real"), "{real}");
    let missing = refused("nope").await.to_string();
    assert!(missing.contains("no column `nope`") && missing.contains("id, maybe, real_one, twice"), "{missing}");
    let doubled = refusal(&lite.spec("select id, id from t", "id")).await.to_string();
    assert!(doubled.contains("two columns `id`"), "{doubled}");
}

#[tokio::test]
async fn a_query_cannot_write_and_a_wrong_one_says_why() {
    let lite = Lite::new("create table t (id integer); insert into t values (1)").await;
    let wrong = refusal(&lite.spec("select id frm t", "id")).await;
    assert!(wrong.is_permanent() && wrong.to_string().contains("syntax error"), "{wrong}");
    assert!(refusal(&lite.spec("delete from t returning id", "id")).await.is_permanent());
    let other = refusal(&spec("mysql://root:secret@localhost/db", "select 1", "id")).await.to_string();
    assert!(other.contains("must begin with") && !other.contains("secret"), "{other}");
    let missing = refusal(&spec("sqlite:///nowhere/at/all.db", "select 1 as id", "id")).await;
    assert!(!missing.is_permanent(), "{missing}");
    let unset = refusal(&spec("env:GRISTMILL_NO_SUCH_VARIABLE", "select 1 as id", "id")).await.to_string();
    assert!(unset.contains("GRISTMILL_NO_SUCH_VARIABLE is not set"), "{unset}");
}

#[tokio::test]
async fn a_query_without_rows_is_an_empty_plan() {
    let lite = Lite::new("create table t (id integer)").await;
    assert_eq!(plan(&lite.spec("select id from t", "id"), 5).await, Ok(Vec::new()));
}

#[tokio::test]
async fn sqlite_reads_nothing_of_a_bound_value_as_sql() {
    let lite = Lite::new(
        "create table t (id integer primary key, who text, n integer);
        insert into t values (1, 'a', 1), (2, 'b'' or 1=1 --', 2), (3, 'c', 3), (4, null, 4)",
    )
    .await;
    let query = "select id, who from t where (who = {{0}} or {{1}} is not null and (n + 1) > {{1}}) and n < 9";
    let hostile = json!("b' or 1=1 --");
    let spec = bound(lite.spec(query, "id"), &[hostile.clone(), Value::Null]);
    assert_eq!(items(&spec, 1).await, [json!({"id": 2, "who": hostile})]);
    for chunk in [1, 2, 10] {
        let spec = bound(lite.spec(query, "id"), &[json!("x"), json!(3)]);
        assert_eq!(items(&spec, chunk).await.iter().map(|row| row["id"].clone()).collect::<Vec<_>>(), [3, 4]);
    }
}

// ---- PostgreSQL ----------------------------------------------------------------------------------

struct Pg {
    url: String,
    schema: String,
    connection: PgConnection,
}

impl Pg {
    async fn new(sql: &'static str) -> Self {
        let server = std::env::var("GRISTMILL_TEST_POSTGRES").expect("set GRISTMILL_TEST_POSTGRES or run `make test`");
        let schema = format!("source_{}", uuid::Uuid::now_v7().simple());
        let joint = if server.contains('?') { '&' } else { '?' };
        let url = format!("{server}{joint}options=-c%20search_path%3D{schema}");
        let mut connection = PgConnection::connect(&url).await.expect("PostgreSQL answers");
        let create = AssertSqlSafe(format!("create schema {schema}"));
        sqlx::raw_sql(create).execute(&mut connection).await.expect("the schema is made");
        sqlx::raw_sql(sql).execute(&mut connection).await.expect("the tables are made");
        Self { url, schema, connection }
    }

    fn spec(&self, query: &str, key: &str) -> SourceSpec {
        spec(&self.url, query, key)
    }

    async fn end(mut self) {
        let drop = AssertSqlSafe(format!("drop schema {} cascade", self.schema));
        sqlx::raw_sql(drop).execute(&mut self.connection).await.expect("the schema goes");
    }
}

#[tokio::test]
async fn postgres_keeps_decimals_exact_and_gives_instants_in_utc() {
    let pg = Pg::new(
        "create domain cents as numeric(30, 2);
        create table t (id bigint, price numeric, share numeric[], paid cents, at timestamptz, raw bytea, doc jsonb, f float8, ok boolean, gone text);
        insert into t values (9007199254740993, 0.12345678901234567890, '{1.10,2}', 5, '2026-03-01 12:00+02', '\\x00ff', '{\"a\": [1]}', 0.1, true, null)",
    )
    .await;
    let spec = pg.spec("select * from t", "id");
    assert_eq!(
        items(&spec, 10).await,
        [json!({
            "id": 9_007_199_254_740_993_i64, "price": "0.12345678901234567890", "share": ["1.10", "2"], "paid": "5.00",
            "at": "2026-03-01T10:00:00+00:00", "raw": "\\x00ff", "doc": {"a": [1]}, "f": 0.1, "ok": true, "gone": null
        })]
    );
    pg.end().await;
}

#[tokio::test]
async fn postgres_compares_each_key_in_its_own_type() {
    let pg = Pg::new(
        "create type size as enum ('small', 'large');
        create table t as
        select n::int as whole, n::text as words, md5(n::text)::uuid as id, n::numeric / 7 as exact,
            timestamptz '2026-01-01' + n * interval '1 microsecond' as at, date '2026-01-01' + n::int as day,
            lpad(n::text, 5)::char(10) as padded, n::float8 / 7 as inexact
        from generate_series(-3, 20) as n;
        create table sizes (size size); insert into sizes values ('large'), ('small')",
    )
    .await;
    for key in ["whole", "words", "id", "exact", "at", "day", "padded", "inexact"] {
        let spec = pg.spec("select * from t", key);
        let all = items(&spec, 1_000).await;
        assert_eq!(all.len(), 24, "{key}");
        for chunk in [1, 5, 23, 24] {
            assert_eq!(items(&spec, chunk).await, all, "{key} in chunks of {chunk}");
        }
    }
    let sizes = items(&pg.spec("select size from sizes", "size"), 1).await;
    assert_eq!(sizes, [json!({"size": "small"}), json!({"size": "large"})]);
    pg.end().await;
}

#[tokio::test]
async fn postgres_refuses_what_is_no_key_and_sees_changes() {
    let mut pg = Pg::new(
        "create table t (id int, twice int, maybe int, doc json);
        insert into t values (1, 1, 1, '{}'), (2, 2, 2, '{}'), (3, 2, null, '{}')",
    )
    .await;
    for (key, problem) in
        [("twice", "must be unique"), ("maybe", "NULL in some rows"), ("doc", "has no order"), ("no", "no column `no`")]
    {
        let error = refusal(&pg.spec("select * from t", key)).await;
        assert!(error.is_permanent() && error.to_string().contains(problem), "{key}: {error}");
    }
    let writing = refusal(&pg.spec("delete from t returning id", "id")).await;
    assert!(writing.is_permanent(), "{writing}");
    let spec = pg.spec("select * from t", "id");
    let chunks = plan(&spec, 2).await.expect("it can be planned");
    sqlx::raw_sql("delete from t where id = 1").execute(&mut pg.connection).await.expect("it is changed");
    let error = source::read(&chunks[0], &SourceFingerprint::default(), &spec).await.expect_err("it changed");
    assert!(matches!(error, SourceError::Changed { .. }), "{error}");
    pg.end().await;
}

#[tokio::test]
async fn postgres_reads_nothing_of_a_bound_value_as_sql_and_compares_it_in_its_type() {
    let pg = Pg::new(
        "create table t (id int primary key, who text, day date, price numeric, ok boolean);
        insert into t values (1, 'a', '2026-01-01', 1.5, true), (2, 'b'' or 1=1 --', '2026-01-02', 2.5, false),
            (3, 'c', '2026-01-03', 3.5, true), (4, null, '2026-01-04', 4.5, null)",
    )
    .await;
    let ids = async |query: &str, values: &[Value]| {
        let spec = bound(pg.spec(query, "id"), values);
        let all: Vec<Value> = items(&spec, 10).await.iter().map(|row| row["id"].clone()).collect();
        for chunk in [1, 2] {
            let again: Vec<Value> = items(&spec, chunk).await.iter().map(|row| row["id"].clone()).collect();
            assert_eq!(again, all, "{query} in chunks of {chunk}");
        }
        all
    };
    assert_eq!(ids("select id from t where who = {{0}}", &[json!("b' or 1=1 --")]).await, [2]);
    assert_eq!(
        ids("select id from t where day >= {{0}} and price < {{1}}", &[json!("2026-01-02"), json!(4)]).await,
        [2, 3]
    );
    assert_eq!(
        ids("select id from t where day >= cast({{0}} as date) order by id", &[json!("2026-01-03")]).await,
        [3, 4]
    );
    assert_eq!(ids("select id from t where ok = {{0}} and price > {{1}}", &[json!(true), json!("1.6")]).await, [3]);
    assert_eq!(ids("select id from t where who = {{0}}", &[Value::Null]).await, [] as [i32; 0]);
    let error =
        refusal(&bound(pg.spec("select id from t where day = {{0}}", "id"), &[json!("'; drop table t; --")])).await;
    assert!(error.is_permanent() && error.to_string().contains("date"), "{error}");
    pg.end().await;
}

fn patient(mut spec: SourceSpec, patience: Duration) -> SourceSpec {
    if let Some(sql) = &mut spec.sql {
        sql.answer_timeout = Some(Span(patience));
    }
    spec
}

#[tokio::test]
async fn a_server_that_answers_too_late_is_given_up_and_gives_up_itself() {
    let mut pg = Pg::new("create table t (id int); insert into t values (1), (2)").await;
    // The name tells it from those of other runs of this test.
    let slow = pg.spec(&format!("select id, pg_sleep(600) as {} from t", pg.schema), "id");
    let error = refusal(&patient(slow, Duration::from_millis(500))).await;
    assert!(!error.is_permanent(), "{error}");
    let running = format!(
        "select count(*) from pg_stat_activity where state = 'active' and query like '%as {}%' and pid <> pg_backend_pid()",
        pg.schema
    );
    let running = || sqlx::query_scalar::<_, i64>(AssertSqlSafe(running.clone()));
    let ended = tokio::time::timeout(Duration::from_secs(60), async {
        while running().fetch_one(&mut pg.connection).await.expect("asked") > 0 {
            tokio::task::yield_now().await;
        }
    });
    ended.await.expect("nothing runs on for nobody");
    let none = refusal(&patient(pg.spec("select * from t", "id"), Duration::ZERO)).await;
    assert!(none.is_permanent() && none.to_string().contains("`sql.answer_timeout` is 0"), "{none}");
    pg.end().await;
}

#[tokio::test]
async fn a_server_that_freezes_is_given_up_and_is_read_again_afterwards() {
    let pg = Pg::new("create table t (id int); insert into t select generate_series(1, 9)").await;
    let url = url::Url::parse(&pg.url).expect("a URL");
    let target = format!("{}:{}", url.host_str().expect("a host"), url.port().unwrap_or(5_432));
    let proxy = Proxy::start(&target).await;
    let mut through = url.clone();
    through.set_host(Some("127.0.0.1")).expect("a host");
    through.set_port(Some(proxy.port)).expect("a port");
    let spec = patient(spec(through.as_str(), "select * from t", "id"), Duration::from_millis(500));
    let nowhere = std::env::temp_dir();
    let options =
        OpenOptions { spool_dir: nowhere.clone(), base_dir: nowhere, chunk: 2.into(), spool_bytes_max: 0, stdin: None };
    let mut planner = source::open(&spec, options).await.expect("it answers");
    let chunk = planner.next_chunk().await.expect("it answers").expect("a chunk");
    proxy.cut(Break::Hang);
    let error = planner.next_chunk().await.expect_err("it is frozen");
    assert!(error.to_string().contains("has not answered within 500ms") && !error.is_permanent(), "{error}");
    let records = source::read(&chunk, &SourceFingerprint::default(), &spec).await.expect("on another connection");
    assert_eq!(records.len(), 2);
    // The sessions that hang end with it, and with them their locks.
    drop(proxy);
    pg.end().await;
}
