//! A mailing of which too many recipients bounce is held: the batch is paused, and says why.

use gristmill_core::id::BatchId;
use gristmill_store::Store;

/// Judges a mailing after a recipient has bounced. When the process dies before that,
/// the next bounce does: without one the share of bounces only falls.
pub async fn mailing(store: &dyn Store, tenant: &str, batch: BatchId) {
    let plan = match store.batch_plan(batch).await {
        Ok(plan) => plan,
        Err(error) => return tracing::warn!(batch.id = %batch, %error, "the bounces of a mailing were not judged"),
    };
    let Some(mail) = plan.and_then(|plan| plan.definition.mail).filter(|mail| mail.bounce_budget.is_some()) else {
        return;
    };
    match store.hold_mailing(tenant, batch, &mail).await {
        Ok(None) => {}
        Ok(Some(reason)) => tracing::warn!(batch.id = %batch, reason, "mailing paused; see `gristmill batch show`"),
        Err(error) => tracing::warn!(batch.id = %batch, %error, "the bounces of a mailing were not judged"),
    }
}
