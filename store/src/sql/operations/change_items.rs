//! What a step does to quarantined items, all of one batch.

use gristmill_core::batch::BatchState;
use gristmill_core::id::BatchId;
use gristmill_core::operation::OperationVerb;

use super::Operating;
use super::changed::Changed;
use super::sought::Target;
use super::table::Stored;
use crate::check;
use crate::error::{Result, StoreError};
use crate::redrives::redrives_items;
use crate::retention::being_deleted;
use crate::sql::{Columns, values};
use crate::{ControlReport, Dispatched, PatchRedrive, QuarantineWhich};

/// How many items make a chunk, as of a redrive of one batch.
const CHUNK_ITEMS: u64 = 500;

/// How many samples a step has in the audit.
const SAMPLES: usize = 5;

const BATCH: &str = "
SELECT b.state, CASE WHEN b.deleting_at IS NULL THEN 0 ELSE 1 END AS deleting
FROM batch b WHERE b.id = $1 AND b.tenant = $2";

/// As they are now, and locked until the end of the transaction.
const LOCK: &str = "
SELECT q.id FROM quarantine q WHERE q.id IN (SELECT value::bigint FROM json_array_elements_text($1::json))
  AND q.tenant = $2 AND q.state = 'open' ORDER BY q.id FOR UPDATE";

const SET_ASIDE: &str = "
INSERT INTO operation_item (operation_id, item_id, tenant, batch_id, seq, generation, position, line, stage, reason, item,
                            created_at)
SELECT $1, q.id, q.tenant, q.batch_id, q.seq, q.generation, q.position, q.line, q.stage, q.reason, q.item, q.created_at
FROM quarantine q WHERE q.id IN (SELECT value::bigint FROM json_array_elements_text($2::json)) AND q.state = 'open'";

const TAKE_OUT: &str = "
DELETE FROM quarantine WHERE id IN (SELECT value::bigint FROM json_array_elements_text($1::json)) AND state = 'open'";

/// Does what an operation is for to the selected items.
pub(super) async fn change<S: Operating>(
    sql: &mut S,
    operation: &Stored,
    selected: &[Target],
) -> Result<Changed, S::Fault> {
    let item = |target: &Target| match target {
        Target::Item(item, batch) => Some((*item, *batch)),
        Target::Job(_) | Target::Batch(_) => None,
    };
    let (items, batches): (Vec<i64>, Vec<BatchId>) = selected.iter().filter_map(item).unzip();
    let Some(batch) = batches.first() else { return Ok(Changed::default()) };
    match operation.verb() {
        OperationVerb::DiscardItems => discard(sql, operation, &items).await,
        _ => redrive(sql, operation, *batch, &items).await,
    }
}

async fn redrive<S: Operating>(
    sql: &mut S,
    operation: &Stored,
    batch: BatchId,
    items: &[i64],
) -> Result<Changed, S::Fault> {
    let tenant = &operation.view.tenant;
    let Some(row) = sql.row(BATCH, values![batch.0, tenant]).await? else { return Ok(Changed::skipped(items.len())) };
    let (state, deleting): (BatchState, _) = (row.word("state")?, row.number::<i64>("deleting")? == 1);
    drop(row);
    let refusal = if deleting { Some(being_deleted(batch)) } else { redrives_items(batch, state).err() };
    if let Some(StoreError::Conflict(why)) = refusal {
        return Ok(Changed::refused(items.len(), &why));
    }
    let which = QuarantineWhich { items: items.to_vec(), ..QuarantineWhich::default() };
    let patching = PatchRedrive { which, ..PatchRedrive::new(batch, CHUNK_ITEMS) };
    let report = sql.redrive_items(tenant, &patching).await?;
    let samples = report.samples.iter().map(|sample| sample.id.to_string()).collect();
    let redriven = ControlReport { affected: report.redriven, samples, ..ControlReport::default() };
    Ok(Changed { dispatched: report.dispatched, ..Changed::of(items.len(), redriven) })
}

/// They are kept whole until it can be undone no more.
async fn discard<S: Operating>(sql: &mut S, operation: &Stored, items: &[i64]) -> Result<Changed, S::Fault> {
    let rows = sql.rows(LOCK, values![check::json(&items)?, &operation.view.tenant]).await?;
    let there = rows.iter().map(|row| row.number("id")).collect::<Result<Vec<i64>>>()?;
    drop(rows);
    let ids = check::json(&there)?;
    sql.run(SET_ASIDE, values![operation.view.id.0, &ids]).await?;
    let affected = sql.run(TAKE_OUT, values![&ids]).await?;
    let samples = there.iter().take(SAMPLES).map(i64::to_string).collect();
    let dispatched = Dispatched::default();
    Ok(Changed::of(items.len(), ControlReport { affected, samples, dispatched, ..ControlReport::default() }))
}
