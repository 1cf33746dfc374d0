//! Messages that no worker can act upon: list, show, drop. They say nothing of whose they are.

use gristmill_service::documents::{PoisonDocument, PoisonMessageDocument, ReportDocument};

use crate::gate::{Answer, ApiError, Change, Outcome, Overseer, Paging, Parameters, Params, Path, Query, Routes, perm};

pub(super) fn routes() -> Routes {
    Routes::default()
        .get("/api/v1/poison", "Messages that were kept, newest first", list)
        .get("/api/v1/poison/{message}", "One message with its headers and its first bytes", show)
        .delete("/api/v1/poison/{message}", "Forget a message", remove)
}

async fn list(caller: Overseer<perm::PoisonRead>, Params(paging): Params<Paging>) -> Outcome<Vec<PoisonDocument>> {
    let found = caller.store().poison(&paging.0).await?;
    let next = paging.next(&found, |one| one.id.to_string());
    Ok(Answer::page(found, next))
}

/// How the bytes are shown.
struct Hex(bool);

impl Parameters for Hex {
    fn read(query: &mut Query) -> Self {
        Self(query.flag("hex", "The bytes in hexadecimal in any case"))
    }
}

async fn show(
    caller: Overseer<perm::PoisonRead>,
    Path(id): Path<i64>,
    Params(hex): Params<Hex>,
) -> Outcome<PoisonMessageDocument> {
    let found = caller.store().poison_message(id).await?.ok_or_else(|| missing(id))?;
    Ok(Answer::new(PoisonMessageDocument::new(found, hex.0)))
}

fn missing(id: i64) -> ApiError {
    ApiError::not_found(format!("there is no message {id} among the poison"))
}

async fn remove(
    caller: Overseer<perm::PoisonControl>,
    Path(id): Path<i64>,
    Params(change): Params<Change>,
) -> Outcome<ReportDocument> {
    let report = caller.service().drop_poison(&caller.order(&change), &[id]).await?;
    if report.affected == 0 {
        return Err(missing(id));
    }
    Ok(Answer::new(ReportDocument::new(change.dry_run, &report)))
}
