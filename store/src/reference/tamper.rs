//! What a test may change behind the store's back, and look at.

use std::sync::{Arc, PoisonError};
use std::time::Duration;

use gristmill_core::Instant;
use gristmill_core::id::{BatchId, JobId, WorkerId};
use serde_json::Value;

use super::ReferenceStore;
use super::state::{State, ago};
use crate::Purpose;

impl ReferenceStore {
    /// Lets a worker's lease be over, as if that much time had passed for it alone.
    pub fn end_lease(&self, worker: WorkerId) {
        let over = ago(self.clock.now(), Duration::from_secs(1));
        self.change(|state| {
            if let Some(worker) = state.workers.get_mut(&worker) {
                Arc::make_mut(worker).lease_until = over;
            }
        });
    }

    /// Lets the time be come that a job waits for.
    pub fn make_due(&self, job: JobId) {
        let over = ago(self.clock.now(), Duration::from_secs(1));
        self.change(|state| {
            if let Some(job) = state.job_mut(job) {
                job.run_at = job.run_at.map(|_| over);
            }
        });
    }

    /// Lets the deadline be past of a job that runs.
    pub fn pass_deadline(&self, job: JobId) {
        let over = ago(self.clock.now(), Duration::from_secs(1));
        self.change(|state| {
            if let Some(job) = state.job_mut(job) {
                job.deadline = job.deadline.map(|_| over);
            }
        });
    }

    /// Lets a job wait in its queue for as long already.
    pub fn age_queued(&self, job: JobId, by: Duration) {
        self.change(|state| {
            if let Some(job) = state.job_mut(job) {
                job.queued_at = job.queued_at.map(|at| ago(at, by));
            }
        });
    }

    /// Lets a batch's planner have been silent for as long.
    pub fn age_plan(&self, batch: BatchId, by: Duration) {
        self.change(|state| {
            if let Some(batch) = state.batch_mut(batch) {
                batch.planned_at = ago(batch.planned_at, by);
            }
        });
    }

    /// Every row of the outbox: its number, what it is for, its jobs, and whether somebody holds it.
    pub fn outbox(&self) -> Vec<(i64, Purpose, Vec<JobId>, Option<Instant>)> {
        self.look(|state| {
            let rows = state.outbox.iter();
            rows.map(|(id, row)| (*id, row.purpose, row.jobs.clone(), row.held_until)).collect()
        })
    }

    /// The rows that completions have written into one of the user's tables, oldest first.
    pub fn table(&self, name: &str) -> Vec<Value> {
        self.look(|state| state.tables.get(name).into_iter().flatten().map(|row| (**row).clone()).collect())
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.truth.lock().unwrap_or_else(PoisonError::into_inner));
    }

    fn look<T>(&self, look: impl FnOnce(&State) -> T) -> T {
        look(&self.truth.lock().unwrap_or_else(PoisonError::into_inner))
    }
}
