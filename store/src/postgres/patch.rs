//! Quarantined items are patched and run again.

use gristmill_core::batch::BatchState;
use gristmill_core::id::JobId;
use gristmill_core::inline::InlineItem;
use sqlx::{Postgres, QueryBuilder};
use uuid::Uuid;

use super::create::{self, PlanRow, no_batch};
use super::fault::{Fault, Outcome};
use super::redrive::reopen;
use super::values::{big, count, from_any_json, plain};
use super::work::Work;
use crate::error::StoreError;
use crate::patched::{chunk_size, mended, packed};
use crate::redrives::redrives_items;
use crate::row;
use crate::{GROUP_JOBS_MAX, NewChunk, PatchRedrive, PatchReport};

const NEXT_SEQ: &str = "SELECT COALESCE(max(seq) + 1, 0) FROM job WHERE batch_id = $1 AND seq IS NOT NULL";

const GROW: &str = "
UPDATE batch SET chunks = chunks + $2, remaining = remaining + $2, quarantined = quarantined - $3 WHERE id = $1";

row! {
    struct ItemRow {
        id: i64,
        position: i64,
        line: Option<i64>,
        item: String,
    }
}

/// Quarantined items become new chunks.
pub(super) async fn redrive_patched(
    work: &mut Work<'_>,
    (tenant, patching): &(&str, &PatchRedrive),
) -> Outcome<PatchReport> {
    chunk_size(patching.chunk)?;
    let batch = patching.batch;
    let plan = PlanRow::read(work, batch).await?;
    if plan.tenant != *tenant {
        return Err(no_batch(batch).into());
    }
    let state: BatchState =
        plan.state.parse().map_err(|error| StoreError::Database(format!("a batch's state: {error}")))?;
    redrives_items(batch, state)?;
    let rows: Vec<ItemRow> = open_items(tenant, patching).build_query_as().fetch_all(&mut *work.conn).await?;
    let found = rows.into_iter().map(item).collect::<Result<Vec<_>, _>>()?;
    let mended = mended(found, &patching.mend);
    let mut report = mended.report;
    if mended.ids.is_empty() {
        return Ok(report);
    }
    report.generation = reopen(work, batch, Some(tenant)).await?;
    sqlx::query("UPDATE quarantine SET state = 'redriven' WHERE id = ANY($1)")
        .bind(&mended.ids)
        .execute(&mut *work.conn)
        .await?;
    let chunks = add(work, patching, &mended.items).await?;
    sqlx::query(GROW)
        .bind(batch.0)
        .bind(big(chunks))
        .bind(big(mended.ids.len() as u64))
        .execute(&mut *work.conn)
        .await?;
    report.dispatched = work.close().await?;
    Ok(report)
}

/// The requested open items, in the order of the input.
fn open_items(tenant: &str, patching: &PatchRedrive) -> QueryBuilder<Postgres> {
    let mut query =
        QueryBuilder::new("SELECT id, position, line, item FROM quarantine WHERE state = 'open' AND batch_id = ");
    query.push_bind(patching.batch.0).push(" AND tenant = ").push_bind(plain(tenant).into_owned());
    let which = &patching.which;
    if !which.items.is_empty() {
        query.push(" AND id = ANY(").push_bind(which.items.clone()).push(")");
    }
    if let Some(stage) = &which.stage {
        query.push(" AND stage = ").push_bind(plain(stage).into_owned());
    }
    if let Some(reason) = &which.reason {
        query.push(" AND strpos(reason, ").push_bind(plain(reason).into_owned()).push(") > 0");
    }
    if let Some(from) = which.from {
        query.push(" AND position >= ").push_bind(big(from));
    }
    if let Some(to) = which.to {
        query.push(" AND position <= ").push_bind(big(to));
    }
    query.push(" ORDER BY position, id FOR UPDATE");
    query
}

async fn add(work: &mut Work<'_>, patching: &PatchRedrive, items: &[InlineItem]) -> Outcome<u64> {
    let batch = patching.batch;
    let first: i64 = sqlx::query_scalar(NEXT_SEQ).bind(batch.0).fetch_one(&mut *work.conn).await?;
    let payloads = packed(items, patching.chunk)?;
    let chunks: Vec<NewChunk> =
        (first..).zip(payloads).map(|(seq, payload)| NewChunk { id: JobId(Uuid::now_v7()), seq, payload }).collect();
    // Read again: the batch's row is locked now, and has its new generation. A halt does not apply to these chunks: it
    // has cancelled what it found, and an operator who redrives does so knowingly.
    let plan = PlanRow { halting: false, ..PlanRow::read(work, batch).await? };
    for group in chunks.chunks(GROUP_JOBS_MAX) {
        if create::insert_chunks(work, batch, &plan, group).await?.len() != group.len() {
            return Err(Fault::Changed);
        }
    }
    Ok(chunks.len() as u64)
}

fn item(row: ItemRow) -> Result<(i64, InlineItem), StoreError> {
    let item = InlineItem {
        position: count(row.position),
        line: row.line.map(count),
        item: from_any_json(&row.item, &format!("quarantined item {}", row.id))?,
    };
    Ok((row.id, item))
}
