//! The one place that reads Gristmill's tables: the counters of jobs by state, and for the history the columns of a job.
//! A look at the counters costs a fraction of a millisecond, so that waiting for the last completion disturbs nothing.

use sqlx::AssertSqlSafe;
use sqlx::postgres::PgPool;
use sqlx::sqlite::{SqliteConnectOptions, SqlitePool, SqlitePoolOptions};

use crate::fault::Result;
use crate::stand::Stand;

/// A connection of its own to the store of a stand.
#[derive(Debug)]
pub enum Tables {
    /// On PostgreSQL.
    Postgres(PgPool),
    /// On SQLite.
    Sqlite(SqlitePool),
}

impl Tables {
    /// Opens one.
    ///
    /// # Errors
    ///
    /// Those of the database.
    pub async fn of(stand: &Stand) -> Result<Self> {
        if let Some(pool) = stand.pool().await? {
            return Ok(Self::Postgres(pool));
        }
        let options = SqliteConnectOptions::new().filename(stand.database_file());
        let options = options.busy_timeout(std::time::Duration::from_secs(30));
        Ok(Self::Sqlite(SqlitePoolOptions::new().max_connections(1).connect_with(options).await?))
    }

    /// How many jobs are in a state: the sum over all shards of its counters.
    ///
    /// # Errors
    ///
    /// Those of the database.
    pub async fn jobs(&self, state: &str) -> Result<i64> {
        const COUNT: &str = "SELECT CAST(COALESCE(sum(jobs), 0) AS BIGINT) FROM queue_count WHERE state = $1";
        Ok(match self {
            Self::Postgres(pool) => sqlx::query_scalar(COUNT).bind(state).fetch_one(pool).await?,
            Self::Sqlite(pool) => sqlx::query_scalar(COUNT).bind(state).fetch_one(pool).await?,
        })
    }

    /// Runs one statement; returns how many rows it changed.
    ///
    /// # Errors
    ///
    /// Those of the database.
    pub async fn run(&self, statement: String) -> Result<u64> {
        let query = AssertSqlSafe(statement);
        Ok(match self {
            Self::Postgres(pool) => sqlx::raw_sql(query).execute(pool).await?.rows_affected(),
            Self::Sqlite(pool) => sqlx::raw_sql(query).execute(pool).await?.rows_affected(),
        })
    }

    /// Two texts of each row that a query returns.
    ///
    /// # Errors
    ///
    /// Those of the database.
    pub async fn pairs(&self, query: &'static str) -> Result<Vec<(String, String)>> {
        Ok(match self {
            Self::Postgres(pool) => sqlx::query_as(query).fetch_all(pool).await?,
            Self::Sqlite(pool) => sqlx::query_as(query).fetch_all(pool).await?,
        })
    }

    /// Whether this is PostgreSQL.
    pub fn is_postgres(&self) -> bool {
        matches!(self, Self::Postgres(_))
    }
}
