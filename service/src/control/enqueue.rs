//! Jobs: enqueue one or many.

use gristmill_core::job::NewJob;
use gristmill_dispatcher::Overlap;
use gristmill_store::{EnqueueReport, Enqueued, Result, StoreError};

use crate::Service;
use crate::order::Order;

impl Service {
    /// Enqueues a job for the order's tenant. `None` at a dry run.
    ///
    /// # Errors
    ///
    /// Store errors: `Invalid` when the job makes no sense, `Conflict` when its unique key refuses it.
    pub async fn enqueue(&self, order: &Order, job: NewJob) -> Result<Option<Enqueued>> {
        let report = self.enqueue_many(order, vec![job]).await?;
        let enqueued = report.jobs.first().copied();
        if enqueued.is_none() && !order.dry_run {
            return Err(StoreError::Database("the store took the job and gave no id".to_owned()));
        }
        Ok(enqueued)
    }

    /// Enqueues jobs for the order's tenant, all of them in one transaction, or none: at most
    /// [`GROUP_JOBS_MAX`](gristmill_store::GROUP_JOBS_MAX). Empty at a dry run.
    ///
    /// # Errors
    ///
    /// Same as [`Service::enqueue`].
    pub async fn enqueue_many(&self, order: &Order, jobs: Vec<NewJob>) -> Result<EnqueueReport> {
        match owned(order, jobs) {
            None => Ok(EnqueueReport::default()),
            Some(jobs) => self.after(self.store.enqueue(&jobs)).await,
        }
    }

    /// The same, for a caller that has more groups to enqueue: their ids are published beside the commits that follow.
    /// The caller awaits [`Overlap::finished`] in the end.
    ///
    /// # Errors
    ///
    /// Same as [`Service::enqueue`].
    pub async fn enqueue_beside(
        &self,
        overlap: &mut Overlap,
        order: &Order,
        jobs: Vec<NewJob>,
    ) -> Result<EnqueueReport> {
        match owned(order, jobs) {
            None => Ok(EnqueueReport::default()),
            Some(jobs) => self.after_beside(overlap, self.store.enqueue(&jobs)).await,
        }
    }
}

/// The jobs of the order's tenant. `None` at a dry run.
fn owned(order: &Order, mut jobs: Vec<NewJob>) -> Option<Vec<NewJob>> {
    jobs.iter_mut().for_each(|job| job.tenant.clone_from(&order.tenant));
    (!order.dry_run).then_some(jobs)
}
