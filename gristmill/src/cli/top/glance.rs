//! What is read each time: a few statements over counters and narrow indexes, or as many requests.

use gristmill_core::Instant;
use gristmill_service::documents::QueueDocument;
use gristmill_store::{BatchDocument, BatchFilter, Page, WorkerView};
use serde::Serialize;

use crate::cli::backend::Backend;
use crate::exit_code::Result;

/// The newest batches that are looked at.
const BATCHES: u32 = 100;

/// Everything at one moment.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Glance {
    /// By the clock of the store.
    pub(super) at: Instant,
    pub(super) queues: Vec<QueueDocument>,
    /// Those that have not ended, before those that have; of both the newest first.
    pub(super) batches: Vec<BatchDocument>,
    /// Those that are alive first.
    pub(super) workers: Vec<WorkerView>,
}

impl Glance {
    /// Looks.
    pub(super) async fn take(backend: &Backend<'_>, tenant: &str) -> Result<Self> {
        let filter = BatchFilter { tenant: tenant.to_owned(), ..BatchFilter::default() };
        let page = Page { limit: BATCHES, ..Page::default() };
        let at = backend.now().await?;
        let queues = backend.queues().await?;
        let mut batches = backend.batches(&filter, &page).await?;
        batches.sort_by_key(|batch| batch.state.is_final());
        let mut workers = backend.workers().await?;
        workers.sort_by_key(|worker| worker.state != "alive");
        Ok(Self { at, queues, batches, workers })
    }
}
