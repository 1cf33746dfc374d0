//! The database itself: its schema, its clock and its condition.

use std::any::Any;
use std::sync::Arc;

use async_trait::async_trait;
use gristmill_core::Instant;
use sqlx::Connection;

use super::{SqliteStore, error, row};
use crate::error::Result;
use crate::migrations::{self, Applied};
use crate::{Database, MigrationStatus, Outage, StoreHandle};

#[async_trait]
impl Database for SqliteStore {
    fn describe(&self) -> String {
        format!("sqlite:{}", self.path.display())
    }

    fn embedded(&self) -> bool {
        true
    }

    async fn migrate(&self) -> Result<MigrationStatus> {
        migrations::refuse_newer(&self.migrations().await?)?;
        // One transaction around all of them keeps other processes out, which the library does not do
        // on this database; each migration then runs in a savepoint of it.
        let mut turn = self.writer.turn().await?;
        let conn = turn.conn()?;
        let mut tx = conn.begin_with("BEGIN IMMEDIATE").await.map_err(error::database)?;
        let done = migrations::SQLITE.run_direct(None, &mut *tx, false).await;
        done.map_err(|refused| migrations::refused(refused, error::database))?;
        tx.commit().await.map_err(error::database)?;
        drop(turn);
        self.migrations().await
    }

    async fn migrations(&self) -> Result<MigrationStatus> {
        Ok(migrations::status(&migrations::SQLITE, &self.applied().await?))
    }

    fn confined(self: Arc<Self>, _: &str) -> StoreHandle {
        self
    }

    async fn now(&self) -> Result<Instant> {
        row::at(self.now_micros().await?, "now")
    }

    fn outage(&self) -> Option<Outage> {
        self.condition.outage()
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

impl SqliteStore {
    async fn applied(&self) -> Result<Vec<Applied>> {
        let known =
            "SELECT EXISTS (SELECT 1 FROM sqlite_schema WHERE type = 'table' AND name = '_gristmill_migrations')";
        let known: bool = sqlx::query_scalar(known).fetch_one(&self.readers).await.map_err(error::database)?;
        if !known {
            return Ok(Vec::new());
        }
        let statement = "
            SELECT version, description, unixepoch(installed_on) * 1000000 AS at
            FROM _gristmill_migrations WHERE success ORDER BY version";
        let rows = sqlx::query(statement).fetch_all(&self.readers).await.map_err(error::database)?;
        rows.iter()
            .map(|row| {
                Ok(Applied {
                    version: row::get(row, "version")?,
                    name: row::get(row, "description")?,
                    at: row::instant(row, "at")?,
                })
            })
            .collect()
    }
}
