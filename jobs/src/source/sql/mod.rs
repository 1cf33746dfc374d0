//! Rows of a query, cut by ranges of a unique key.
//!
//! The query is wrapped as a subselect and never sent to the database alone. Planning hops along the key (`key > last
//! order by key limit n`), which an index serves at any depth; an `OFFSET` would pass over all earlier rows each time.
//! The key is compared in its own type. All reads are in read-only transactions.
//!
//! A chunk whose range has another number of rows than planned means a changed source. Rows that are appended above the
//! last planned key are not seen, and do not count as a change.

mod bound;
mod postgres;
mod sqlite;

use std::time::Duration;

use gristmill_core::chunk::{ChunkPayload, Slice};
use gristmill_core::definition::SqlSource;
use sqlx::postgres::{PgDatabaseError, PgErrorPosition};

use super::error::SourceError;
use super::record::{Record, Unreadable};

/// How long to wait for a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// How long to wait for one answer, by default: less than the scheduler waits for a plan that makes no progress.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(300);

/// A value of `url` with this prefix is read from the environment, so that no password need be in the definition, of
/// which every batch keeps a copy.
const FROM_ENVIRONMENT: &str = "env:";

/// A range of keys, in the text form that the database writes.
#[derive(Debug, Clone, Copy)]
pub(super) struct Range<'a> {
    /// Exclusive.
    pub(super) after: Option<&'a str>,
    /// Inclusive.
    pub(super) upto: Option<&'a str>,
}

/// The next keys after one.
struct Page {
    /// How many rows, at most as many as were requested.
    items: u64,
    /// The key of the last row. `None` when there are no rows.
    upto: Option<String>,
    /// Whether there is a row after these.
    more: bool,
    /// Whether a key occurred twice.
    repeated: bool,
}

/// Hops along the key.
pub(super) struct Planner {
    database: Database,
    /// How long one answer may take.
    patience: Duration,
    key: String,
    chunk: u64,
    first: u64,
    after: Option<String>,
    ended: bool,
}

/// One open transaction for the whole plan: it sees one state of the database.
enum Database {
    Postgres(Box<postgres::Query>),
    Sqlite(Box<sqlite::Query>),
}

impl std::fmt::Debug for Planner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Planner").field("key", &self.key).field("first", &self.first).finish_non_exhaustive()
    }
}

impl Planner {
    /// Connects, and checks what can be checked before the first row.
    pub(super) async fn open(source: &SqlSource, chunk: u64) -> Result<Self, SourceError> {
        let key = source.key.clone();
        let patience = patience(source);
        let mut database = connect(source).await?;
        let nulls = within(patience, async {
            match &mut database {
                Database::Postgres(query) => query.has_null_keys().await,
                Database::Sqlite(query) => query.has_null_keys().await,
            }
        });
        let nulls = nulls.await?;
        if nulls {
            return Err(wrong(format!(
                "the key `{key}` is NULL in some rows, which no range would have; filter them out"
            )));
        }
        Ok(Self { database, patience, key, chunk, first: 0, after: None, ended: false })
    }

    pub(super) async fn next_chunk(&mut self) -> Result<Option<ChunkPayload>, SourceError> {
        if self.ended {
            return Ok(None);
        }
        let after = self.after.as_deref();
        let page = within(self.patience, async {
            match &mut self.database {
                Database::Postgres(query) => query.page(after, self.chunk).await,
                Database::Sqlite(query) => query.page(after, self.chunk).await,
            }
        });
        let page = page.await?;
        if page.repeated {
            let from = after.map_or_else(|| "from the beginning".to_owned(), |after| format!("after {after}"));
            return Err(wrong(format!(
                "the key `{}` has the same value twice within {} rows {from}; it must be unique",
                self.key, page.items
            )));
        }
        self.ended = !page.more;
        let Some(upto) = page.upto else { return Ok(None) };
        let slice = Slice::Keys { after: self.after.replace(upto.clone()), upto: Some(upto) };
        let payload = ChunkPayload::new(slice, page.items, self.first);
        self.first += page.items;
        Ok(Some(payload))
    }
}

/// Reads the rows of a range as objects.
pub(super) async fn read(
    source: &SqlSource,
    range: Range<'_>,
    items: u64,
    first: u64,
) -> Result<Vec<Record>, SourceError> {
    // One more than planned is enough to detect that there are too many.
    let limit = items.saturating_add(1);
    let (patience, database) = (patience(source), connect(source).await?);
    let rows = within(patience, async {
        match database {
            Database::Postgres(mut query) => query.rows(range, limit).await,
            Database::Sqlite(mut query) => query.rows(range, limit).await,
        }
    });
    let rows = rows.await?;
    if rows.len() as u64 != items {
        let found = if rows.len() as u64 > items { "more".to_owned() } else { rows.len().to_string() };
        let problem = format!(
            "the keys after {} up to {} had {items} rows and have {found}",
            range.after.unwrap_or("the beginning"),
            range.upto.unwrap_or("the end")
        );
        return Err(SourceError::Changed { name: "the query".to_owned(), problem });
    }
    let records = rows.into_iter().zip(first..).map(|(item, position)| Record { position, line: None, item });
    Ok(records.collect())
}

/// How long the source's database may take for one answer.
fn patience(source: &SqlSource) -> Duration {
    source.answer_timeout.map_or(ANSWER_TIMEOUT, |span| span.0)
}

/// Waits for an answer. A database that is frozen, or whose network is, never gives one, not even an error.
async fn within<T>(patience: Duration, answer: impl Future<Output = Result<T, SourceError>>) -> Result<T, SourceError> {
    tokio::time::timeout(patience, answer).await.unwrap_or_else(|_| {
        let problem = format!(
            "the database has not answered within {}; see what holds it, or raise `sql.answer_timeout`",
            gristmill_core::duration::format(patience)
        );
        Err(SourceError::Sql { problem, permanent: false })
    })
}

type Row = Result<serde_json::Value, Unreadable>;

async fn connect(source: &SqlSource) -> Result<Database, SourceError> {
    let url = match source.url.strip_prefix(FROM_ENVIRONMENT) {
        None => source.url.clone(),
        Some(name) => std::env::var(name).map_err(|_| {
            SourceError::Setting(format!("`sql.url` is to be read from the environment, and {name} is not set"))
        })?,
    };
    let connecting = async {
        if url.starts_with("postgres://") || url.starts_with("postgresql://") {
            return Ok(Database::Postgres(Box::new(postgres::Query::connect(&url, source).await?)));
        }
        if url.starts_with("sqlite:") {
            return Ok(Database::Sqlite(Box::new(sqlite::Query::connect(&url, source).await?)));
        }
        // The URL may hold a password, so it is not shown.
        Err(SourceError::Setting("`sql.url` must begin with `postgres://` or `sqlite://`".to_owned()))
    };
    match tokio::time::timeout(CONNECT_TIMEOUT, connecting).await {
        Ok(connected) => connected,
        Err(_) => Err(SourceError::Sql {
            problem: format!("the database did not answer within {} seconds", CONNECT_TIMEOUT.as_secs()),
            permanent: false,
        }),
    }
}

/// What stands before the query in a derived table.
const BEFORE_QUERY: &str = "(\n";

/// The query as a derived table. It ends on a line of its own, so that a comment at its end does not swallow the
/// bracket.
fn derived(source: &SqlSource) -> String {
    format!("{BEFORE_QUERY}{}\n) as source", source.query.trim().trim_end_matches(';'))
}

fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

fn wrong(problem: String) -> SourceError {
    SourceError::Sql { problem, permanent: true }
}

fn unique_columns<'a>(names: impl Iterator<Item = &'a str>, key: &str) -> Result<(), SourceError> {
    let mut seen = std::collections::HashSet::new();
    for name in names {
        if !seen.insert(name) {
            return Err(wrong(format!("the query has two columns `{name}`; give one of them another name with `as`")));
        }
    }
    if seen.contains(key) {
        return Ok(());
    }
    let mut names: Vec<&str> = seen.into_iter().collect();
    names.sort_unstable();
    Err(wrong(format!("the query has no column `{key}` for the key; it has {}", names.join(", "))))
}

fn from_sqlx(error: &sqlx::Error) -> SourceError {
    let permanent = match error {
        sqlx::Error::Database(database) => !database.code().is_some_and(|code| may_pass(&code)),
        sqlx::Error::Configuration(_)
        | sqlx::Error::ColumnNotFound(_)
        | sqlx::Error::ColumnDecode { .. }
        | sqlx::Error::Decode(_)
        | sqlx::Error::Encode(_)
        | sqlx::Error::TypeNotFound { .. } => true,
        _ => false,
    };
    SourceError::Sql { problem: in_words(error), permanent }
}

/// What the database says. PostgreSQL adds a line of its own source code, which says nothing to a user.
fn in_words(error: &sqlx::Error) -> String {
    let refusal = error.as_database_error().and_then(|refusal| refusal.try_downcast_ref::<PgDatabaseError>());
    refusal.map_or_else(|| error.to_string(), |refusal| format!("{} ({})", refusal.message(), refusal.code()))
}

/// The same about a statement that has the user's query in it, after `before`, with the place in that query.
fn in_query(error: &sqlx::Error, source: &SqlSource, before: &str) -> SourceError {
    let refusal = error.as_database_error().and_then(|refusal| refusal.try_downcast_ref::<PgDatabaseError>());
    let at = match refusal.and_then(PgDatabaseError::position) {
        Some(PgErrorPosition::Original(position)) => position.checked_sub(1 + before.chars().count()),
        Some(PgErrorPosition::Internal { .. }) | None => None,
    };
    match (at.and_then(|at| place(&source.query, at)), from_sqlx(error)) {
        (Some((line, column)), SourceError::Sql { problem, permanent }) => {
            SourceError::Sql { problem: format!("{problem}, in line {line}, column {column} of the query"), permanent }
        }
        (_, other) => other,
    }
}

/// The line and the column, both from 1, of a character of the query without the white space around it.
fn place(query: &str, at: usize) -> Option<(usize, usize)> {
    let begin = query.len() - query.trim_start().len();
    let (index, _) = query[begin..].char_indices().nth(at)?;
    let before = &query[..begin + index];
    let line = before.rsplit('\n').next().unwrap_or_default();
    Some((before.matches('\n').count() + 1, line.chars().count() + 1))
}

/// Whether waiting may help: connection, resources, locks, an operator's intervention, a login that is being changed;
/// in SQLite busy, locked, disk, and a file that cannot be opened.
fn may_pass(code: &str) -> bool {
    match code.parse::<u32>() {
        Ok(number) if code.len() < 5 => matches!(number & 0xFF, 5 | 6 | 10 | 14),
        _ => ["08", "28", "3D", "40", "53", "55", "57", "58"].iter().any(|class| code.starts_with(class)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_in_the_query_is_counted_as_its_author_counts() {
        let query = "\n  select ä,\n  , v from t\n";
        assert_eq!(place(query, 0), Some((2, 3)));
        assert_eq!(place(query, 9), Some((2, 12)), "in characters");
        assert_eq!(place(query, 12), Some((3, 3)));
        assert_eq!(place(query, 900), None);
    }
}
