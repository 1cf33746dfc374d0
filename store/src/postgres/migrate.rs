//! How migrations are applied to PostgreSQL: those that may not lock a large table run statement by statement.
//!
//! The library sends the text of a migration whole, which makes one transaction of it, and an index cannot be built
//! CONCURRENTLY inside a transaction. A migration that begins with `-- no-transaction` is therefore taken apart here. If
//! one of its statements fails, it begins anew the next time: each must bear to be repeated.

use std::time::{Duration, Instant};

use futures::future::BoxFuture;
use sqlx::migrate::{AppliedMigration, Migrate, MigrateError, Migration};
use sqlx::postgres::PgConnection;
use sqlx::{AssertSqlSafe, Executor};

/// The lock of all processes that migrate, in our own class of locks.
const LOCK: &str = "SELECT pg_try_advisory_lock(1735553389, 0)";

const UNLOCK: &str = "SELECT pg_advisory_unlock(1735553389, 0)";

/// How often to try for the lock.
const LOCK_LOOK: Duration = Duration::from_millis(100);

/// A connection on which migrations are applied.
pub(super) struct Migrating<'c>(pub(super) &'c mut PgConnection);

impl Migrate for Migrating<'_> {
    fn create_schema_if_not_exists<'e>(&'e mut self, name: &'e str) -> BoxFuture<'e, Result<(), MigrateError>> {
        self.0.create_schema_if_not_exists(name)
    }

    fn ensure_migrations_table<'e>(&'e mut self, table: &'e str) -> BoxFuture<'e, Result<(), MigrateError>> {
        self.0.ensure_migrations_table(table)
    }

    fn dirty_version<'e>(&'e mut self, table: &'e str) -> BoxFuture<'e, Result<Option<i64>, MigrateError>> {
        self.0.dirty_version(table)
    }

    fn list_applied_migrations<'e>(
        &'e mut self,
        table: &'e str,
    ) -> BoxFuture<'e, Result<Vec<AppliedMigration>, MigrateError>> {
        self.0.list_applied_migrations(table)
    }

    /// Tried again and again instead of waited for: an index that is built CONCURRENTLY waits for all statements that
    /// are under way, and one that waits for the lock would wait for the index.
    fn lock(&mut self) -> BoxFuture<'_, Result<(), MigrateError>> {
        Box::pin(async move {
            loop {
                if sqlx::query_scalar(LOCK).fetch_one(&mut *self.0).await? {
                    return Ok(());
                }
                tokio::time::sleep(LOCK_LOOK).await;
            }
        })
    }

    fn unlock(&mut self) -> BoxFuture<'_, Result<(), MigrateError>> {
        Box::pin(async move {
            sqlx::query(UNLOCK).execute(&mut *self.0).await?;
            Ok(())
        })
    }

    fn apply<'e>(
        &'e mut self,
        table: &'e str,
        migration: &'e Migration,
    ) -> BoxFuture<'e, Result<Duration, MigrateError>> {
        if !migration.no_tx {
            return self.0.apply(table, migration);
        }
        Box::pin(async move {
            let start = Instant::now();
            let empty: bool =
                sqlx::query_scalar("SELECT NOT EXISTS (SELECT 1 FROM job)").fetch_one(&mut *self.0).await?;
            for statement in statements(migration.sql.as_str(), empty) {
                let done = self.0.execute(AssertSqlSafe(statement)).await;
                done.map_err(|error| MigrateError::ExecuteMigration(error, migration.version))?;
            }
            self.0.skip(table, migration).await?;
            Ok(start.elapsed())
        })
    }

    fn revert<'e>(
        &'e mut self,
        table: &'e str,
        migration: &'e Migration,
    ) -> BoxFuture<'e, Result<Duration, MigrateError>> {
        self.0.revert(table, migration)
    }
}

/// The statements of a migration, each by itself; for an empty database all in one, and without CONCURRENTLY: there is
/// no writer to be blocked, and waiting for every transaction of the server would be waiting for nothing.
fn statements(sql: &str, empty: bool) -> Vec<String> {
    let code: Vec<&str> = sql.lines().filter(|line| !line.trim_start().starts_with("--")).collect();
    let code = code.join("\n");
    if empty {
        return vec![code.replace(" CONCURRENTLY", "")];
    }
    code.split(';').map(str::trim).filter(|statement| !statement.is_empty()).map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::migrations::POSTGRES;

    #[test]
    fn a_migration_is_taken_apart_unless_there_is_nothing_to_protect() {
        let sql =
            "-- no-transaction\n-- why; not\nCREATE INDEX CONCURRENTLY a ON t (x)\n    WHERE y;\n\nDROP INDEX b;\n";
        assert_eq!(statements(sql, false), ["CREATE INDEX CONCURRENTLY a ON t (x)\n    WHERE y", "DROP INDEX b"]);
        let [whole] = statements(sql, true).try_into().expect("one");
        assert!(whole.contains("CREATE INDEX a") && whole.contains("DROP INDEX b"), "{whole}");
    }

    #[test]
    fn what_runs_outside_a_transaction_bears_to_be_repeated() {
        for migration in POSTGRES.iter().filter(|migration| migration.no_tx) {
            let all = statements(migration.sql.as_str(), false);
            for (at, statement) in all.iter().enumerate() {
                let Some(rest) = statement.strip_prefix("CREATE INDEX CONCURRENTLY ") else {
                    let again = ["SET ", "RESET "].iter().any(|word| statement.starts_with(word));
                    assert!(
                        again || statement.contains("IF EXISTS") || statement.contains("IF NOT EXISTS"),
                        "{statement}"
                    );
                    continue;
                };
                let name = rest.split_whitespace().next().unwrap_or_default();
                let before = format!("DROP INDEX CONCURRENTLY IF EXISTS {name}");
                assert_eq!(all.get(at.wrapping_sub(1)), Some(&before), "a broken index would stay");
            }
        }
    }
}
