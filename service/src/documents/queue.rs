//! A queue, and which of its jobs no live worker can run.

use gristmill_store::{QueueView, UnhandledView};
use serde::{Deserialize, Serialize};

/// A queue.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct QueueDocument {
    /// The queue itself; its fields are those of the document.
    #[serde(flatten)]
    pub queue: QueueView,
    /// Jobs that wait although no live worker has their kind, or their version of it.
    pub unhandled: Vec<UnhandledView>,
}

impl QueueDocument {
    /// Attaches to each queue those of its jobs that no live worker can run.
    pub fn all(queues: Vec<QueueView>, mut unhandled: Vec<UnhandledView>) -> Vec<Self> {
        let own = |queue: QueueView| Self {
            unhandled: unhandled.extract_if(.., |found| found.queue == queue.name).collect(),
            queue,
        };
        queues.into_iter().map(own).collect()
    }
}
