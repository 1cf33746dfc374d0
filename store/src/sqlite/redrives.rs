//! What has ended with unfinished work, and runs again.

use async_trait::async_trait;
use gristmill_core::id::JobId;
use gristmill_core::job::JobState;

use super::control::finish;
use super::redrive::{SAMPLES, open_next, refuse};
use super::transition::Transition;
use super::{SqliteStore, error, patch, restart, row, split};
use crate::check;
use crate::error::Result;
use crate::{ControlReport, PatchRedrive, PatchReport, Redrives, Restart};

#[async_trait]
impl Redrives for SqliteStore {
    async fn redrive_dead(&self, tenant: &str, jobs: &[JobId], dry_run: bool) -> Result<ControlReport> {
        let mut t = Transition::begin(self).await?;
        let control_report = redrive(&mut t, tenant, jobs).await?;
        finish(t, control_report, dry_run).await
    }

    async fn restart_batch(&self, tenant: &str, restart: &Restart, dry_run: bool) -> Result<ControlReport> {
        restart::restart(self, tenant, restart, dry_run).await
    }

    async fn redrive_patched(&self, tenant: &str, patching: &PatchRedrive, dry_run: bool) -> Result<PatchReport> {
        patch::redrive_patched(self, tenant, patching, dry_run).await
    }

    async fn split_chunk(&self, tenant: &str, job: JobId, dry_run: bool) -> Result<ControlReport> {
        split::split(self, tenant, job, dry_run).await
    }
}

/// Dead letters become `queued` with as many further attempts as they had at first.
pub(super) async fn redrive(t: &mut Transition<'_>, tenant: &str, jobs: &[JobId]) -> Result<ControlReport> {
    let statement = "
        SELECT j.id, j.tenant, j.queue, j.lane, j.batch_id, j.seq, j.items, j.generation, j.kind,
               b.state AS batch_state, b.generation AS batch_generation,
               (SELECT h.id FROM job h WHERE h.tenant = j.tenant AND h.unique_held = j.unique_key AND h.id <> j.id
                    AND h.unique_held IS NOT NULL AND coalesce(j.unique_rule, '') NOT IN ('waiting', 'period')) AS holder
        FROM job j LEFT JOIN batch b ON b.id = j.batch_id
        WHERE j.tenant = ?1 AND j.state = 'dead' AND j.id IN (SELECT unhex(value, '-') FROM json_each(?2))
        ORDER BY j.id";
    let found = t.rows(sqlx::query(statement).bind(tenant.to_owned()).bind(check::json(jobs)?)).await?;
    let mut control_report = ControlReport::default();
    let mut ended = Vec::new();
    let (mut ids, mut affected) = (Vec::with_capacity(found.len()), Vec::with_capacity(found.len()));
    for row in &found {
        let job = row::moved(row)?;
        if let Some(batch) = refuse(row, job.id, job.seq.is_some())? {
            ended.push(batch);
        }
        affected.push(job.id);
        if row::get::<String>(row, "kind")? == "aggregate" && job.batch.is_some() {
            // It does not run again itself: an empty change fires that of the next generation.
            if let Some(batch) = job.batch {
                t.delta(batch);
            }
            continue;
        }
        t.moved(&job, JobState::Dead, JobState::Queued);
        if let Some(batch) = job.chunk_of() {
            let delta = t.delta(batch);
            delta.remaining += 1;
            delta.dead -= 1;
            delta.quarantined -= job.items;
        }
        ids.push(job.id);
    }
    control_report.generation = open_next(t, &ended).await?;
    let statement = "
        UPDATE job SET state = 'queued', max_attempts = max_attempts + granted, queued_at = ?2, finished_at = NULL,
            generation = CASE WHEN seq IS NULL THEN generation
                              ELSE (SELECT b.generation FROM batch b WHERE b.id = job.batch_id) END
        WHERE id IN (SELECT unhex(value, '-') FROM json_each(?1))";
    t.run_or(sqlx::query(statement).bind(check::json(&ids)?).bind(t.now), error::held_key).await?;
    control_report.affected = affected.len() as u64;
    control_report.samples = affected.iter().take(SAMPLES).map(JobId::to_string).collect();
    Ok(control_report)
}
