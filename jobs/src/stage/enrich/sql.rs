//! A lookup in a table of PostgreSQL or SQLite: the keys of a chunk in one query.

use std::borrow::Cow;
use std::collections::{BTreeSet, HashMap};
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use gristmill_core::definition::SqlLookup;
use gristmill_core::json;
use gristmill_store::postgres_options;
use serde_json::Value;
use sqlx::postgres::{PgConnectOptions, PgConnection, PgPool, PgPoolOptions};
use sqlx::sqlite::{SqliteConnectOptions, SqlitePool, SqlitePoolOptions};
use sqlx::{AssertSqlSafe, ConnectOptions, Connection, Row};
use tokio::sync::OnceCell;

use super::{LookupError, Records, key_text, passing, permanent};

/// The prefix of an environment variable's name that replaces an address, as for a source.
const FROM_ENVIRONMENT: &str = "env:";

/// How long to wait for a connection.
const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(10);

/// How long one lookup may take, with all that the database is asked for it.
const LOOKUP_TIMEOUT: Duration = Duration::from_secs(60);

/// How many chunks of this process do lookups at once.
const CONNECTIONS: u32 = 4;

pub(super) struct SqlTable {
    /// An address, or `env:NAME`.
    url: String,
    /// As the definition names it: `table` or `schema.table`.
    name: String,
    /// The same with each part quoted.
    table: String,
    key: String,
    database: OnceCell<Database>,
}

enum Database {
    Postgres(Box<PgConnectOptions>, OnceCell<PgPool>),
    Sqlite(Box<SqliteConnectOptions>, OnceCell<SqlitePool>),
}

impl std::fmt::Debug for SqlTable {
    // The address may hold a password.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SqlTable").field("name", &self.name).field("key", &self.key).finish_non_exhaustive()
    }
}

impl Database {
    fn of(url: &str) -> Result<Self, String> {
        // The parsers' messages may repeat the address, which contains the password.
        let bad = |kind: &str| format!("`sql.url` is not an address of {kind}; write such as `{kind}://…`");
        if url.starts_with("postgres://") || url.starts_with("postgresql://") {
            let options = postgres_options(url).map_err(|wrong| format!("`sql.url` {wrong}"))?;
            return Ok(Self::Postgres(Box::new(options.disable_statement_logging()), OnceCell::new()));
        }
        if url.starts_with("sqlite:") {
            let options = SqliteConnectOptions::from_str(url).map_err(|_| bad("sqlite"))?.read_only(true);
            let options = options.disable_statement_logging();
            return Ok(Self::Sqlite(Box::new(options), OnceCell::new()));
        }
        Err("`sql.url` must begin with `postgres://`, `sqlite://` or `env:`".to_owned())
    }
}

impl SqlTable {
    pub(super) fn new(spec: &SqlLookup, key: &str) -> Result<Self, String> {
        // The variable is read only when the table is, so that a definition can be checked anywhere.
        let database = match spec.url.strip_prefix(FROM_ENVIRONMENT) {
            Some("") => return Err("`sql.url` names no environment variable; write such as `env:NAME`".to_owned()),
            Some(_) => OnceCell::new(),
            None => OnceCell::new_with(Some(Database::of(&spec.url)?)),
        };
        let table = quoted_name(&spec.table)?;
        Ok(Self { url: spec.url.clone(), name: spec.table.clone(), table, key: key.to_owned(), database })
    }

    pub(super) async fn records(&self, keys: BTreeSet<String>) -> Result<Records, LookupError> {
        if keys.is_empty() {
            return Ok(Records::default());
        }
        // A database that is frozen gives no answer, not even an error.
        let rows = tokio::time::timeout(LOOKUP_TIMEOUT, self.rows(keys)).await.unwrap_or_else(|_| {
            let seconds = LOOKUP_TIMEOUT.as_secs();
            Err(passing(format!("the database of {} has not answered within {seconds} seconds", self.table)))
        });
        self.by_key(rows?)
    }

    async fn rows(&self, keys: BTreeSet<String>) -> Result<Vec<String>, LookupError> {
        let database = self.database.get_or_try_init(|| async { Database::of(&address(&self.url)?) });
        let rows = match database.await.map_err(permanent)? {
            Database::Postgres(options, pool) => {
                let pool = pool.get_or_init(|| async {
                    let settings = PgPoolOptions::new()
                        .max_connections(CONNECTIONS)
                        .acquire_timeout(ACQUIRE_TIMEOUT)
                        .after_release(|connection, _| Box::pin(still_answers(connection)));
                    settings.connect_lazy_with((**options).clone())
                });
                self.rows_of_postgres(pool.await, &keys.into_iter().collect::<Vec<_>>()).await
            }
            Database::Sqlite(options, pool) => {
                let pool = pool.get_or_init(|| async {
                    let settings =
                        SqlitePoolOptions::new().max_connections(CONNECTIONS).acquire_timeout(ACQUIRE_TIMEOUT);
                    settings.connect_lazy_with((**options).clone())
                });
                self.rows_of_sqlite(pool.await, &keys).await
            }
        };
        rows.map_err(|error| self.failed(&error))
    }

    /// Keys are cast to the column's own type, so that its index is used. Keys that cannot be of that type are left
    /// out: one of them would make the whole query fail.
    async fn rows_of_postgres(&self, pool: &PgPool, keys: &[String]) -> sqlx::Result<Vec<String>> {
        let column = "SELECT format_type(atttypid, NULL) FROM pg_attribute \
                      WHERE attrelid = to_regclass($1) AND attname = $2 AND NOT attisdropped";
        let kind: Option<String> =
            sqlx::query_scalar(column).bind(&self.table).bind(&self.key).fetch_optional(pool).await?;
        let (cast, keys): (_, Vec<&String>) = match kind.as_deref() {
            Some("smallint") => ("::smallint[]", keys.iter().filter(|key| key.parse::<i16>().is_ok()).collect()),
            Some("integer") => ("::integer[]", keys.iter().filter(|key| key.parse::<i32>().is_ok()).collect()),
            Some("bigint") => ("::bigint[]", keys.iter().filter(|key| key.parse::<i64>().is_ok()).collect()),
            Some("uuid") => ("::uuid[]", keys.iter().filter(|key| uuid::Uuid::parse_str(key).is_ok()).collect()),
            Some("text" | "character varying") => ("", keys.iter().collect()),
            _ => ("text", keys.iter().collect()),
        };
        let key = quoted(&self.key);
        let condition = match cast {
            "text" => format!("t.{key}::text = ANY($1)"),
            cast => format!("t.{key} = ANY($1::text[]{cast})"),
        };
        let query = format!("SELECT row_to_json(t)::text FROM {} t WHERE {condition}", self.table);
        sqlx::query_scalar(AssertSqlSafe(query))
            .bind(keys.into_iter().cloned().collect::<Vec<_>>())
            .fetch_all(pool)
            .await
    }

    /// SQLite converts the texts to the column's affinity by itself.
    async fn rows_of_sqlite(&self, pool: &SqlitePool, keys: &BTreeSet<String>) -> sqlx::Result<Vec<String>> {
        // Without a schema every attached database is searched, as `FROM` does.
        let (schema, table) = match self.name.split_once('.') {
            Some((schema, table)) => (Some(schema), table),
            None => (None, self.name.as_str()),
        };
        let columns = "SELECT name FROM pragma_table_xinfo(?1, ?2)";
        let columns = sqlx::query(columns).bind(table).bind(schema).fetch_all(pool).await?;
        let mut pairs = Vec::new();
        for column in columns {
            let name: String = column.try_get(0)?;
            pairs.push(format!("'{}', {}", name.replace('\'', "''"), quoted(&name)));
        }
        let query = format!(
            "SELECT json_object({}) FROM {} WHERE {} IN (SELECT value FROM json_each(?1))",
            pairs.join(", "),
            self.table,
            quoted(&self.key)
        );
        sqlx::query_scalar(AssertSqlSafe(query)).bind(serde_json::json!(keys).to_string()).fetch_all(pool).await
    }

    fn by_key(&self, rows: Vec<String>) -> Result<Records, LookupError> {
        let mut records = HashMap::new();
        for row in rows {
            let Value::Object(record) = json::read_row(&row)
                .map_err(|error| permanent(format!("{} gives a row that cannot be kept: {error}", self.table)))?
            else {
                return Err(permanent(format!("{} gives a row that is not an object", self.table)));
            };
            let Some(key) = record.get(&self.key).and_then(key_text) else {
                return Err(permanent(format!("{} has no column `{}`", self.table, self.key)));
            };
            if let Some(twice) = records.insert(key, record) {
                let key = twice.get(&self.key).map(super::shown).unwrap_or_default();
                return Err(permanent(format!(
                    "{} has {key} twice in `{}`; a key must be unique",
                    self.table, self.key
                )));
            }
        }
        Ok(Arc::new(records))
    }

    fn failed(&self, error: &sqlx::Error) -> LookupError {
        match error {
            sqlx::Error::Database(refusal) => permanent(format!("looking into {}: {}", self.table, refusal.message())),
            other => passing(format!("the database of {} cannot be reached: {other}", self.table)),
        }
    }
}

/// Without this a connection whose question was given up would be one of the few for ever.
async fn still_answers(connection: &mut PgConnection) -> Result<bool, sqlx::Error> {
    match tokio::time::timeout(ACQUIRE_TIMEOUT, connection.ping()).await {
        Ok(answer) => answer.map(|()| true),
        Err(_) => Err(sqlx::Error::PoolTimedOut),
    }
}

/// Returns the address itself, which `env:NAME` reads from the environment of the process that reads the table.
fn address(url: &str) -> Result<Cow<'_, str>, String> {
    match url.strip_prefix(FROM_ENVIRONMENT) {
        None => Ok(Cow::Borrowed(url)),
        Some(name) => std::env::var(name)
            .map(Cow::Owned)
            .map_err(|_| format!("`sql.url` is to be read from the environment, and {name} is not set")),
    }
}

/// `schema.table`, each part quoted.
fn quoted_name(name: &str) -> Result<String, String> {
    let parts: Vec<_> = name.split('.').collect();
    if parts.len() > 2 || parts.iter().any(|part| part.is_empty() || part.contains('\0')) {
        return Err(format!("`sql.table` is `{name}`; write `table` or `schema.table`"));
    }
    Ok(parts.into_iter().map(quoted).collect::<Vec<_>>().join("."))
}

fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

#[cfg(test)]
mod tests {
    use gristmill_core::definition::EnrichSpec;
    use serde_json::json;
    use sqlx::Executor;

    use super::super::Enrich;
    use super::*;

    async fn found(url: &str, table: &str, key: &str) -> Result<Vec<Value>, String> {
        let spec: EnrichSpec = serde_json::from_value(
            json!({ "sql": { "url": url, "table": table }, "on": "k", "key": key, "into": "r" }),
        )
        .expect("a lookup");
        let enrich = Enrich::compile(&spec)?;
        let mut items = [json!({ "k": 1 }), json!({ "k": "2" }), json!({ "k": "x" }), json!({})];
        let records = enrich.look_up(items.iter()).await.map_err(|error| error.to_string())?;
        for item in &mut items {
            enrich.apply(item, &records).map_err(|refusal| refusal.reason)?;
        }
        Ok(items.iter().map(|item| item["r"]["name"].clone()).collect())
    }

    const TABLE: &str = "CREATE TABLE customer (id BIGINT PRIMARY KEY, \"the code\" TEXT, name TEXT); \
                         INSERT INTO customer VALUES (1, '1', 'Ada'), (2, 'x', 'Grace''s'), (3, '9', NULL)";

    #[tokio::test]
    async fn a_chunks_keys_are_fetched_from_sqlite() {
        let folder = tempfile::tempdir().expect("a folder");
        let url = format!("sqlite://{}", folder.path().join("a.db").display());
        let options = SqliteConnectOptions::from_str(&url).expect("an address").create_if_missing(true);
        let pool = SqlitePool::connect_with(options).await.expect("a database");
        pool.execute(TABLE).await.expect("a table");
        assert_eq!(
            found(&url, "customer", "id").await,
            Ok(vec![json!("Ada"), json!("Grace's"), json!(null), json!(null)])
        );
        assert_eq!(
            found(&url, "customer", "the code").await,
            Ok(vec![json!("Ada"), json!(null), json!("Grace's"), json!(null)])
        );
        assert_eq!(found(&url, "main.customer", "id").await.expect("found")[0], json!("Ada"));
        assert!(found(&url, "nobody", "id").await.is_err());
        assert!(found(&url, "elsewhere.customer", "id").await.is_err());
        pool.close().await;
    }

    #[tokio::test]
    async fn a_chunks_keys_are_fetched_from_postgres() {
        let url = std::env::var("GRISTMILL_TEST_POSTGRES").expect("set GRISTMILL_TEST_POSTGRES or run `make test`");
        let schema = format!("lookup_{}", uuid::Uuid::new_v4().simple());
        let pool = PgPool::connect(&url).await.expect("a database");
        let setup = format!("CREATE SCHEMA {schema}; SET search_path TO {schema}; {TABLE}");
        pool.acquire().await.expect("a connection").execute(AssertSqlSafe(setup)).await.expect("a table");
        let table = format!("{schema}.customer");
        let by_id = found(&url, &table, "id").await;
        let by_code = found(&url, &table, "the code").await;
        let no_column = found(&url, &table, "nothing").await;
        pool.execute(AssertSqlSafe(format!("DROP SCHEMA {schema} CASCADE"))).await.expect("dropped");
        assert_eq!(by_id, Ok(vec![json!("Ada"), json!("Grace's"), json!(null), json!(null)]));
        assert_eq!(by_code, Ok(vec![json!("Ada"), json!(null), json!("Grace's"), json!(null)]));
        assert!(no_column.expect_err("no such column").contains("nothing"));
    }

    #[tokio::test]
    async fn an_address_may_be_left_to_the_environment() {
        // Changing this process's environment would be unsafe, so this uses a variable that is always set.
        let path = std::env::var("PATH").expect("a search path");
        assert_eq!(address("env:PATH").as_deref(), Ok(path.as_str()));
        let problem = found("env:GRISTMILL_NO_SUCH_VARIABLE", "customer", "id").await.expect_err("it is not set");
        assert!(problem.contains("GRISTMILL_NO_SUCH_VARIABLE"), "{problem}");
    }

    #[test]
    fn what_cannot_be_an_address_or_a_table_is_refused() {
        for (url, table) in [("mysql://h/d", "t"), ("env:", "t"), ("postgres://h/d", "a.b.c"), ("postgres://h/d", "")] {
            let spec = SqlLookup { url: url.to_owned(), table: table.to_owned() };
            assert!(SqlTable::new(&spec, "k").is_err(), "{url} {table}");
        }
    }
}
