//! What a step does to a batch. One that is cancelled is remembered first, in the same transaction.

use gristmill_core::id::BatchId;
use gristmill_core::operation::OperationVerb;

use super::Operating;
use super::changed::Changed;
use super::sought::Target;
use super::table::Stored;
use crate::error::Result;
use crate::sql::{deletion, values};
use crate::{ControlReport, Pause, Restart};

const REMEMBER: &str = "
INSERT INTO operation_batch (operation_id, batch_id, tenant, paused, paused_by, paused_reason, at)
SELECT $1, b.id, b.tenant, b.paused, b.paused_by, b.paused_reason, now() FROM batch b
WHERE b.id = $2 AND b.tenant = $3 AND b.state IN ('open', 'sealed', 'aggregating')";

/// Does what an operation is for to the selected batch.
pub(super) async fn change<S: Operating>(
    sql: &mut S,
    operation: &Stored,
    selected: &[Target],
) -> Result<Changed, S::Fault> {
    let mut all = Changed::default();
    for target in selected {
        let Target::Batch(batch) = *target else { continue };
        let report = steer(sql, operation, batch).await?;
        all.done += 1;
        all.samples.push(batch.to_string());
        all.dispatched.dispatches.extend(report.dispatched.dispatches);
        all.dispatched.moved += report.dispatched.moved;
    }
    Ok(all)
}

async fn steer<S: Operating>(sql: &mut S, operation: &Stored, batch: BatchId) -> Result<ControlReport, S::Fault> {
    let view = &operation.view;
    let tenant = &view.tenant;
    match operation.verb() {
        OperationVerb::PauseBatches => {
            let pause = Pause { by: Some(view.actor.clone()), reason: Some(view.reason.clone()) };
            sql.pause_batch(tenant, batch, Some(&pause)).await
        }
        OperationVerb::ResumeBatches => sql.pause_batch(tenant, batch, None).await,
        OperationVerb::RestartBatches => {
            let restart = Restart { batch, failure_budget: None, dead: false };
            sql.restart_batch(tenant, &restart).await
        }
        OperationVerb::DeleteBatches => deletion::begin(sql, &(tenant.as_str(), batch, None)).await,
        _ => {
            sql.run(REMEMBER, values![view.id.0, batch.0, tenant]).await?;
            sql.cancel_batch(tenant, batch, &view.reason).await
        }
    }
}
