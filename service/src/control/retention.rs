//! Retention: prune, delete batches, discard dead letters, delete queues.

use gristmill_core::audit::Action;
use std::collections::BTreeMap;

use gristmill_core::Instant;
use gristmill_core::id::{BatchId, JobId};
use gristmill_core::job::JobState;
use gristmill_store::{
    ControlReport, ExpiredRow, GROUP_JOBS_MAX, JobFilter, Page, PruneNoun, PruneReport, Result, StoreError,
};

use super::dead::RedriveReport;
use super::{add, some};
use crate::Service;
use crate::order::Order;
use crate::retention::{Archive, Pruner, PrunerOptions, Step, Survey, survey};

/// Rows of one page while jobs are gathered.
const PAGE_ROWS: u32 = 1_000;

/// What was deleted.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Deleted {
    /// How many rows, by noun.
    pub rows: BTreeMap<PruneNoun, u64>,
}

impl Deleted {
    fn add(&mut self, report: &PruneReport) {
        for (noun, rows) in &report.deleted {
            *self.rows.entry(*noun).or_default() += rows;
        }
    }
}

/// What became of a queue that was to be deleted.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct DeletedQueue {
    /// How many finished jobs were deleted with it.
    pub jobs: u64,
    /// How many messages the broker had for it. `None` when no broker carries ids, or at a dry run.
    pub messages: Option<u32>,
    /// Why the broker has not deleted its queues; the rest is deleted.
    pub broker: Option<String>,
}

impl Service {
    /// Returns what a pass would delete now.
    ///
    /// # Errors
    ///
    /// Store errors.
    pub async fn survey(&self, options: &PrunerOptions) -> Result<Survey> {
        survey(&self.store, options).await
    }

    /// Makes a whole pass: deletes everything that is kept for longer than the settings say. `progress` receives what
    /// is deleted so far, after each step.
    ///
    /// # Errors
    ///
    /// Store errors; what was deleted before stays deleted, and the call may be repeated.
    pub async fn prune(
        &self,
        order: &Order,
        options: PrunerOptions,
        progress: impl FnMut(&Deleted) + Send,
    ) -> Result<Deleted> {
        let store = order.at(&self.store, Action::SystemPrune, "retention");
        finish(Pruner::new(store, options), progress).await
    }

    /// Deletes batches that have ended, each with its jobs, results and quarantined items. At a dry run it only says
    /// how many chunks they have.
    ///
    /// # Errors
    ///
    /// Store errors: `NotFound`, or `Conflict` for a batch that has not ended; nothing is deleted then.
    pub async fn delete_batches(
        &self,
        order: &Order,
        batches: &[BatchId],
        options: PrunerOptions,
        progress: impl FnMut(&Deleted) + Send,
    ) -> Result<(ControlReport, Deleted)> {
        let (mut total, mut rows) = (ControlReport::default(), Vec::new());
        // All are checked before the first is marked.
        for batch in batches {
            add(&mut total, self.store.begin_deletion(&order.tenant, *batch, None, true).await?);
        }
        if order.dry_run {
            return Ok((total, Deleted::default()));
        }
        for batch in batches {
            let store = order.at(&self.store, Action::BatchDelete, batch);
            store.begin_deletion(&order.tenant, *batch, None, false).await?;
            if let Some(view) = self.store.batch(&order.tenant, *batch).await? {
                let row = row(PruneNoun::Batches, batch.to_string(), view.finished_at);
                rows.push(ExpiredRow { tenant: view.tenant, name: view.name, deleting: true, ..row });
            }
        }
        tracing::info!(actor = %order.actor, batches = batches.len(), "batches are deleted");
        let deleted = finish(Pruner::of_batches(self.store.clone(), options, rows), progress).await?;
        Ok((total, deleted))
    }

    /// Deletes those of the dead letters for good that can be, and counts the others. With an archive they are written
    /// there first.
    ///
    /// # Errors
    ///
    /// Store errors other than `Conflict`; what was discarded before stays discarded.
    pub async fn discard_dead(
        &self,
        order: &Order,
        jobs: &[(JobId, Instant)],
        options: &PrunerOptions,
    ) -> Result<RedriveReport> {
        let (mut report, keys) = (RedriveReport::default(), options.settings.idempotency_keys.0);
        let mut groups: Vec<&[(JobId, Instant)]> = jobs.chunks(GROUP_JOBS_MAX).rev().collect();
        while let Some(group) = groups.pop() {
            // Rehearsed first: only what will be deleted is archived.
            match self.store.discard_dead(&order.tenant, group, keys, true).await {
                Ok(rehearsed) if order.dry_run => add(&mut report.redriven, rehearsed),
                Ok(_) => {
                    self.archive_jobs(group, options).await?;
                    let ids: Vec<JobId> = group.iter().map(|(job, _)| *job).collect();
                    let store = order.at(&self.store, Action::DeadDiscard, some(&ids));
                    add(&mut report.redriven, store.discard_dead(&order.tenant, group, keys, false).await?);
                }
                Err(StoreError::Conflict(reason)) => report.refused(group, reason, &mut groups),
                Err(error) => return Err(error),
            }
        }
        Ok(report)
    }

    async fn archive_jobs(&self, jobs: &[(JobId, Instant)], options: &PrunerOptions) -> Result<()> {
        let folder = &options.settings.archive;
        if folder.is_empty() || jobs.is_empty() {
            return Ok(());
        }
        let keys: Vec<String> = jobs.iter().map(|(job, _)| job.to_string()).collect();
        let documents = self.store.documents(PruneNoun::DeadLetters, None, &keys).await?;
        let file = Archive::new(folder).begin(PruneNoun::DeadLetters, self.store.now().await?).await?;
        file.append(documents).await?.finish().await?;
        Ok(())
    }

    /// Returns the dead letters that match a filter now, each with the instant at which it died.
    ///
    /// # Errors
    ///
    /// Store errors.
    pub async fn matching_dead(&self, filter: &JobFilter) -> Result<Vec<(JobId, Instant)>> {
        let jobs = self.all_jobs(&JobFilter { states: vec![JobState::Dead], ..filter.clone() }).await?;
        Ok(jobs.into_iter().filter_map(|(row, job)| Some((job, row.at?))).collect())
    }

    /// Deletes a queue that has no jobs: its counters, its pause, its settings, and what the broker has for it. With
    /// `finished` its jobs that are done or cancelled, and belong to no batch, are deleted first.
    ///
    /// # Errors
    ///
    /// Store errors: `NotFound`, or `Conflict` while it has jobs or a limit names it.
    pub async fn delete_queue(
        &self,
        order: &Order,
        queue: &str,
        finished: bool,
        options: PrunerOptions,
    ) -> Result<DeletedQueue> {
        let mut deleted = DeletedQueue::default();
        if finished {
            let filter = JobFilter {
                tenant: order.tenant.clone(),
                states: vec![JobState::Done, JobState::Cancelled],
                queue: Some(queue.to_owned()),
                ..JobFilter::default()
            };
            let rows: Vec<ExpiredRow> = self.all_jobs(&filter).await?.into_iter().map(|(row, _)| row).collect();
            deleted.jobs = rows.len() as u64;
            if order.dry_run {
                return Ok(deleted);
            }
            let store = order.at(&self.store, Action::QueueDelete, format!("{queue}: its finished jobs"));
            let pruner = Pruner::of_jobs(store, options, rows, self.store.now().await?);
            deleted.jobs = finish(pruner, |_| {}).await?.rows.get(&PruneNoun::Jobs).copied().unwrap_or(0);
        }
        order.at(&self.store, Action::QueueDelete, queue).delete_queue(queue, order.dry_run).await?;
        if order.dry_run {
            return Ok(deleted);
        }
        tracing::info!(actor = %order.actor, queue, "a queue is deleted");
        if let Some(dispatcher) = self.dispatcher().await {
            match dispatcher.broker().delete_queue(queue).await {
                Ok(messages) => deleted.messages = Some(messages),
                Err(error) => deleted.broker = Some(error.to_string()),
            }
        }
        Ok(deleted)
    }

    /// The jobs without a batch that match a filter.
    async fn all_jobs(&self, filter: &JobFilter) -> Result<Vec<(ExpiredRow, JobId)>> {
        let (mut found, mut page) = (Vec::new(), Page { after: None, limit: PAGE_ROWS });
        loop {
            let jobs = self.store.jobs(filter, &page).await?;
            page.after = jobs.last().filter(|_| jobs.len() == PAGE_ROWS as usize).map(|job| job.id.to_string());
            for job in jobs {
                let row = row(PruneNoun::Jobs, job.id.to_string(), job.finished_at);
                found.push((ExpiredRow { name: job.queue, weight: job.attempt + 1, ..row }, job.id));
            }
            if page.after.is_none() {
                return Ok(found);
            }
        }
    }
}

fn row(noun: PruneNoun, key: String, at: Option<Instant>) -> ExpiredRow {
    let (tenant, name) = (String::new(), String::new());
    ExpiredRow { noun, key, at, tenant, name, unsolved: false, deleting: false, weight: 1 }
}

/// Makes all steps of a pass.
async fn finish(mut pruner: Pruner, mut progress: impl FnMut(&Deleted) + Send) -> Result<Deleted> {
    let mut deleted = Deleted::default();
    loop {
        match pruner.step().await? {
            Step::Worked(report) => {
                deleted.add(&report);
                progress(&deleted);
            }
            Step::Over => return Ok(deleted),
        }
    }
}
