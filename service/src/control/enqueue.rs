//! Jobs: enqueue one or many.

use std::collections::BTreeSet;

use gristmill_core::audit::Action;
use gristmill_core::job::NewJob;
use gristmill_dispatcher::Overlap;
use gristmill_store::{EnqueueReport, Enqueued, Result, StoreError, StoreHandle};

use crate::Service;
use crate::order::Order;

/// How many kinds of jobs the audit names of one call.
const KINDS_NAMED: usize = 5;

impl Service {
    /// Enqueues a job for the order's tenant. `None` at a dry run.
    ///
    /// # Errors
    ///
    /// Store errors: `Invalid` when the job makes no sense, `Conflict` when its unique key refuses it, `OverQuota` when
    /// the tenant may have no more.
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
            Some(jobs) => self.after(self.enqueueing(order, &jobs).enqueue(&jobs)).await,
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
            Some(jobs) => self.after_beside(overlap, self.enqueueing(order, &jobs).enqueue(&jobs)).await,
        }
    }
}

impl Service {
    /// The store for one call that enqueues: the audit has the kinds of its jobs, and one row.
    fn enqueueing(&self, order: &Order, jobs: &[NewJob]) -> StoreHandle {
        let kinds: BTreeSet<&str> = jobs.iter().map(|job| job.kind.as_str()).collect();
        let kinds: Vec<&str> = kinds.into_iter().take(KINDS_NAMED).collect();
        order.adding(&self.store, Action::JobEnqueue, kinds.join(", "))
    }
}

/// The jobs of the order's tenant. `None` at a dry run.
fn owned(order: &Order, mut jobs: Vec<NewJob>) -> Option<Vec<NewJob>> {
    jobs.iter_mut().for_each(|job| job.tenant.clone_from(&order.tenant));
    (!order.dry_run).then_some(jobs)
}
