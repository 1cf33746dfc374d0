//! The caller's sessions: list, end.

use gristmill_core::id::SessionId;
use gristmill_service::documents::{ReportDocument, SessionDocument};
use gristmill_store::ControlReport;
use gristmill_store::accounts::WhichSessions;

use super::asks::{OwnSession, person};
use crate::gate::query::Paging;
use crate::gate::{Answer, ApiError, Change, Outcome, Params, Path, Recognized, Routes};

pub(super) fn routes() -> Routes {
    Routes::default()
        .get("/api/v1/sessions", "Your sessions, newest first", list)
        .delete("/api/v1/sessions", "End all of your sessions but the one that asks", end_others)
        .delete("/api/v1/sessions/{session}", "End one of your sessions, at once", end)
}

async fn list(caller: Recognized, Params(paging): Params<Paging>) -> Outcome<Vec<SessionDocument>> {
    let sessions = caller.whole_store().sessions(person(&caller)?, &paging.0).await?;
    let next = paging.next(&sessions, |session| session.id.to_string());
    Ok(Answer::page(sessions, next))
}

async fn end(
    caller: Recognized,
    Path(session): Path<SessionId>,
    Params(change): Params<Change>,
) -> Outcome<ReportDocument> {
    let user = person(&caller)?;
    let which = WhichSessions::One(session);
    let ended = caller.api().accounts().end_sessions(&caller.order(&change), user, which).await?;
    if ended == 0 {
        return Err(ApiError::not_found(format!("you have no session {session}")));
    }
    Ok(Answer::new(report(ended)))
}

async fn end_others(
    caller: Recognized,
    OwnSession(own): OwnSession,
    Params(change): Params<Change>,
) -> Outcome<ReportDocument> {
    let user = person(&caller)?;
    let which = WhichSessions::AllBut(own.map(|own| own.hash()));
    Ok(Answer::new(report(caller.api().accounts().end_sessions(&caller.order(&change), user, which).await?)))
}

fn report(affected: u64) -> ReportDocument {
    ReportDocument::new(false, &ControlReport { affected, ..ControlReport::default() })
}
