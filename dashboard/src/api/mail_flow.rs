//! Mail relays and recipients' domains: list, suspend, resume. They are shared by all tenants, and so for those alone who
//! may see the whole installation.

use gristmill_core::duration::Span;
use gristmill_service::documents::ReportDocument;
use gristmill_store::{MailDomainView, MailRelayView};

use crate::gate::{Answer, Change, Fields, JsonBody, Object, Outcome, Overseer, Paging, Params, Path, Routes, perm};

pub(super) fn routes() -> Routes {
    Routes::default()
        .get("/api/v1/mail/relays", "Every mail relay that a worker has used: whether it is used now", relays)
        .post("/api/v1/mail/relays/{relay}/suspend", "Hand no mail to a relay until it is resumed", suspend_relay)
        .post("/api/v1/mail/relays/{relay}/resume", "Use a relay again at once", resume_relay)
        .get("/api/v1/mail/domains", "Recipients' domains that are held back, or for which messages wait", domains)
        .post("/api/v1/mail/domains/{domain}/suspend", "Send nothing to a domain; its messages wait", suspend_domain)
        .post("/api/v1/mail/domains/{domain}/resume", "Send to a domain again; what waits tries at once", resume_domain)
}

async fn relays(caller: Overseer<perm::EmailsRead>) -> Outcome<Vec<MailRelayView>> {
    Ok(Answer::new(caller.whole_store().mail_flow().await?.relays))
}

async fn suspend_relay(
    caller: Overseer<perm::EmailsControl>,
    Path(relay): Path<String>,
    Params(change): Params<Change>,
) -> Outcome<ReportDocument> {
    let report = caller.api().service().suspend_relay(&caller.order(&change), &relay).await?;
    Ok(Answer::new(ReportDocument::new(change.dry_run, &report)))
}

async fn resume_relay(
    caller: Overseer<perm::EmailsControl>,
    Path(relay): Path<String>,
    Params(change): Params<Change>,
) -> Outcome<ReportDocument> {
    let report = caller.api().service().resume_relay(&caller.order(&change), &relay).await?;
    Ok(Answer::new(ReportDocument::new(change.dry_run, &report)))
}

async fn domains(caller: Overseer<perm::EmailsRead>, Params(paging): Params<Paging>) -> Outcome<Vec<MailDomainView>> {
    let found = caller.whole_store().mail_domains(&paging.0).await?;
    let next = paging.next(&found, |view| view.domain.name.clone());
    Ok(Answer::page(found, next))
}

/// For how long a domain is suspended.
#[derive(Debug, Clone, PartialEq)]
struct SuspendBody(Option<Span>);

impl Fields for SuspendBody {
    const NAME: &'static str = "SuspendDomainRequest";
    const EXAMPLE: &'static str = r#"{"for": "2h"}"#;

    fn read(object: &mut Object) -> Option<Self> {
        Some(Self(object.optional("for", "For how long, such as `2h`; until it is resumed unless said")))
    }
}

async fn suspend_domain(
    caller: Overseer<perm::EmailsControl>,
    Path(domain): Path<String>,
    Params(change): Params<Change>,
    JsonBody(SuspendBody(keep)): JsonBody<SuspendBody>,
) -> Outcome<ReportDocument> {
    let keep = keep.map(|keep| keep.0);
    let report = caller.api().service().suspend_domain(&caller.order(&change), &domain, keep).await?;
    Ok(Answer::new(ReportDocument::new(change.dry_run, &report)))
}

async fn resume_domain(
    caller: Overseer<perm::EmailsControl>,
    Path(domain): Path<String>,
    Params(change): Params<Change>,
) -> Outcome<ReportDocument> {
    let report = caller.api().service().resume_domain(&caller.order(&change), &domain).await?;
    Ok(Answer::new(ReportDocument::new(change.dry_run, &report)))
}
