//! Messages that no worker can act upon are kept before they are acknowledged, by the process that received them.

use gristmill_broker::Delivery;
use gristmill_store::{NewPoison, Poison, PoisonSource, Result};

/// Why a readable message is kept: no job has the id that it names, nor did any job of a batch that was taken back. Its
/// sender writes to another store, or the database was restored from a backup that is too old.
pub const NO_JOB: &str = "no job has this id";

/// Keeps these messages and commits. Only then may they be acknowledged: afterwards the store has the only copy.
/// `reason` applies to those that can be read.
///
/// # Errors
///
/// Store errors. Then none of them is kept, and none may be acknowledged.
pub async fn record_poison<'d>(
    store: &dyn Poison,
    deliveries: impl IntoIterator<Item = &'d Delivery>,
    source: PoisonSource,
    reason: &str,
) -> Result<()> {
    let poison: Vec<NewPoison> = deliveries.into_iter().map(|delivery| evidence(delivery, source, reason)).collect();
    store.record_poison(&poison).await?;
    metrics::counter!("gristmill_poison_total").increment(poison.len() as u64);
    for one in poison {
        tracing::error!(
            queue = one.queue,
            bytes = one.size,
            sha256 = one.sha256,
            reason = one.reason,
            "a message is poison; see `gristmill poison list`"
        );
    }
    Ok(())
}

fn evidence(delivery: &Delivery, source: PoisonSource, reason: &str) -> NewPoison {
    let found = delivery.evidence(reason);
    NewPoison {
        queue: delivery.queue.clone(),
        sha256: found.sha256,
        size: found.size as u64,
        bytes: found.bytes,
        headers: delivery.headers(),
        reason: found.reason,
        source,
    }
}
