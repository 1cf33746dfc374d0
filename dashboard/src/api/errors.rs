//! Errors by their fingerprints: what was acknowledged, acknowledge, reopen.

use gristmill_service::documents::{AcknowledgementDocument, ReportDocument};

use crate::gate::{Allowed, Answer, Change, Outcome, Params, Path, Routes, perm};

pub(super) fn routes() -> Routes {
    Routes::default()
        .get("/api/v1/errors/acknowledged", "Errors that an operator has seen, the newest first, at most 1,000", list)
        .post(
            "/api/v1/errors/{fingerprint}/acknowledge",
            "Note that an error was seen: it needs no look until it comes again",
            acknowledge,
        )
        .post("/api/v1/errors/{fingerprint}/reopen", "Take that back", reopen)
}

async fn list(caller: Allowed<perm::JobsRead>) -> Outcome<Vec<AcknowledgementDocument>> {
    Ok(Answer::new(caller.store().acknowledged(caller.tenant()).await?))
}

async fn acknowledge(
    caller: Allowed<perm::JobsControl>,
    Path(fingerprint): Path<String>,
    Params(change): Params<Change>,
) -> Outcome<ReportDocument> {
    let report = caller.service().acknowledge_error(&caller.order(&change), &fingerprint).await?;
    Ok(Answer::new(ReportDocument::new(change.dry_run, &report)))
}

async fn reopen(
    caller: Allowed<perm::JobsControl>,
    Path(fingerprint): Path<String>,
    Params(change): Params<Change>,
) -> Outcome<ReportDocument> {
    let report = caller.service().reopen_error(&caller.order(&change), &fingerprint).await?;
    Ok(Answer::new(ReportDocument::new(change.dry_run, &report)))
}
