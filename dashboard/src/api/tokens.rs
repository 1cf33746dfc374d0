//! API tokens: the caller's own, and for those who manage users all of the tenant.

use gristmill_core::access::Permission;
use gristmill_core::duration::Span;
use gristmill_core::id::TokenId;
use gristmill_service::accounts::TokenRequest;
use gristmill_service::documents::{CreatedTokenDocument, ReportDocument, TokenDocument};
use gristmill_store::ControlReport;

use super::asks::{Secretive, person};
use crate::gate::query::Paging;
use crate::gate::{
    Answer, ApiError, Change, Creation, Fields, JsonBody, Made, Object, Outcome, Params, Path, Recognized, Routes,
};

pub(super) fn routes() -> Routes {
    Routes::default()
        .get("/api/v1/tokens", "Tokens of the tenant that are not revoked: your own, or all if you may see users", list)
        .post("/api/v1/tokens", "Create a token of yours: its secret is shown this once", create)
        .delete("/api/v1/tokens/{token}", "Revoke a token, at once: your own, or any if you manage users", revoke)
}

async fn list(caller: Recognized, Params(paging): Params<Paging>) -> Outcome<Vec<TokenDocument>> {
    let of = if caller.may(Permission::UsersRead) { None } else { Some(person(&caller)?) };
    let tokens = caller.store().tokens(caller.tenant(), of, &paging.0).await?;
    let next = paging.next(&tokens, |token| token.id.to_string());
    Ok(Answer::page(tokens, next))
}

/// A token that is asked for.
#[derive(Debug)]
struct TokenBody(TokenRequest);

impl Fields for TokenBody {
    const NAME: &'static str = "TokenRequest";
    const EXAMPLE: &'static str =
        r#"{"name": "nightly import", "scopes": ["jobs:enqueue", "jobs:read"], "lifetime": "90d"}"#;

    fn read(object: &mut Object) -> Option<Self> {
        let name = object.required("name", "What it is called");
        let scopes = object.optional("scopes", "What it is limited to; all that you may do unless said");
        let lifetime: Option<Span> =
            object.optional("lifetime", "For how long it lasts; until it is revoked unless said");
        Some(Self(TokenRequest { name: name?, scopes, lifetime: lifetime.map(|span| span.0) }))
    }
}

async fn create(
    caller: Recognized,
    _: Secretive,
    Params(change): Params<Change>,
    JsonBody(TokenBody(request)): JsonBody<TokenBody>,
) -> Creation<CreatedTokenDocument> {
    let user = person(&caller)?;
    let created = caller.api().accounts().create_token(&caller.order(&change), user, &request).await?;
    Ok(Made::new(created.into()))
}

async fn revoke(
    caller: Recognized,
    Path(token): Path<TokenId>,
    Params(change): Params<Change>,
) -> Outcome<ReportDocument> {
    let of = if caller.may(Permission::UsersChange) { None } else { Some(person(&caller)?) };
    if !caller.api().accounts().revoke_token(&caller.order(&change), token, of).await? {
        return Err(ApiError::not_found(format!("there is no token {token} that is not revoked")));
    }
    let report = ControlReport { affected: 1, samples: vec![token.to_string()], ..ControlReport::default() };
    Ok(Answer::new(ReportDocument::new(false, &report)))
}
