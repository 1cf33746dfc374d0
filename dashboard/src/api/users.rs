//! The members of the tenant: list, give another role, remove.

use gristmill_core::access::Role;
use gristmill_core::id::UserId;
use gristmill_service::documents::{MemberDocument, ReportDocument};
use gristmill_store::ControlReport;

use super::asks::appointer;
use crate::gate::query::Paging;
use crate::gate::{Allowed, Answer, Change, Fields, JsonBody, Object, Outcome, Params, Path, Routes, perm};

pub(super) fn routes() -> Routes {
    Routes::default()
        .get("/api/v1/users", "The members of the tenant, by address", list)
        .patch("/api/v1/users/{user}", "Give a member another role", set_role)
        .delete("/api/v1/users/{user}", "Remove a member, with their tokens for the tenant", remove)
}

async fn list(caller: Allowed<perm::UsersRead>, Params(paging): Params<Paging>) -> Outcome<Vec<MemberDocument>> {
    let members = caller.store().members(caller.tenant(), &paging.0).await?;
    let next = paging.next(&members, |member| member.email.clone());
    Ok(Answer::page(members, next))
}

/// A role for a member.
#[derive(Debug)]
struct RoleBody(Role);

impl Fields for RoleBody {
    const NAME: &'static str = "RoleRequest";
    const EXAMPLE: &'static str = r#"{"role": "operator"}"#;

    fn read(object: &mut Object) -> Option<Self> {
        object.required("role", "The role that they get").map(Self)
    }
}

async fn set_role(
    caller: Allowed<perm::UsersChange>,
    Path(user): Path<UserId>,
    Params(change): Params<Change>,
    JsonBody(RoleBody(role)): JsonBody<RoleBody>,
) -> Outcome<ReportDocument> {
    let (order, by) = (caller.order(&change), appointer(&caller));
    let before = caller.api().accounts().set_role(&order, by, user, role).await?;
    Ok(Answer::new(report(user, u64::from(before != Some(role)))))
}

async fn remove(
    caller: Allowed<perm::UsersChange>,
    Path(user): Path<UserId>,
    Params(change): Params<Change>,
) -> Outcome<ReportDocument> {
    let (order, by) = (caller.order(&change), appointer(&caller));
    caller.api().accounts().remove_member(&order, by, user).await?;
    Ok(Answer::new(report(user, 1)))
}

fn report(user: UserId, affected: u64) -> ReportDocument {
    ReportDocument::new(false, &ControlReport { affected, samples: vec![user.to_string()], ..ControlReport::default() })
}
