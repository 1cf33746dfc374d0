//! The database trait of a store that has no database.

use std::any::Any;
use std::sync::Arc;

use async_trait::async_trait;
use gristmill_core::Instant;

use super::ReferenceStore;
use crate::error::Result;
use crate::{Database, MigrationStatus, StoreHandle};

#[async_trait]
impl Database for ReferenceStore {
    fn describe(&self) -> String {
        format!("memory:{}", self.seed)
    }

    fn embedded(&self) -> bool {
        false
    }

    async fn migrate(&self) -> Result<MigrationStatus> {
        Ok(MigrationStatus::default())
    }

    async fn migrations(&self) -> Result<MigrationStatus> {
        Ok(MigrationStatus::default())
    }

    fn confined(self: Arc<Self>, _: &str) -> StoreHandle {
        self
    }

    async fn now(&self) -> Result<Instant> {
        Ok(self.clock.now())
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}
