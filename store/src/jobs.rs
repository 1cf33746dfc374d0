//! Creating jobs: what is requested, and what became of it.

use std::fmt::Debug;

use async_trait::async_trait;
use gristmill_core::id::JobId;
use gristmill_core::job::NewJob;
use serde::{Deserialize, Serialize};

use crate::Dispatched;
use crate::error::Result;

/// How many jobs or chunks one transaction creates at most.
pub const GROUP_JOBS_MAX: usize = 1_000;

/// Creating jobs.
#[async_trait]
pub trait Jobs: Debug + Send + Sync + 'static {
    /// Creates jobs: all of them in one transaction, or none. At most [`GROUP_JOBS_MAX`].
    ///
    /// A job whose idempotency key is known returns the id of the first one and creates nothing. One whose unique key
    /// is held returns the holder's id, and [`OnConflict`](gristmill_core::unique::OnConflict) decides what becomes of
    /// it: the holder stays as it is, or takes over the request if it has not begun, or the whole group is refused with
    /// [`StoreError::Conflict`](crate::StoreError::Conflict). The holder decides how long its key is held
    /// ([`Hold`](gristmill_core::unique::Hold)). The same id twice in one call is one job, the first of them.
    async fn enqueue(&self, jobs: &[NewJob]) -> Result<EnqueueReport>;
}

/// What an enqueue did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct EnqueueReport {
    /// One for each requested job, in the same order.
    pub jobs: Vec<Enqueued>,
    /// What may be published now.
    pub dispatched: Dispatched,
}

/// What became of one requested job.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct Enqueued {
    /// Its id, or that of the existing job in its place.
    pub id: JobId,
    /// Whether it was created just now.
    pub created: bool,
    /// What became of the request.
    pub outcome: EnqueueOutcome,
}

impl Enqueued {
    /// A job that was created just now.
    pub fn created(id: JobId) -> Self {
        Self { id, created: true, outcome: EnqueueOutcome::Created }
    }

    /// Another job stands in its place.
    pub fn by(id: JobId, outcome: EnqueueOutcome) -> Self {
        Self { id, created: false, outcome }
    }
}

gristmill_core::words! {
    /// The outcomes of an enqueue.
    pub enum EnqueueOutcome {
        /// A job was created.
        Created = "created",
        /// One existed already, and is unchanged.
        Existing = "existing",
        /// The holder of the unique key had not begun, and took over payload, priority and time.
        Replaced = "replaced",
        /// The holder of the unique key had not begun, took over the payload, and waits anew.
        Debounced = "debounced",
    }
}
