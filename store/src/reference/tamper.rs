//! What a test may change and read behind the store's back.

use std::sync::{Arc, PoisonError};
use std::time::Duration;

use chrono::TimeDelta;
use gristmill_core::Instant;
use gristmill_core::id::{BatchId, JobId, WorkerId};
use serde_json::Value;

use super::ReferenceStore;
use super::state::{State, later};
use crate::Purpose;

/// Before everything that a store does.
const LONG_AGO: Instant = Instant::UNIX_EPOCH;

impl ReferenceStore {
    /// Ends a worker's lease.
    pub fn end_lease(&self, worker: WorkerId) {
        self.change(|state| {
            if let Some(worker) = state.workers.get_mut(&worker) {
                Arc::make_mut(worker).lease_until = LONG_AGO;
            }
        });
    }

    /// Makes a waiting job due: long ago, plus `later`.
    pub fn make_due(&self, job: JobId, later: TimeDelta) {
        self.change(|state| {
            if let Some(job) = state.job_mut(job) {
                job.run_at = job.run_at.map(|_| LONG_AGO + later);
            }
        });
    }

    /// Moves the deadline of a running job into the past.
    pub fn pass_deadline(&self, job: JobId) {
        self.change(|state| {
            if let Some(job) = state.job_mut(job) {
                job.deadline = job.deadline.map(|_| LONG_AGO);
            }
        });
    }

    /// Moves the time by which a batch should have ended into the past.
    pub fn make_late(&self, batch: BatchId) {
        self.change(|state| {
            if let Some(batch) = state.batch_mut(batch) {
                batch.late_at = batch.late_at.map(|_| LONG_AGO);
            }
        });
    }

    /// Makes a job have waited since long ago.
    pub fn wait_long(&self, job: JobId) {
        self.change(|state| {
            if let Some(job) = state.job_mut(job) {
                job.queued_at = job.queued_at.map(|_| LONG_AGO);
                job.aged_at = job.aged_at.map(|_| LONG_AGO);
            }
        });
    }

    /// Moves the time up to which every rate is used up into the past.
    pub fn pass_rates(&self) {
        self.change(|state| {
            for used_to in state.buckets.values_mut() {
                *used_to = LONG_AGO;
            }
            for domain in state.mail_domains.values_mut() {
                domain.used_to = Some(LONG_AGO);
            }
        });
    }

    /// Makes every planner have been silent since long ago.
    pub fn age_plans(&self) {
        self.change(|state| {
            for batch in state.batches.values_mut() {
                Arc::make_mut(batch).planned_at = LONG_AGO;
            }
        });
    }

    /// Makes every outbox row that is held stay held for that much longer.
    pub fn hold_outbox(&self, longer: Duration) {
        self.change(|state| {
            for row in state.outbox.values_mut().map(Arc::make_mut) {
                row.held_until = row.held_until.map(|until| later(until, longer));
            }
        });
    }

    /// Releases every outbox row that is held.
    pub fn let_go_outbox(&self) {
        self.change(|state| {
            for row in state.outbox.values_mut() {
                Arc::make_mut(row).held_until = None;
            }
        });
    }

    /// Deletes everything in it.
    pub fn empty(&self) {
        self.change(|state| *state = State::new(self.seed));
    }

    /// Every row of the outbox: its number, its purpose, its jobs, and whether it is held.
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
