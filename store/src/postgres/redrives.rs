//! What has ended with unfinished work, and runs again.

use async_trait::async_trait;
use gristmill_core::id::JobId;

use super::connect::control;
use super::redrive::redrive_dead;
use super::{PostgresStore, patch, restart, split};
use crate::error::Result;
use crate::{ControlReport, PatchRedrive, PatchReport, Redrives, Restart};

#[async_trait]
impl Redrives for PostgresStore {
    async fn redrive_dead(&self, tenant: &str, jobs: &[JobId], dry_run: bool) -> Result<ControlReport> {
        control!(self, dry_run, redrive_dead, (tenant, jobs))
    }

    async fn restart_batch(&self, tenant: &str, restart: &Restart, dry_run: bool) -> Result<ControlReport> {
        control!(self, dry_run, restart::restart, (tenant, restart))
    }

    async fn redrive_patched(&self, tenant: &str, patching: &PatchRedrive, dry_run: bool) -> Result<PatchReport> {
        control!(self, dry_run, patch::redrive_patched, (tenant, patching))
    }

    async fn split_chunk(&self, tenant: &str, job: JobId, dry_run: bool) -> Result<ControlReport> {
        control!(self, dry_run, split::split, (tenant, job))
    }
}
