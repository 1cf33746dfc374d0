//! A topic as JSON: the same documents that the endpoints answer, without what only some callers may see.

use gristmill_service::documents::{BatchDocument, EventDocument, JobDocument, QueueDocument};
use gristmill_store::{BatchFilter, EventFilter, JobView, Page, Result, StoreError, StoreHandle};
use serde::Serialize;
use serde_json::Value;

use super::topic::Topic;

/// How many batches the topic `batches` has.
const BATCHES: u32 = 50;

/// How many events the topic `events` has.
const EVENTS: u32 = 50;

/// Reads a topic of a tenant: `null` for a thing that is not there.
///
/// # Errors
///
/// Store errors.
pub(super) async fn read(store: &StoreHandle, tenant: &str, topic: Topic) -> Result<Vec<u8>> {
    match topic {
        Topic::Queues => json(&QueueDocument::all(store.queues(tenant).await?, store.unhandled(tenant).await?)),
        Topic::Workers => json(&store.workers().await?),
        Topic::Batches => {
            let filter = BatchFilter { tenant: tenant.to_owned(), ..BatchFilter::default() };
            let batches = store.batches(&filter, &Page { after: None, limit: BATCHES }).await?;
            json(&batches.iter().map(BatchDocument::from).collect::<Vec<_>>())
        }
        Topic::Events => {
            let (tenant, limit) = (tenant.to_owned(), EVENTS);
            let newest = EventFilter { tenant, newest_first: true, limit, ..EventFilter::default() };
            let events = store.list_events(&newest).await?;
            json(&events.iter().map(|event| EventDocument::new(event, false)).collect::<Vec<_>>())
        }
        Topic::Batch(id) => json(&store.batch(tenant, id).await?.as_ref().map(BatchDocument::from)),
        Topic::Job(id) => {
            let job = store.job(tenant, id).await?;
            json(&job.map(|job| JobDocument::from(&JobView { payload: Value::Null, output: None, ..job })))
        }
    }
}

fn json(document: &impl Serialize) -> Result<Vec<u8>> {
    serde_json::to_vec(document).map_err(|error| StoreError::Invalid(format!("a document cannot be written: {error}")))
}
