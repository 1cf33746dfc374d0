//! Quarantined items are patched and run again.

use std::collections::BTreeSet;
use std::sync::Arc;

use gristmill_core::inline::InlineItem;

use super::ReferenceStore;
use super::create::{insert_chunks, no_batch};
use super::redrive::open_next;
use super::split::next_number;
use super::state::{Quarantined, signed};
use super::transition::Transition;
use crate::error::Result;
use crate::patched::{chunk_size, mended, packed};
use crate::redrives::redrives_items;
use crate::{NewChunk, PatchRedrive, PatchReport};

pub(super) fn redrive_patched(
    store: &ReferenceStore,
    tenant: &str,
    patching: &PatchRedrive,
    dry_run: bool,
) -> Result<PatchReport> {
    let mut t = Transition::begin(store);
    let mut report = redrive(&mut t, tenant, patching)?;
    if !dry_run {
        report.dispatched = t.commit()?.dispatched;
    }
    Ok(report)
}

/// The requested items become new chunks.
pub(super) fn redrive(t: &mut Transition<'_>, tenant: &str, patching: &PatchRedrive) -> Result<PatchReport> {
    chunk_size(patching.chunk)?;
    let id = patching.batch;
    let batch = t.state.batches.get(&id).filter(|batch| batch.tenant == tenant);
    let state = batch.ok_or_else(|| no_batch(id))?.state;
    redrives_items(id, state)?;
    let mut found: Vec<(i64, InlineItem)> =
        t.state.quarantine.values().filter(|item| asked(item, patching)).map(|item| inline(item)).collect();
    found.sort_by_key(|(id, item)| (item.position, *id));
    let mended = mended(found, &patching.mend);
    let mut report = mended.report;
    if mended.ids.is_empty() {
        return Ok(report);
    }
    for item in &mended.ids {
        if let Some(item) = t.state.quarantine.get_mut(item) {
            Arc::make_mut(item).view.state = "redriven".to_owned();
        }
    }
    report.generation = open_next(t, &BTreeSet::from([id]))?;
    let (next, now) = (next_number(t, id), t.now);
    let mut chunks = Vec::new();
    for (seq, payload) in (next..).zip(packed(&mended.items, patching.chunk)?) {
        chunks.push(NewChunk { id: t.state.ids.job(now), seq, payload });
    }
    insert_chunks(t, id, &chunks)?;
    // They have been counted as input already, and are pending again.
    let count = signed(mended.items.len() as u64);
    let delta = t.delta(id);
    delta.input -= count;
    delta.quarantined -= count;
    Ok(report)
}

/// Whether an item is open and meets every condition given.
fn asked(item: &Quarantined, patching: &PatchRedrive) -> bool {
    let (view, which) = (&item.view, &patching.which);
    view.batch == patching.batch
        && view.state == "open"
        && (which.items.is_empty() || which.items.contains(&view.id))
        && which.stage.as_ref().is_none_or(|stage| view.stage == *stage)
        && which.reason.as_ref().is_none_or(|reason| view.reason.contains(reason.as_str()))
        && which.from.is_none_or(|from| view.position >= from)
        && which.to.is_none_or(|to| view.position <= to)
}

fn inline(item: &Quarantined) -> (i64, InlineItem) {
    let view = &item.view;
    (view.id, InlineItem { position: view.position, line: view.line, item: view.item.clone() })
}
