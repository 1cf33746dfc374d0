//! Quarantined items are patched and run again.

use gristmill_core::batch::BatchState;
use gristmill_core::id::{BatchId, JobId};
use gristmill_core::inline::InlineItem;
use gristmill_core::job::JobState;
use sqlx::QueryBuilder;
use uuid::Uuid;

use super::SqliteStore;
use super::create::{self, Common, no_batch};
use super::redrive::open_next;
use super::row;
use super::transition::Transition;
use crate::check;
use crate::error::Result;
use crate::patched::{chunk_size, mended, packed};
use crate::redrives::redrives_items;
use crate::{GROUP_JOBS_MAX, NewChunk, PatchRedrive, PatchReport};

pub(super) async fn redrive_patched(
    store: &SqliteStore,
    tenant: &str,
    patching: &PatchRedrive,
    dry_run: bool,
) -> Result<PatchReport> {
    let mut t = Transition::begin(store).await?;
    let mut report = redrive(&mut t, tenant, patching).await?;
    t.tell(&report);
    if !dry_run {
        report.dispatched = t.commit().await?.dispatched;
    }
    Ok(report)
}

/// The requested items become new chunks.
pub(super) async fn redrive(t: &mut Transition<'_>, tenant: &str, patching: &PatchRedrive) -> Result<PatchReport> {
    chunk_size(patching.chunk)?;
    let batch = patching.batch;
    let statement = "SELECT state, definition, trace FROM batch WHERE id = ?1 AND tenant = ?2";
    let found = t.row(sqlx::query(statement).bind(batch.0).bind(tenant.to_owned())).await?;
    let found = found.ok_or_else(|| no_batch(batch))?;
    let state: BatchState = row::word(&found, "state")?;
    redrives_items(batch, state)?;
    let mended = mended(open_items(t, patching).await?, &patching.mend);
    let mut report = mended.report;
    if mended.ids.is_empty() {
        return Ok(report);
    }
    let statement = "UPDATE quarantine SET state = 'redriven' WHERE id IN (SELECT value FROM json_each(?1))";
    t.run(sqlx::query(statement).bind(check::json(&mended.ids)?)).await?;
    report.generation = open_next(t, &[batch]).await?;
    let common = Common {
        batch,
        tenant: tenant.to_owned(),
        trace: row::get(&found, "trace")?,
        generation: generation_of(t, batch).await?,
        state: JobState::Queued,
    };
    let definition = row::json(&found, "definition")?;
    let next = "SELECT coalesce(max(seq), -1) + 1 AS next FROM job WHERE batch_id = ?1";
    let next = t.rows(sqlx::query(next).bind(batch.0)).await?;
    let next: i64 = next.first().map(|row| row::get(row, "next")).transpose()?.unwrap_or(0);
    let mut rows = Vec::new();
    for (seq, payload) in (next..).zip(packed(&mended.items, patching.chunk)?) {
        rows.push(create::chunk_row(&common, &definition, &NewChunk { id: JobId(Uuid::now_v7()), seq, payload })?);
    }
    for group in rows.chunks(GROUP_JOBS_MAX) {
        create::insert_chunks(t, batch, group).await?;
    }
    // They have been counted as input already, and are pending again.
    let count = i64::try_from(mended.items.len()).unwrap_or(i64::MAX);
    let delta = t.delta(batch);
    delta.input -= count;
    delta.quarantined -= count;
    Ok(report)
}

/// The requested open items, in the order of the input.
async fn open_items(t: &mut Transition<'_>, patching: &PatchRedrive) -> Result<Vec<(i64, InlineItem)>> {
    let mut query =
        QueryBuilder::new("SELECT id, position, line, item FROM quarantine WHERE state = 'open' AND batch_id = ");
    query.push_bind(patching.batch.0);
    let which = &patching.which;
    if !which.items.is_empty() {
        query.push(" AND id IN (SELECT value FROM json_each(").push_bind(check::json(&which.items)?).push("))");
    }
    if let Some(stage) = &which.stage {
        query.push(" AND stage = ").push_bind(stage.clone());
    }
    if let Some(reason) = &which.reason {
        query.push(" AND instr(reason, ").push_bind(reason.clone()).push(") > 0");
    }
    if let Some(from) = which.from {
        query.push(" AND position >= ").push_bind(i64::try_from(from).unwrap_or(i64::MAX));
    }
    if let Some(to) = which.to {
        query.push(" AND position <= ").push_bind(i64::try_from(to).unwrap_or(i64::MAX));
    }
    query.push(" ORDER BY position, id");
    let rows = t.built(&mut query).await?;
    rows.iter()
        .map(|row| {
            let line: Option<i64> = row::get(row, "line")?;
            let line = line.and_then(|line| u64::try_from(line).ok());
            let item = InlineItem { position: row::number(row, "position")?, line, item: row::any_json(row, "item")? };
            Ok((row::get(row, "id")?, item))
        })
        .collect()
}

async fn generation_of(t: &mut Transition<'_>, batch: BatchId) -> Result<u32> {
    let rows = t.rows(sqlx::query("SELECT generation FROM batch WHERE id = ?1").bind(batch.0)).await?;
    rows.first().ok_or_else(|| no_batch(batch)).and_then(|row| row::number(row, "generation"))
}
