//! What is deleted: everything of a noun that has ended, whole batches, dead letters, queues.

use std::time::Duration;

use gristmill_core::id::JobId;
use gristmill_store::{ExpiredRow, ExpiryLook, Prune, PruneNoun, PruneReport, Result};

use crate::apply::Told as Seen;
use crate::made::{LONG, queue_name};
use crate::operation::{Operation, WALKS};
use crate::side::{Pair, Side, TENANTS, batch_id};

/// What a batch consists of.
const PARTS: [PruneNoun; 3] = [PruneNoun::Chunks, PruneNoun::Results, PruneNoun::Quarantine];

/// Whether an operation is one of these.
pub(crate) fn deletes(operation: &Operation) -> bool {
    matches!(
        operation,
        Operation::Prune { .. }
            | Operation::BeginDeletion { .. }
            | Operation::DeleteBatch { .. }
            | Operation::DiscardDead { .. }
            | Operation::DeleteQueue { .. }
    )
}

pub(crate) async fn apply(seen: &mut Seen<'_>, pair: &Pair<'_>, operation: &Operation) -> Result<String> {
    let side = seen.side;
    let (store, tenant) = (&side.store, TENANTS[0]);
    match operation {
        Operation::Prune { walk, keys } => {
            let noun = WALKS[*walk];
            let rows = store.expired(&ExpiryLook::first(noun)).await?.rows;
            let text = rows_as_text(seen, noun, &rows).await;
            Ok(text + &delete(side, noun, None, &rows, *keys).await?)
        }
        Operation::BeginDeletion { batch, dry } => {
            let report = store.begin_deletion(tenant, batch_id(*batch), None, *dry).await?;
            Ok(format!("affected {}", report.affected))
        }
        Operation::DeleteBatch { batch, keys } => {
            let batch = batch_id(*batch);
            let mut text = String::new();
            for noun in PARTS {
                let look = ExpiryLook { batch: Some(batch), ..ExpiryLook::first(noun) };
                let rows = store.expired(&look).await?.rows;
                text += &delete(side, noun, Some(batch), &rows, *keys).await?;
            }
            let rows = store.expired(&ExpiryLook::first(PruneNoun::Batches)).await?.rows;
            let row: Vec<_> = rows.into_iter().filter(|row| row.key == batch.to_string()).collect();
            Ok(text + &delete(side, PruneNoun::Batches, None, &row, *keys).await?)
        }
        Operation::DiscardDead { job, keys, dry } => {
            let id = side.id(&pair.job(*job));
            let died_at = store.job(tenant, id).await?.and_then(|job| job.finished_at);
            let Some(died_at) = died_at else { return Ok("it has not ended".to_owned()) };
            let report = store.discard_dead(tenant, &[(id, died_at)], keep(*keys), *dry).await?;
            Ok(format!("affected {}", report.affected))
        }
        Operation::DeleteQueue { queue, dry } => {
            let report = store.delete_queue(&queue_name(*queue), *dry).await?;
            Ok(format!("affected {}", report.affected))
        }
        other => unreachable!("{other:?} deletes nothing"),
    }
}

/// What was deleted so far.
pub(crate) async fn look(side: &Side, lines: &mut Vec<String>) {
    let pruned = side.store.pruned().await.expect("listed");
    lines.extend(pruned.iter().map(|view| format!("pruned {} {}", view.noun, view.deleted)));
}

fn keep(keys: bool) -> Duration {
    if keys { LONG } else { Duration::ZERO }
}

async fn delete(
    side: &Side,
    noun: PruneNoun,
    batch: Option<gristmill_core::id::BatchId>,
    rows: &[ExpiredRow],
    keys: bool,
) -> Result<String> {
    let rows = rows.iter().map(|row| (row.key.clone(), row.at)).collect();
    let PruneReport { deleted, keys_kept } = side.store.prune(&Prune { noun, batch, rows, keys: keep(keys) }).await?;
    let deleted: Vec<String> = deleted.iter().map(|(noun, rows)| format!("{rows} {noun}")).collect();
    Ok(format!("{deleted:?} and {keys_kept} keys kept; "))
}

async fn rows_as_text(seen: &mut Seen<'_>, noun: PruneNoun, rows: &[ExpiredRow]) -> String {
    let mut texts = Vec::new();
    for row in rows {
        let ExpiredRow { tenant, name, unsolved, deleting, weight, .. } = row;
        let key = match (noun, row.key.parse()) {
            (PruneNoun::Jobs, Ok(id)) => seen.name(JobId(id)).await,
            _ => String::new(),
        };
        texts.push(format!("{} {key} {tenant} {name} {unsolved} {deleting} {weight}", row.noun));
    }
    texts.sort();
    texts.join("; ")
}
