//! The database that the store is in: its schema, its clock and its condition.

use std::fmt::Debug;
use std::sync::Arc;

use async_trait::async_trait;
use gristmill_core::Instant;
use serde::Serialize;

use crate::error::{Result, StoreError};
use crate::{Outage, StoreHandle};

/// The database itself: which it is, its schema, its clock and its condition.
#[async_trait]
pub trait Database: Debug + Send + Sync + 'static {
    /// Which database it is, to be shown: `postgres://host/db` or `sqlite:path`, never a password.
    fn describe(&self) -> String;

    /// Whether it is the embedded one, in which only one process works at a time.
    fn embedded(&self) -> bool;

    /// Applies the missing migrations. Safe to run in several processes at once.
    async fn migrate(&self) -> Result<MigrationStatus>;

    /// Returns which migrations are applied and which are known. Changes nothing.
    async fn migrations(&self) -> Result<MigrationStatus>;

    /// A handle of the same store whose transactions see and change the rows of a tenant alone, because the server keeps the
    /// others from them: PostgreSQL, where `[store] api_role` names a role for that. Otherwise it is the same handle.
    fn confined(self: Arc<Self>, tenant: &str) -> StoreHandle;

    /// Returns whether the server keeps tenants apart as it is asked to. `None` where it is not asked, or cannot.
    async fn row_security(&self) -> Result<Option<RowSecurity>> {
        Ok(None)
    }

    /// Makes the role of `[store] api_role` and gives it its rights. May be repeated. `Denied` when the user of the connection
    /// may not do that; the error has the statement for those who may. `Invalid` where no role is named, or there are none.
    async fn make_api_role(&self) -> Result<RowSecurity> {
        Err(StoreError::Invalid("only PostgreSQL has roles".to_owned()))
    }

    /// The database's current time: the only clock that state depends on.
    async fn now(&self) -> Result<Instant>;

    /// What keeps its transactions from succeeding, from the first that failed until one succeeds. Sends no query.
    fn outage(&self) -> Option<Outage> {
        None
    }

    /// Waits until other processes have been told of what was committed, as far as they are told at all. Await it before the
    /// program ends: what it has committed is found in any case, but later.
    async fn all_notified(&self) {}

    /// For what only one database can do, such as the user's own transactions.
    fn as_any(&self) -> &dyn std::any::Any;
}

/// How the server keeps tenants apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RowSecurity {
    /// The role of the API's transactions.
    pub role: String,
    /// What is wrong with it, a text each, at most five; it is in force when there is nothing.
    pub faults: Vec<String>,
}

/// Which migrations there are.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct MigrationStatus {
    /// Every migration that is known or was found, by number.
    pub migrations: Vec<MigrationView>,
    /// The newest that this program knows.
    pub known: i64,
    /// The newest in the database; 0 when there is none.
    pub applied: i64,
}

/// One migration.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct MigrationView {
    /// Its number.
    pub version: i64,
    /// Its name.
    pub name: String,
    /// When it was applied.
    #[cfg_attr(feature = "schema", schema(value_type = Option<chrono::DateTime<chrono::Utc>>))]
    pub applied_at: Option<Instant>,
}
