//! What has ended with unfinished work, and runs again.

use std::collections::BTreeSet;
use std::sync::Arc;

use async_trait::async_trait;
use gristmill_core::id::JobId;
use gristmill_core::job::JobState;

use super::control::{control_report, finish};
use super::redrive::{open_next, queue_dead, refuse};
use super::state::Job;
use super::transition::Transition;
use super::{ReferenceStore, patch, restart, split};
use crate::error::Result;
use crate::{ControlReport, PatchRedrive, PatchReport, Redrives, Restart};

#[async_trait]
impl Redrives for ReferenceStore {
    async fn redrive_dead(&self, tenant: &str, jobs: &[JobId], dry_run: bool) -> Result<ControlReport> {
        let mut t = Transition::begin(self);
        let asked: BTreeSet<JobId> = jobs.iter().copied().collect();
        let found: Vec<Arc<Job>> = asked
            .iter()
            .filter_map(|id| t.state.jobs.get(id))
            .filter(|job| job.tenant == tenant && job.state == JobState::Dead)
            .cloned()
            .collect();
        let mut ended = BTreeSet::new();
        for job in &found {
            ended.extend(refuse(&t, &found, job)?);
        }
        let generation = open_next(&mut t, &ended)?;
        for job in &found {
            queue_dead(&mut t, job);
        }
        let control_report = ControlReport { generation, ..control_report(found.iter().map(|job| job.id)) };
        finish(t, control_report, dry_run)
    }

    async fn restart_batch(&self, tenant: &str, restart: &Restart, dry_run: bool) -> Result<ControlReport> {
        restart::restart(self, tenant, restart, dry_run)
    }

    async fn redrive_patched(&self, tenant: &str, patching: &PatchRedrive, dry_run: bool) -> Result<PatchReport> {
        patch::redrive_patched(self, tenant, patching, dry_run)
    }

    async fn split_chunk(&self, tenant: &str, job: JobId, dry_run: bool) -> Result<ControlReport> {
        split::split(self, tenant, job, dry_run)
    }
}
