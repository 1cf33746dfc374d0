//! Which migrations this program knows, which a database has, and what follows from the difference.
//!
//! The SQL is embedded in the program, from `migrations/postgres` and `migrations/sqlite`. Each store reads its
//! own table [`TABLE`] and applies what is missing; what the difference means is decided here for both.

use std::borrow::Cow;
use std::sync::LazyLock;

use gristmill_core::Instant;
use sqlx::SqlStr;
use sqlx::migrate::{MigrateError, Migration, MigrationType, Migrator};

use crate::error::{Result, StoreError};
use crate::{MigrationStatus, MigrationView};

/// The table that records which migrations were applied. The name is our own: the database may be shared with a program
/// that keeps its own migrations with the same library.
pub(crate) const TABLE: &str = "_gristmill_migrations";

/// PostgreSQL's migrations.
pub(crate) static POSTGRES: LazyLock<Migrator> = LazyLock::new(|| migrator(embedded::POSTGRES));

/// SQLite's migrations, mirrored name for name.
pub(crate) static SQLITE: LazyLock<Migrator> = LazyLock::new(|| migrator(embedded::SQLITE));

/// What the build script read, in numerical order.
mod embedded {
    include!(concat!(env!("OUT_DIR"), "/migrations.rs"));
}

/// One row of [`TABLE`]: `SELECT version, description, installed_on FROM _gristmill_migrations WHERE success`.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Applied {
    /// Its number.
    pub(crate) version: i64,
    /// Its name as it was when it was applied.
    pub(crate) name: String,
    /// When it was applied.
    pub(crate) at: Instant,
}

/// Compares what is known with what was applied.
pub(crate) fn status(known: &Migrator, applied: &[Applied]) -> MigrationStatus {
    let mut migrations: Vec<MigrationView> = known
        .iter()
        .map(|migration| MigrationView {
            version: migration.version,
            name: migration.description.to_string(),
            applied_at: applied.iter().find(|row| row.version == migration.version).map(|row| row.at),
        })
        .collect();
    let strangers = applied.iter().filter(|row| !known.version_exists(row.version)).map(|row| MigrationView {
        version: row.version,
        name: row.name.clone(),
        applied_at: Some(row.at),
    });
    migrations.extend(strangers);
    migrations.sort_by_key(|migration| migration.version);
    MigrationStatus {
        known: known.iter().map(|migration| migration.version).max().unwrap_or(0),
        applied: applied.iter().map(|row| row.version).max().unwrap_or(0),
        migrations,
    }
}

/// Refuses a database that has migrations which this program does not know; used before migrating, too.
pub(crate) fn refuse_newer(status: &MigrationStatus) -> Result<()> {
    if status.applied > status.known {
        return Err(StoreError::TooNew { found: status.applied, known: status.known });
    }
    Ok(())
}

/// Refuses a database on which this program cannot work: newer, or with migrations missing.
pub(crate) fn check(status: &MigrationStatus) -> Result<()> {
    refuse_newer(status)?;
    let missing = status.migrations.iter().filter(|migration| migration.applied_at.is_none()).count();
    if missing > 0 {
        return Err(StoreError::NeedsMigration { missing });
    }
    Ok(())
}

/// The migrator's refusal in our words. `database` maps what the database itself reported.
pub(crate) fn refused(error: MigrateError, database: impl FnOnce(sqlx::Error) -> StoreError) -> StoreError {
    match error {
        MigrateError::Execute(error) | MigrateError::ExecuteMigration(error, _) => database(error),
        MigrateError::VersionMismatch(version) => StoreError::Conflict(format!(
            "migration {version} in the database differs from the one in this program; use the program that made the database, or a newer one"
        )),
        other => StoreError::Database(other.to_string()),
    }
}

/// The migrations of one database, each with its number, its name and its SQL. One that begins with `-- no-transaction`
/// runs outside a transaction.
fn migrator(embedded: &[(i64, &'static str, &'static str)]) -> Migrator {
    let migrations = embedded.iter().map(|(version, name, sql)| {
        let alone = sql.starts_with("-- no-transaction");
        Migration::new(*version, Cow::Borrowed(*name), MigrationType::Simple, SqlStr::from_static(sql), alone)
    });
    let mut migrator = Migrator::with_migrations(migrations.collect());
    migrator.dangerous_set_table_name(TABLE);
    migrator
}

#[cfg(test)]
mod tests {
    use super::*;

    fn applied(version: i64) -> Applied {
        Applied { version, name: "some day".to_owned(), at: Instant::UNIX_EPOCH }
    }

    #[test]
    fn both_databases_have_the_same_migrations() {
        let names = |migrator: &Migrator| -> Vec<(i64, String)> {
            migrator.iter().map(|migration| (migration.version, migration.description.to_string())).collect()
        };
        assert_eq!(names(&POSTGRES), names(&SQLITE));
    }

    #[test]
    fn a_database_without_migrations_needs_all_of_them() {
        let status = status(&SQLITE, &[]);
        let known = SQLITE.iter().count();
        assert!(matches!(check(&status), Err(StoreError::NeedsMigration { missing }) if missing == known));
    }

    #[test]
    fn a_database_with_an_unknown_migration_is_too_new() {
        let newest = SQLITE.iter().map(|migration| migration.version).max().unwrap_or(0);
        let mut rows: Vec<Applied> = SQLITE.iter().map(|migration| applied(migration.version)).collect();
        check(&status(&SQLITE, &rows)).expect("all applied");
        rows.push(applied(newest + 1));
        let status = status(&SQLITE, &rows);
        assert!(matches!(refuse_newer(&status), Err(StoreError::TooNew { found, .. }) if found == newest + 1));
        assert_eq!(status.migrations.last().map(|migration| migration.name.as_str()), Some("some day"));
    }
}
