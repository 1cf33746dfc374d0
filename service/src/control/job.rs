//! Jobs: cancel, retry, edit, cancel many.

use gristmill_core::audit::Action;
use gristmill_core::id::{BatchId, JobId};
use gristmill_core::job_edit::JobEdit;
use gristmill_store::{ControlReport, GROUP_JOBS_MAX, JobFilter, Page, Result};

use super::{add, some};
use crate::Service;
use crate::order::Order;

/// Rows of one page while ids are gathered.
const PAGE_ROWS: u32 = 1_000;

impl Service {
    /// Cancels a job that is not final.
    ///
    /// # Errors
    ///
    /// Store errors: `NotFound`, or `Conflict` for a job that is final.
    pub async fn cancel_job(&self, order: &Order, job: JobId) -> Result<ControlReport> {
        let store = order.at(&self.store, Action::JobCancel, job);
        self.after(store.cancel_job(&order.tenant, job, &order.reason(), order.dry_run)).await
    }

    /// Cancels those of the jobs that are not final, in groups of at most [`GROUP_JOBS_MAX`], each one transaction.
    /// Jobs that are final, and aggregates, are skipped, so that it can be run again after it was interrupted.
    /// `progress` receives how many are cancelled so far, after each group.
    ///
    /// # Errors
    ///
    /// Store errors; earlier groups stay cancelled.
    pub async fn cancel_jobs(
        &self,
        order: &Order,
        jobs: &[JobId],
        mut progress: impl FnMut(u64) + Send,
    ) -> Result<ControlReport> {
        let (mut total, reason) = (ControlReport::default(), order.reason());
        for group in jobs.chunks(GROUP_JOBS_MAX) {
            let store = order.at(&self.store, Action::JobCancel, some(group));
            let cancelled = store.cancel_jobs(&order.tenant, group, &reason, order.dry_run);
            add(&mut total, self.after(cancelled).await?);
            progress(total.affected);
        }
        Ok(total)
    }

    /// Lets a job that waits in `retry` or `scheduled` run now.
    ///
    /// # Errors
    ///
    /// Store errors: `NotFound`, or `Conflict` for a job in another state.
    pub async fn retry_job(&self, order: &Order, job: JobId) -> Result<ControlReport> {
        let store = order.at(&self.store, Action::JobRetry, job);
        self.after(store.retry_job(&order.tenant, job, order.dry_run)).await
    }

    /// Changes a job that waits: its priority, its queue, its time, its payload. Whether its kind reads the payload is for
    /// the caller to check. What it was before is in the audit, of payloads their hashes.
    ///
    /// # Errors
    ///
    /// Store errors: `NotFound`, `Invalid`, or `Conflict` for a job that does not wait, or was changed since.
    pub async fn edit_job(&self, order: &Order, job: JobId, edit: &JobEdit) -> Result<ControlReport> {
        let store = order.at(&self.store, Action::JobEdit, job);
        self.after(store.edit_job(&order.tenant, job, edit, order.dry_run)).await
    }

    /// Returns the ids of the jobs that match a filter now, newest first, each with its batch: the input of a verb over
    /// many jobs. They are gathered before the first one moves, so that jobs that arrive meanwhile are not touched.
    ///
    /// # Errors
    ///
    /// Store errors.
    pub async fn matching_jobs(&self, filter: &JobFilter) -> Result<Vec<(Option<BatchId>, JobId)>> {
        let mut found = Vec::new();
        let mut page = Page { after: None, limit: PAGE_ROWS };
        loop {
            let jobs = self.store.jobs(filter, &page).await?;
            found.extend(jobs.iter().map(|job| (job.batch, job.id)));
            match jobs.last() {
                Some(last) if jobs.len() == PAGE_ROWS as usize => page.after = Some(last.id.to_string()),
                Some(_) | None => return Ok(found),
            }
        }
    }
}
