//! Many jobs at once: groups of a bounded size, each one transaction.

use std::ops::Range;

use gristmill_core::job::NewJob;
use gristmill_dispatcher::Overlap;
use gristmill_store::{EnqueueOutcome, Enqueued, GROUP_JOBS_MAX, StoreError};

use crate::connection::Client;

/// The result of enqueueing many jobs.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Many {
    /// One for each given job, in the same order.
    pub jobs: Vec<Enqueued>,
}

impl Many {
    /// How many of them had this outcome.
    pub fn count(&self, outcome: EnqueueOutcome) -> usize {
        self.jobs.iter().filter(|job| job.outcome == outcome).count()
    }
}

/// Why not all of many jobs were enqueued.
#[derive(Debug, thiserror::Error)]
#[error("jobs {} to {} of those given were not enqueued, nor any after them; the {} before them were: {source}",
    .failed.start + 1, .failed.end, .committed.len())]
pub struct ManyError {
    /// The results for the jobs before the group that failed, in order. They are committed.
    pub committed: Vec<Enqueued>,
    /// The places of the group that failed, counted from 0. Nothing of it is committed, unless the store could not be
    /// reached ([`StoreError::Unavailable`]): then its commit may have arrived, and giving the same jobs again does no
    /// harm. The jobs after it were not looked at.
    pub failed: Range<usize>,
    /// Why.
    pub source: StoreError,
}

pub(crate) async fn enqueue(client: &Client, jobs: impl IntoIterator<Item = NewJob>) -> Result<Many, ManyError> {
    let mut overlap = Overlap::default();
    let many = enqueue_all(client, jobs.into_iter(), &mut overlap).await;
    overlap.finished().await;
    many
}

/// Each group is published beside the commits of those that follow.
async fn enqueue_all(
    client: &Client,
    mut jobs: impl Iterator<Item = NewJob>,
    overlap: &mut Overlap,
) -> Result<Many, ManyError> {
    let own = |job| NewJob { tenant: client.tenant.clone(), ..job };
    let mut next = || -> Vec<NewJob> { jobs.by_ref().take(GROUP_JOBS_MAX).map(own).collect() };
    let (mut many, mut group) = (Many::default(), next());
    while !group.is_empty() {
        // While the store works on one group the next one is made.
        let (enqueued, following) = tokio::join!(biased; client.store.enqueue(&group), async { next() });
        match enqueued {
            Ok(report) => {
                many.jobs.extend(report.jobs);
                let (dispatcher, left) = (client.dispatcher.clone(), report.dispatched);
                overlap.beside(async move { dispatcher.hand_over(&left).await }).await;
            }
            Err(source) => {
                let start = many.jobs.len();
                return Err(ManyError { committed: many.jobs, failed: start..start + group.len(), source });
            }
        }
        group = following;
    }
    Ok(many)
}
