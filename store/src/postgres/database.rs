//! The database itself: its schema, its clock and its condition.

use std::any::Any;
use std::sync::Arc;

use async_trait::async_trait;
use gristmill_core::Instant;
use sqlx::{ConnectOptions, Connection};

use super::PostgresStore;
use super::fault::in_words;
use super::migrate::Migrating;
use crate::error::Result;
use crate::migrations::{self, Applied, POSTGRES};
use crate::{Database, MigrationStatus, Outage, RowSecurity, StoreHandle};

#[async_trait]
impl Database for PostgresStore {
    fn describe(&self) -> String {
        self.place().to_owned()
    }

    fn embedded(&self) -> bool {
        false
    }

    async fn migrate(&self) -> Result<MigrationStatus> {
        // The migrator holds an advisory lock, so that several processes may do so at once.
        migrations::refuse_newer(&self.migrations().await?)?;
        // Not of the pool, which limits how long a statement may take: an index takes as long as it takes. A failed
        // migrator leaves its lock on its connection, and all other processes would wait for it.
        let mut conn = match self.options().connect().await {
            Ok(conn) => conn,
            Err(error) => return Err(self.explain(&error).await),
        };
        let done = POSTGRES.run_direct(None, &mut Migrating(&mut conn), false).await;
        // A table that is new has no policy yet.
        let confined = match &done {
            Ok(_) => sqlx::query("SELECT confine_tenants()").execute(&mut conn).await.map(drop),
            Err(_) => Ok(()),
        };
        let _ = conn.close().await;
        confined.map_err(|error| in_words(&error))?;
        done.map_err(|error| migrations::refused(error, |error| in_words(&error)))?;
        self.migrations().await
    }

    async fn migrations(&self) -> Result<MigrationStatus> {
        let applied = self.applied().await.map_err(|error| in_words(&error))?;
        Ok(migrations::status(&POSTGRES, &applied))
    }

    fn confined(self: Arc<Self>, tenant: &str) -> StoreHandle {
        Arc::new(self.of_tenant(tenant))
    }

    async fn row_security(&self) -> Result<Option<RowSecurity>> {
        self.security().await
    }

    async fn make_api_role(&self) -> Result<RowSecurity> {
        self.make_role().await
    }

    async fn now(&self) -> Result<Instant> {
        let mut held = self.held().await?;
        let now = self.answer(sqlx::query_scalar("SELECT now()").fetch_one(&mut *held)).await?;
        held.answered();
        self.condition.well(false);
        Ok(now)
    }

    fn outage(&self) -> Option<Outage> {
        self.condition.outage()
    }

    async fn all_notified(&self) {
        Self::all_notified(self).await;
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

impl PostgresStore {
    async fn applied(&self) -> std::result::Result<Vec<Applied>, sqlx::Error> {
        let there: bool = sqlx::query_scalar("SELECT to_regclass($1) IS NOT NULL")
            .bind(migrations::TABLE)
            .fetch_one(&self.pool)
            .await?;
        if !there {
            return Ok(Vec::new());
        }
        let rows: Vec<(i64, String, Instant)> = sqlx::query_as(
            "SELECT version, description, installed_on FROM _gristmill_migrations WHERE success ORDER BY version",
        )
        .fetch_all(&self.pool)
        .await?;
        Ok(rows.into_iter().map(|(version, name, at)| Applied { version, name, at }).collect())
    }
}
