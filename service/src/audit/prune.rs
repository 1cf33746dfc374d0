//! Removes entries that are kept for long enough: first into the archive, then out of the store.

use gristmill_core::Instant;
use gristmill_core::audit::{Action, ChainEnd, SealedEntry};
use gristmill_store::{AuditHead, Result, StoreError, StoreHandle};

use super::archived::NOUN;
use crate::order::{Actor, Order};
use crate::retention::{Archive, RetentionSettings};

/// How many entries one step archives and removes.
const STEP_ROWS: u32 = 5_000;

/// Removes the entries of all tenants that are older than `[retention] audit` says, each step first into the archive if
/// there is one, and returns how many they were. A removal is itself an entry. The last entry of a chain stays.
///
/// # Errors
///
/// Store errors, and `Unavailable` when the archive cannot be written: nothing was removed then that is not in it.
pub async fn prune(store: &StoreHandle, settings: &RetentionSettings) -> Result<u64> {
    let Some(before) = settings.audit.before(store.now().await?) else { return Ok(0) };
    let mut removed = 0;
    for head in store.audit_heads(None).await? {
        let (tenant, mut behind) = (head.tenant.clone(), head.pruned.seq);
        while let Some((rows, to)) = step(store, settings, &head, behind, before).await? {
            behind = to;
            removed += rows;
            tracing::debug!(tenant, to, "entries of the audit are removed after their time");
        }
    }
    Ok(removed)
}

/// One step. `None` when nothing is left to do.
async fn step(
    store: &StoreHandle,
    settings: &RetentionSettings,
    head: &AuditHead,
    behind: u64,
    before: Instant,
) -> Result<Option<(u64, u64)>> {
    let found = store.audit_behind(&head.tenant, behind, STEP_ROWS).await?;
    let old = |found: &SealedEntry| found.entry.at <= before && found.entry.seq < head.end.seq;
    let old: Vec<SealedEntry> = found.into_iter().take_while(old).collect();
    let Some(last) = old.last().map(|last| ChainEnd { seq: last.entry.seq, hash: last.hash }) else {
        return Ok(None);
    };
    archive(store, settings, &old).await?;
    let order = Order::new(&head.tenant, Actor::Duty("prune"));
    let attribution = order.attribution(Action::AuditPrune, format!("entries up to {}", last.seq));
    match store.prune_audit(&attribution, last).await {
        Ok(removed) => Ok(Some((removed, last.seq))),
        // Another scheduler was first.
        Err(StoreError::Conflict(_)) => Ok(None),
        Err(error) => Err(error),
    }
}

async fn archive(store: &StoreHandle, settings: &RetentionSettings, entries: &[SealedEntry]) -> Result<()> {
    if settings.archive.is_empty() {
        return Ok(());
    }
    let lines = entries.iter().map(serde_json::to_value).collect::<Result<Vec<_>, _>>();
    let lines = lines.map_err(|error| StoreError::Invalid(format!("an entry of the audit: {error}")))?;
    let file = Archive::new(&settings.archive).begin(NOUN, store.now().await?).await?;
    file.append(lines).await?.finish().await?;
    Ok(())
}
