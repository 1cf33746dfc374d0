//! Dead letters: redrive.

use gristmill_core::audit::Action;
use gristmill_core::id::JobId;
use gristmill_store::{ControlReport, GROUP_JOBS_MAX, Result, StoreError};

use super::{add, some};
use crate::Service;
use crate::order::Order;

/// How many reasons are kept for those that are refused.
const REASONS_MAX: usize = 5;

/// The outcome of redriving or discarding many dead letters.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct RedriveReport {
    /// Those that were redriven, or discarded.
    pub redriven: ControlReport,
    /// How many cannot be now.
    pub refused: u64,
    /// Why, for the first five of them.
    pub reasons: Vec<String>,
}

impl RedriveReport {
    /// What follows when a group is refused because of one of its jobs: its halves are tried next, until the job that
    /// is refused stands alone, and is counted.
    pub(super) fn refused<'a, T>(&mut self, group: &'a [T], reason: String, next: &mut Vec<&'a [T]>) {
        if group.len() > 1 {
            let (left, right) = group.split_at(group.len() / 2);
            next.extend([right, left]);
            return;
        }
        self.refused += 1;
        if self.reasons.len() < REASONS_MAX {
            self.reasons.push(reason);
        }
    }
}

impl Service {
    /// Brings dead letters back with as many attempts again as they had, in groups of at most [`GROUP_JOBS_MAX`], each
    /// one transaction. Jobs that are not dead are passed over.
    ///
    /// # Errors
    ///
    /// Store errors: `NotFound` or `Conflict` when one of them cannot be redriven; its group stays dead then.
    pub async fn redrive_dead(&self, order: &Order, jobs: &[JobId]) -> Result<ControlReport> {
        let mut total = ControlReport::default();
        for group in jobs.chunks(GROUP_JOBS_MAX) {
            let store = order.at(&self.store, Action::DeadRedrive, some(group));
            add(&mut total, self.after(store.redrive_dead(&order.tenant, group, order.dry_run)).await?);
        }
        Ok(total)
    }

    /// Brings back those of the dead letters that can be, and counts the others. When one makes its whole group fail,
    /// halves of the group are tried, until those that cannot be redriven stand alone. Jobs of one batch should be
    /// adjacent, so that its next generation is opened once.
    ///
    /// # Errors
    ///
    /// Store errors other than `Conflict`; earlier groups stay redriven.
    pub async fn redrive_each(&self, order: &Order, jobs: &[JobId]) -> Result<RedriveReport> {
        let mut report = RedriveReport::default();
        for group in jobs.chunks(GROUP_JOBS_MAX) {
            self.redrive_group(order, group, &mut report).await?;
        }
        Ok(report)
    }

    async fn redrive_group(&self, order: &Order, group: &[JobId], report: &mut RedriveReport) -> Result<()> {
        let mut groups = vec![group];
        while let Some(group) = groups.pop() {
            let store = order.at(&self.store, Action::DeadRedrive, some(group));
            match self.after(store.redrive_dead(&order.tenant, group, order.dry_run)).await {
                Ok(redriven) => add(&mut report.redriven, redriven),
                Err(StoreError::Conflict(reason)) => report.refused(group, reason, &mut groups),
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}
