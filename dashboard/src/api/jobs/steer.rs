//! Jobs: retry, cancel, wait.

use std::time::{Duration, Instant};

use gristmill_core::id::JobId;
use gristmill_service::documents::{JobDocument, ReportDocument};
use gristmill_store::why;

use super::{find, shown};
use crate::api::patience::Patience;
use crate::gate::{Allowed, Answer, Change, Outcome, Params, Path, perm};

pub(super) async fn retry(
    caller: Allowed<perm::JobsControl>,
    Path(job): Path<JobId>,
    Params(change): Params<Change>,
) -> Outcome<ReportDocument> {
    let report = caller.service().retry_job(&caller.order(&change), job).await?;
    Ok(Answer::new(ReportDocument::new(change.dry_run, &report)))
}

pub(super) async fn cancel(
    caller: Allowed<perm::JobsControl>,
    Path(job): Path<JobId>,
    Params(change): Params<Change>,
) -> Outcome<ReportDocument> {
    let report = caller.service().cancel_job(&caller.order(&change), job).await?;
    Ok(Answer::new(ReportDocument::new(change.dry_run, &report)))
}

/// Answers when the job is final, or when the time is over: its state says which.
pub(super) async fn wait(
    caller: Allowed<perm::JobsRead>,
    Path(id): Path<JobId>,
    Params(patience): Params<Patience>,
) -> Outcome<JobDocument> {
    let until = Instant::now() + patience.0;
    let mut pause = Duration::from_millis(50);
    loop {
        let job = find(&caller, id).await?;
        let left = until.saturating_duration_since(Instant::now());
        if job.state.is_final() {
            return Ok(Answer::new(shown(&caller, job)));
        }
        if left.is_zero() {
            let waits = why(caller.whole_store(), &job).await?;
            return Ok(Answer::new(shown(&caller, job).waiting_for(waits)));
        }
        tokio::time::sleep(pause.min(left)).await;
        pause = (pause * 2).min(Duration::from_secs(1));
    }
}
