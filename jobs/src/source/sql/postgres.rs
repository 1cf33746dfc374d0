//! Rows of a PostgreSQL query. Decimals and money come as strings, so that they are never rounded; instants in UTC,
//! bytes in hex, arrays and JSON as they are.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use futures::TryStreamExt;
use gristmill_core::definition::SqlSource;
use gristmill_store::postgres_options;
use sqlx::postgres::{
    PgArguments, PgConnectOptions, PgConnection, PgPool, PgPoolOptions, PgRow, PgTypeInfo, PgTypeKind,
};
use sqlx::query::Query as Bound;
use sqlx::{
    AssertSqlSafe, Column, ConnectOptions, Connection, Either, Executor, Postgres, Row as _, SqlSafeStr, Statement,
    Transaction, TypeInfo,
};
use tokio::runtime::{Handle, Id};

use super::bound::{placed, texts};
use super::{
    BEFORE_QUERY, CONNECT_TIMEOUT, Page, Range, Row, derived, from_sqlx, in_query, patience, quoted, unique_columns,
    wrong,
};
use crate::source::error::SourceError;
use crate::source::jsonl;

/// One state of the database for all statements, and read-only.
const BEGIN: &str = "begin transaction isolation level repeatable read read only";

/// The text form of keys and values must not depend on the settings of a server or role.
const SETTINGS: &str = "set local timezone = 'UTC';
set local datestyle = 'ISO, YMD';
set local intervalstyle = 'iso_8601';
set local bytea_output = 'hex';
set local extra_float_digits = 1";

/// The most connections to one database that sources of this process have at once.
const CONNECTIONS_MAX: u32 = 16;

/// How long an unused connection is kept.
const IDLE: Duration = Duration::from_secs(60);

/// How many databases' connections are kept.
const POOLS_MAX: usize = 64;

/// A new connection, with its encryption, costs more than a chunk of rows. The pools are kept separate by runtime as
/// well, because a connection dies with the runtime that made it.
static POOLS: Mutex<Vec<(Id, String, PgPool)>> = Mutex::new(Vec::new());

fn pool(url: &str) -> Result<PgPool, SourceError> {
    let runtime = Handle::current().id();
    let mut pools = POOLS.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some((_, _, pool)) = pools.iter().find(|(id, known, _)| *id == runtime && known == url) {
        return Ok(pool.clone());
    }
    let options = postgres_options(url).map_err(|wrong| SourceError::Setting(format!("`sql.url` {wrong}")))?;
    // Slow statements would be logged with the values that are written in them.
    let options: PgConnectOptions = options.disable_statement_logging();
    let pool = PgPoolOptions::new()
        .max_connections(CONNECTIONS_MAX)
        .idle_timeout(IDLE)
        .acquire_timeout(CONNECT_TIMEOUT)
        // A connection whose question was given up may never answer: without this it would be one of the few for ever.
        .after_release(|connection, _| Box::pin(still_answers(connection)))
        .connect_lazy_with(options);
    if pools.len() >= POOLS_MAX {
        pools.remove(0);
    }
    pools.push((runtime, url.to_owned(), pool.clone()));
    Ok(pool)
}

async fn still_answers(connection: &mut PgConnection) -> Result<bool, sqlx::Error> {
    match tokio::time::timeout(CONNECT_TIMEOUT, connection.ping()).await {
        Ok(answer) => answer.map(|()| true),
        Err(_) => Err(sqlx::Error::PoolTimedOut),
    }
}

/// A read-only transaction, which ends when this is dropped.
pub(super) struct Query {
    transaction: Transaction<'static, Postgres>,
    derived: String,
    key: String,
    key_type: String,
    columns: Vec<(String, PgTypeInfo)>,
    /// The values of the query's places, which are `$1` and so on; our own come after them.
    bound: Vec<Option<String>>,
}

impl Query {
    pub(super) async fn connect(url: &str, source: &SqlSource) -> Result<Self, SourceError> {
        let mut transaction = pool(url)?.begin_with(BEGIN).await.map_err(|error| from_sqlx(&error))?;
        // The server gives up as well, so that no query runs on that is no longer waited for.
        let patience = i32::try_from(patience(source).as_millis()).unwrap_or(i32::MAX);
        let settings = format!("{SETTINGS};\nset local statement_timeout = {patience}");
        let set = sqlx::raw_sql(AssertSqlSafe(settings)).execute(&mut *transaction).await;
        set.map_err(|error| from_sqlx(&error))?;
        let source = &typed(&mut transaction, source).await?;
        let derived = derived(source);
        let sql = AssertSqlSafe(format!("select * from {derived}")).into_sql_str();
        let before = format!("select * from {BEFORE_QUERY}");
        let prepared = (&mut *transaction).prepare(sql).await.map_err(|error| in_query(&error, source, &before))?;
        let columns: Vec<(String, PgTypeInfo)> =
            prepared.columns().iter().map(|column| (column.name().to_owned(), column.type_info().clone())).collect();
        unique_columns(columns.iter().map(|(name, _)| name.as_str()), &source.key)?;
        let (key, bound) = (quoted(&source.key), texts(source));
        let mut query = Self { transaction, derived, key, key_type: String::new(), columns, bound };
        query.key_type = query.find_key_type().await?;
        Ok(query)
    }

    /// The type as a cast spells it. A subselect without rows is NULL, but still has the type.
    async fn find_key_type(&mut self) -> Result<String, SourceError> {
        let sql = format!("select pg_typeof((select source.{} from {} limit 0))::text", self.key, self.derived);
        let name: String = self.one(sql).await?.try_get(0).map_err(|error| from_sqlx(&error))?;
        Ok(match name.as_str() {
            // Without a length these would cut the key to one character.
            "character" => "bpchar".to_owned(),
            "bit" => "bit varying".to_owned(),
            "json" | "xml" | "point" | "box" | "line" | "lseg" | "path" | "polygon" | "circle" => {
                return Err(wrong(format!(
                    "a key of type {name} has no order; choose a column of numbers, texts, uuids or times"
                )));
            }
            _ => name,
        })
    }

    pub(super) async fn has_null_keys(&mut self) -> Result<bool, SourceError> {
        let sql = format!("select exists (select 1 from {} where source.{} is null)", self.derived, self.key);
        self.one(sql).await?.try_get(0).map_err(|error| from_sqlx(&error))
    }

    async fn one(&mut self, sql: String) -> Result<PgRow, SourceError> {
        let query = with(sqlx::query(AssertSqlSafe(sql)), &self.bound);
        query.fetch_one(&mut *self.transaction).await.map_err(|error| from_sqlx(&error))
    }

    /// Looks at one more row than requested: it shows whether there are more, and whether the key repeats across the
    /// border.
    pub(super) async fn page(&mut self, after: Option<&str>, limit: u64) -> Result<Page, SourceError> {
        let own = self.bound.len();
        let bound = after
            .map_or(String::new(), |_| format!("where source.{} > ${}::text::{}", self.key, own + 3, self.key_type));
        let sql = format!(
            "with page as (
                select k, row_number() over (order by k) as n
                from (select source.{key} as k from {derived} {bound} order by 1 limit ${first} + 1) as keys
            )
            select (select count(*) from page), (select count(distinct k) from page),
                (select k::text from page where n <= ${second} order by n desc limit 1)",
            first = own + 1,
            second = own + 2,
            key = self.key,
            derived = self.derived,
        );
        let limit = i64::try_from(limit).unwrap_or(i64::MAX - 1);
        let mut query = with(sqlx::query(AssertSqlSafe(sql)), &self.bound).bind(limit).bind(limit);
        if let Some(after) = after {
            query = query.bind(after);
        }
        let row = query.fetch_one(&mut *self.transaction).await.map_err(|error| from_sqlx(&error))?;
        let get = |index: usize| row.try_get::<i64, _>(index).map_err(|error| from_sqlx(&error));
        let (found, distinct) = (get(0)?, get(1)?);
        let upto = row.try_get(2).map_err(|error| from_sqlx(&error))?;
        Ok(Page {
            items: u64::try_from(found.min(limit)).unwrap_or_default(),
            upto,
            more: found > limit,
            repeated: distinct < found,
        })
    }

    pub(super) async fn rows(&mut self, range: Range<'_>, limit: u64) -> Result<Vec<Row>, SourceError> {
        let columns: Vec<String> = self.columns.iter().map(|(name, info)| column(name, info)).collect();
        let own = self.bound.len();
        let bound =
            |end: &str, place: usize| format!("and source.{} {end} ${place}::text::{}", self.key, self.key_type);
        let after = range.after.map_or(String::new(), |_| bound(">", own + 2));
        let upto = range.upto.map_or(String::new(), |_| bound("<=", own + if range.after.is_some() { 3 } else { 2 }));
        let sql = format!(
            "select (select row_to_json(item)::text from (select {columns}) as item)
            from {derived} where true {after} {upto} order by source.{key} limit ${first}",
            first = own + 1,
            columns = columns.join(", "),
            derived = self.derived,
            key = self.key,
        );
        let query = with(sqlx::query(AssertSqlSafe(sql)), &self.bound);
        let mut query = query.bind(i64::try_from(limit).unwrap_or(i64::MAX));
        for key in [range.after, range.upto].into_iter().flatten() {
            query = query.bind(key);
        }
        let mut rows = query.fetch(&mut *self.transaction);
        let mut items = Vec::new();
        while let Some(row) = rows.try_next().await.map_err(|error| from_sqlx(&error))? {
            let text: String = row.try_get(0).map_err(|error| from_sqlx(&error))?;
            items.push(jsonl::item(text.as_bytes()));
        }
        Ok(items)
    }
}

/// The source with its places as parameters. Each is sent as a text and cast to the type that the query itself gives it.
async fn typed(conn: &mut PgConnection, source: &SqlSource) -> Result<SqlSource, SourceError> {
    if source.bind.is_empty() {
        return Ok(source.clone());
    }
    let untyped = placed(source, |at| format!("${}", at + 1));
    let sql = AssertSqlSafe(format!("select * from {}", derived(&untyped))).into_sql_str();
    let prepared = conn.prepare(sql).await.map_err(|error| from_sqlx(&error))?;
    let types = match prepared.parameters() {
        Some(Either::Left(types)) => types.iter().map(|info| info.name().to_owned()).collect(),
        Some(Either::Right(_)) | None => Vec::new(),
    };
    let name = |at: usize| types.get(at).map_or("text", String::as_str);
    Ok(placed(source, |at| format!("cast(${}::text as {})", at + 1, name(at))))
}

fn with<'q>(query: Bound<'q, Postgres, PgArguments>, values: &[Option<String>]) -> Bound<'q, Postgres, PgArguments> {
    values.iter().fold(query, |query, value| query.bind(value.clone()))
}

/// The column, as text where JSON would round it.
fn column(name: &str, info: &PgTypeInfo) -> String {
    let name = quoted(name);
    match rounded(info) {
        Rounded::No => format!("source.{name}"),
        Rounded::Yes => format!("source.{name}::text as {name}"),
        Rounded::EachOf => format!("source.{name}::text[] as {name}"),
    }
}

enum Rounded {
    No,
    Yes,
    EachOf,
}

fn rounded(info: &PgTypeInfo) -> Rounded {
    match info.kind() {
        PgTypeKind::Domain(inner) => rounded(inner),
        PgTypeKind::Array(inner) if !matches!(rounded(inner), Rounded::No) => Rounded::EachOf,
        _ if matches!(info.name(), "NUMERIC" | "MONEY") => Rounded::Yes,
        _ if matches!(info.name(), "NUMERIC[]" | "MONEY[]") => Rounded::EachOf,
        _ => Rounded::No,
    }
}
