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
        for log in logs {
            let key = (log.fence.job, log.fence.attempt);
            let had = t.state.jobs.get(&log.fence.job).is_some_and(|job| job.attempt >= log.fence.attempt);
            let is_newer = t
                .state
                .logs
                .get(&key)
                .is_none_or(|kept| kept.worker != log.fence.worker || kept.revision < log.revision);
            if had && is_newer {
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
