//! Events that start runs.

use async_trait::async_trait;

use super::SqliteStore;
use super::transition::Transition;
use crate::error::Result;
use crate::sql::triggers;
use crate::{NewEvent, NotedEvent, Triggers};

#[async_trait]
impl Triggers for SqliteStore {
    async fn note_event(&self, event: &NewEvent) -> Result<NotedEvent> {
        let mut t = Transition::begin(self).await?;
        let noted = triggers::note(&mut t, event).await?;
        Ok(NotedEvent { dispatched: t.commit().await?.dispatched, ..noted })
    }
}
