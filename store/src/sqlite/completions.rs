//! Completions, and what halts a batch.

use async_trait::async_trait;
use gristmill_core::id::BatchId;
use gristmill_core::settle::Verdict;

use super::complete::{end_batch, holders, refused_rows, try_sink, write_sink};
use super::done::done;
use super::settle::{Settlement, settle};
use super::transition::Transition;
use super::{SqliteStore, insert, stop};
use crate::check;
use crate::error::Result;
use crate::group;
use crate::sql::{events, mailing};
use crate::{CompleteReport, Completion, Completions, ControlReport, RefusedRow, SqlRows};

#[async_trait]
impl Completions for SqliteStore {
    async fn complete(&self, completions: &[Completion]) -> Result<CompleteReport> {
        check::completions(completions)?;
        if completions.is_empty() {
            return Ok(CompleteReport::default());
        }
        if group::are_simply_done(completions)
            && let Some(report) = done(self, completions).await?
        {
            return Ok(report);
        }
        let mut t = Transition::begin_short(self).await?;
        let contested = group::contested(completions);
        let holders = holders(&mut t, &contested).await?;
        let (first, mut fenced) = group::one_each(completions, &contested, &holders);
        let settlements: Vec<Settlement<'_>> = first.iter().map(|one| Settlement::of(one)).collect();
        let moved = settle(&mut t, &settlements).await?;
        let (held, lost): (Vec<&Completion>, Vec<_>) =
            first.into_iter().partition(|one| moved.contains_key(&one.fence.job));
        fenced.extend(lost.into_iter().map(|one| one.fence));
        for rows in held.iter().filter_map(|one| one.sql.as_ref()) {
            write_sink(&mut t, rows).await?;
        }
        let (mut follow, mut emitted) = (Vec::new(), Vec::new());
        for one in &held {
            if end_batch(&mut t, one).await? {
                follow.extend(one.follow.iter().cloned());
                emitted.extend(one.events.iter().cloned());
            }
        }
        if !follow.is_empty() {
            insert::new_jobs(&mut t, &follow).await?;
        }
        for messages in held.iter().filter(|one| one.verdict == Verdict::Done).filter_map(|one| one.messages.as_ref()) {
            mailing::enqueue(&mut t, messages).await?;
        }
        events::published::emit(&mut t, &emitted).await?;
        let settled = held.len() as u64;
        let committed = t.commit().await?;
        Ok(CompleteReport { settled, fenced, dispatched: committed.dispatched, progress: committed.progress })
    }

    async fn try_sink(&self, table: &str, columns: &[String]) -> Result<()> {
        try_sink(self, table, columns).await
    }

    async fn refused_rows(&self, rows: &SqlRows) -> Result<Vec<RefusedRow>> {
        refused_rows(self, rows).await
    }

    async fn halt_batch(&self, batch: BatchId, generation: u32, reason: &str) -> Result<ControlReport> {
        stop::halt(self, batch, generation, reason).await
    }
}
