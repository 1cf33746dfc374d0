//! Invitations to the tenant: list, invite, withdraw.

use gristmill_core::access::Role;
use gristmill_core::email_address::EmailAddress;
use gristmill_core::id::LinkId;
use gristmill_service::documents::{InvitationDocument, ReportDocument};
use gristmill_store::{ControlReport, Page};

use super::asks::{appointer, email};
use crate::gate::query::Paging;
use crate::gate::{
    Allowed, Answer, ApiError, Change, Creation, Fields, JsonBody, Made, Object, Outcome, Params, Path, Routes, perm,
};

pub(super) fn routes() -> Routes {
    Routes::default()
        .get("/api/v1/invitations", "Open invitations to the tenant, newest first", list)
        .post("/api/v1/invitations", "Invite somebody to the tenant by a mail", invite)
        .delete("/api/v1/invitations/{invitation}", "Withdraw an invitation", withdraw)
}

async fn list(caller: Allowed<perm::UsersRead>, Params(paging): Params<Paging>) -> Outcome<Vec<InvitationDocument>> {
    let invitations = caller.store().invitations(caller.tenant(), &paging.0).await?;
    let next = paging.next(&invitations, |invitation| invitation.id.to_string());
    Ok(Answer::page(invitations, next))
}

/// A person to be invited.
#[derive(Debug)]
struct InvitationBody {
    email: EmailAddress,
    role: Role,
}

impl Fields for InvitationBody {
    const NAME: &'static str = "InvitationRequest";
    const EXAMPLE: &'static str = r#"{"email": "bob@example.com", "role": "viewer"}"#;

    fn read(object: &mut Object) -> Option<Self> {
        let email = email(object);
        let role = object.required("role", "The role that they get");
        Some(Self { email: email?, role: role? })
    }
}

async fn invite(
    caller: Allowed<perm::UsersChange>,
    Params(change): Params<Change>,
    JsonBody(InvitationBody { email, role }): JsonBody<InvitationBody>,
) -> Creation<InvitationDocument> {
    let (order, by) = (caller.order(&change), appointer(&caller));
    let id = caller.api().accounts().invite(&order, by, &email, role).await?;
    let invitations = caller.store().invitations(caller.tenant(), &Page::default()).await?;
    let made = invitations.into_iter().find(|invitation| invitation.id == id);
    made.map(Made::new).ok_or_else(|| ApiError::conflict("the invitation was withdrawn or accepted at once"))
}

async fn withdraw(
    caller: Allowed<perm::UsersChange>,
    Path(invitation): Path<LinkId>,
    Params(change): Params<Change>,
) -> Outcome<ReportDocument> {
    if !caller.api().accounts().withdraw_invitation(&caller.order(&change), invitation).await? {
        return Err(ApiError::not_found(format!("there is no open invitation {invitation}")));
    }
    let samples = vec![invitation.to_string()];
    let report = ControlReport { affected: 1, samples, ..ControlReport::default() };
    Ok(Answer::new(ReportDocument::new(false, &report)))
}
