//! Events that start runs.

use async_trait::async_trait;

use super::PostgresStore;
use super::connect::transact;
use super::fault::Outcome;
use super::work::Work;
use crate::error::Result;
use crate::sql::triggers;
use crate::{NewEvent, NotedEvent, Triggers};

#[async_trait]
impl Triggers for PostgresStore {
    async fn note_event(&self, event: &NewEvent) -> Result<NotedEvent> {
        transact!(self, note, event).await
    }
}

async fn note(work: &mut Work<'_>, event: &NewEvent) -> Outcome<NotedEvent> {
    let noted = triggers::note(work, event).await?;
    Ok(NotedEvent { dispatched: work.close().await?, ..noted })
}
