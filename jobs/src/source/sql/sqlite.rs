//! Rows of a SQLite query. Whole numbers and texts come as they are, reals as JSON numbers (SQLite
//! has no decimals: exact money is stored as whole cents or as text), blobs in hex.
//!
//! A key's text is the literal that SQL writes for it, `42` or `'a''b'`: SQLite types values, not
//! columns, and `42` and `'42'` are different keys.

use futures::TryStreamExt;
use gristmill_core::definition::SqlSource;
use serde_json::{Map, Number, Value};
use sqlx::query::Query as Bound;
use sqlx::sqlite::{SqliteArguments, SqliteConnectOptions, SqliteConnection, SqliteRow};
use sqlx::{
    AssertSqlSafe, Column, ConnectOptions, Connection, Executor, Row as _, SqlSafeStr, Sqlite, Statement, TypeInfo,
    ValueRef,
};

use super::bound::placed;
use super::{Page, Range, Row, derived, from_sqlx, quoted, unique_columns, wrong};
use crate::source::error::SourceError;
use crate::source::record::Unreadable;

/// A read-only connection in a transaction, which ends when this is dropped.
pub(super) struct Query {
    connection: SqliteConnection,
    derived: String,
    key: String,
    columns: Vec<String>,
    /// The values of the query's places, which are `?1` and so on; our own come after them.
    bound: Vec<Value>,
}

impl Query {
    pub(super) async fn connect(url: &str, source: &SqlSource) -> Result<Self, SourceError> {
        let options: SqliteConnectOptions = url.parse().map_err(|error| from_sqlx(&error))?;
        let options = options.read_only(true).create_if_missing(false).disable_statement_logging();
        let mut connection = SqliteConnection::connect_with(&options).await.map_err(|error| from_sqlx(&error))?;
        sqlx::raw_sql("begin").execute(&mut connection).await.map_err(|error| from_sqlx(&error))?;
        let bound = source.bind.clone();
        let source = &placed(source, |at| format!("?{}", at + 1));
        let derived = derived(source);
        // The query itself: in a derived table SQLite would rename a column that occurs twice.
        let sql = AssertSqlSafe(source.query.clone()).into_sql_str();
        let prepared = (&mut connection).prepare(sql).await.map_err(|error| from_sqlx(&error))?;
        let columns: Vec<String> = prepared.columns().iter().map(|column| column.name().to_owned()).collect();
        unique_columns(columns.iter().map(String::as_str), &source.key)?;
        Ok(Self { connection, derived, key: quoted(&source.key), columns, bound })
    }

    pub(super) async fn has_null_keys(&mut self) -> Result<bool, SourceError> {
        let sql = format!("select exists (select 1 from {} where source.{} is null)", self.derived, self.key);
        let query = with(sqlx::query(AssertSqlSafe(sql)), &self.bound);
        let row = query.fetch_one(&mut self.connection).await.map_err(|error| from_sqlx(&error))?;
        row.try_get(0).map_err(|error| from_sqlx(&error))
    }

    /// Looks at one more row than requested: it shows whether there are more, and whether the key repeats across the
    /// border.
    pub(super) async fn page(&mut self, after: Option<&str>, limit: u64) -> Result<Page, SourceError> {
        let (key, derived, own) = (&self.key, &self.derived, self.bound.len());
        let bound = after.map_or(String::new(), |_| format!("where source.{key} > ?{}", own + 1));
        let last = own + 1 + usize::from(after.is_some());
        let sql = format!(
            "select quote(source.{key}), typeof(source.{key}) from {derived} {bound} order by source.{key} limit ?{last}"
        );
        let mut query = with(sqlx::query(AssertSqlSafe(sql)), &self.bound);
        if let Some(after) = after {
            query = bind_key(query, after)?;
        }
        let most = i64::try_from(limit.saturating_add(1)).unwrap_or(i64::MAX);
        let mut rows = query.bind(most).fetch(&mut self.connection);
        let mut page = Page { items: 0, upto: None, more: false, repeated: false };
        while let Some(row) = rows.try_next().await.map_err(|error| from_sqlx(&error))? {
            let literal = key_of(&row, &self.key)?;
            page.repeated |= page.upto.as_ref() == Some(&literal);
            if page.items == limit {
                page.more = true;
                break;
            }
            page.items += 1;
            page.upto = Some(literal);
        }
        Ok(page)
    }

    pub(super) async fn rows(&mut self, range: Range<'_>, limit: u64) -> Result<Vec<Row>, SourceError> {
        let (own, lower) = (self.bound.len(), usize::from(range.after.is_some()));
        let after = range.after.map_or(String::new(), |_| format!("and source.{} > ?{}", self.key, own + 1));
        let upto = range.upto.map_or(String::new(), |_| format!("and source.{} <= ?{}", self.key, own + lower + 1));
        let last = own + lower + usize::from(range.upto.is_some()) + 1;
        let sql = format!(
            "select source.* from {} where true {after} {upto} order by source.{} limit ?{last}",
            self.derived, self.key
        );
        let mut query = with(sqlx::query(AssertSqlSafe(sql)), &self.bound);
        for key in [range.after, range.upto].into_iter().flatten() {
            query = bind_key(query, key)?;
        }
        let mut rows = query.bind(i64::try_from(limit).unwrap_or(i64::MAX)).fetch(&mut self.connection);
        let mut items = Vec::new();
        while let Some(row) = rows.try_next().await.map_err(|error| from_sqlx(&error))? {
            items.push(item(&row, &self.columns));
        }
        Ok(items)
    }
}

fn with<'q>(query: Bound<'q, Sqlite, SqliteArguments>, values: &[Value]) -> Bound<'q, Sqlite, SqliteArguments> {
    values.iter().fold(query, |query, value| match value {
        Value::Null => query.bind(None::<String>),
        Value::Bool(yes) => query.bind(i64::from(*yes)),
        Value::String(text) => query.bind(text.clone()),
        Value::Number(number) => match (number.as_i64(), number.as_f64()) {
            (Some(whole), _) => query.bind(whole),
            (None, Some(real)) => query.bind(real),
            (None, None) => query.bind(number.to_string()),
        },
        Value::Array(_) | Value::Object(_) => query.bind(value.to_string()),
    })
}

fn key_of(row: &SqliteRow, key: &str) -> Result<String, SourceError> {
    let kind: String = row.try_get(1).map_err(|error| from_sqlx(&error))?;
    if kind != "integer" && kind != "text" {
        return Err(wrong(format!(
            "the key {key} has a value of type {kind}; choose a column of whole numbers or texts"
        )));
    }
    row.try_get(0).map_err(|error| from_sqlx(&error))
}

fn bind_key<'q>(
    query: Bound<'q, Sqlite, SqliteArguments>,
    literal: &str,
) -> Result<Bound<'q, Sqlite, SqliteArguments>, SourceError> {
    if let Some(text) = literal.strip_prefix('\'').and_then(|rest| rest.strip_suffix('\'')) {
        return Ok(query.bind(text.replace("''", "'")));
    }
    match literal.parse::<i64>() {
        Ok(number) => Ok(query.bind(number)),
        Err(_) => Err(wrong(format!("the chunk's key {literal} is neither a whole number nor a text in quotes"))),
    }
}

fn item(row: &SqliteRow, columns: &[String]) -> Row {
    let mut object = Map::with_capacity(columns.len());
    let mut refused = None;
    for (index, column) in columns.iter().enumerate() {
        let value = value(row, index).unwrap_or_else(|problem| {
            refused.get_or_insert_with(|| format!("column `{column}`: {problem}"));
            Value::Null
        });
        object.insert(column.clone(), value);
    }
    match refused {
        None => Ok(Value::Object(object)),
        Some(reason) => Err(Unreadable { reason, raw: Value::Object(object) }),
    }
}

fn value(row: &SqliteRow, index: usize) -> Result<Value, String> {
    let raw = row.try_get_raw(index).map_err(|error| error.to_string())?;
    if raw.is_null() {
        return Ok(Value::Null);
    }
    let kind = raw.type_info().name().to_owned();
    match kind.as_str() {
        "INTEGER" => row.try_get_unchecked::<i64, _>(index).map(Value::from).map_err(|error| error.to_string()),
        "REAL" => {
            let real = row.try_get_unchecked::<f64, _>(index).map_err(|error| error.to_string())?;
            Number::from_f64(real).map(Value::Number).ok_or_else(|| format!("{real} is no number that JSON knows"))
        }
        "BLOB" => {
            let blob = row.try_get_unchecked::<Vec<u8>, _>(index).map_err(|error| error.to_string())?;
            Ok(Value::String(hex::encode(blob)))
        }
        _ => row
            .try_get_unchecked::<String, _>(index)
            .map(Value::String)
            .map_err(|error| format!("its text is not UTF-8 ({error})")),
    }
}
