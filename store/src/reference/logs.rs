//! Logs of attempts.

use async_trait::async_trait;
use gristmill_core::Instant;
use gristmill_core::id::JobId;

use super::ReferenceStore;
use super::state::{KeptLog, most};
use super::transition::Transition;
use crate::error::Result;
use crate::{LOGS_MAX, LogView, Logs, NewLog};

#[async_trait]
impl Logs for ReferenceStore {
    async fn write_logs(&self, logs: &[NewLog]) -> Result<u64> {
        let mut t = Transition::begin(self);
        let mut written = std::collections::BTreeSet::new();
        let mut sorted: Vec<&NewLog> = logs.iter().collect();
        sorted.sort_unstable_by_key(|log| (log.fence, log.revision));
        for log in sorted {
            let key = (log.fence.job, log.fence.attempt);
            let Some(job) = t.state.jobs.get(&log.fence.job) else { continue };
            let (had, is_last) = (job.attempt >= log.fence.attempt, job.attempt == log.fence.attempt);
            let holds = is_last && job.worker == Some(log.fence.worker);
            let is_late = is_last && job.worker.is_some() && !holds;
            let is_newer = t.state.logs.get(&key).is_none_or(|kept| match kept.worker == log.fence.worker {
                true => kept.revision < log.revision,
                false => holds,
            });
            if had && is_newer && !is_late {
                let (attempt, said, lines) = (log.fence.attempt, log.said, log.lines.clone());
                let view = LogView { attempt, written_at: t.now, said, lines };
                t.state.logs.insert(key, KeptLog { worker: log.fence.worker, revision: log.revision, view });
                written.insert(key);
            }
        }
        t.commit()?;
        Ok(written.len() as u64)
    }

    async fn logs(&self, tenant: &str, job: JobId, attempt: Option<u32>, limit: u32) -> Result<Vec<LogView>> {
        let t = Transition::begin(self);
        if t.state.jobs.get(&job).is_none_or(|job| job.tenant != tenant) {
            return Ok(Vec::new());
        }
        let own = t.state.logs.range((job, 0)..=(job, u32::MAX)).rev().map(|(_, kept)| &kept.view);
        let asked = own.filter(|view| attempt.is_none_or(|attempt| attempt == view.attempt));
        Ok(asked.take(most(limit.min(LOGS_MAX))).cloned().collect())
    }

    async fn prune_logs(&self, before: Instant, limit: u32) -> Result<u64> {
        let mut t = Transition::begin(self);
        let old = t.state.logs.iter().filter(|(_, kept)| kept.view.written_at < before);
        let mut old: Vec<_> = old.map(|(key, kept)| (kept.view.written_at, *key)).collect();
        old.sort_unstable();
        old.truncate(most(limit));
        for (_, key) in &old {
            t.state.logs.remove(key);
        }
        t.commit()?;
        Ok(old.len() as u64)
    }
}
