//! Access tokens: asked for with a password, renewed with a refresh token, revoked; and the keys that verify them.

use axum::response::Response;
use gristmill_service::accounts::{Login, Secret};
use gristmill_service::documents::{IssuedTokensDocument, JsonWebKeysDocument, ReportDocument};
use gristmill_store::ControlReport;

use super::asks::{Agent, network, secret, strangers};
use super::bare;
use super::session::LoginBody;
use crate::gate::describe::{BARE, Endpoint, Replies, Reply};
use crate::gate::{Answer, Fields, JsonBody, Object, Open, Outcome, Result, Routes};

pub(super) fn routes() -> Routes {
    Routes::default()
        .post("/api/v1/auth/token", "Log in: an access token for 15 minutes, and a refresh token", issue)
        .post("/api/v1/auth/refresh", "Another pair of tokens for a refresh token, which is spent", refresh)
        .post("/api/v1/auth/revoke", "End the session of a refresh token, with its access token", revoke)
        .get("/.well-known/jwks.json", "The keys that verify access tokens: RFC 7517, without an envelope", keys)
}

async fn issue(open: Open, Agent(agent): Agent, JsonBody(body): JsonBody<LoginBody>) -> Outcome<IssuedTokensDocument> {
    let LoginBody { account, password, code } = body;
    let login = Login { account, password, code, address: network(&open), agent, replaces: None };
    Ok(Answer::new(open.api.accounts().issue_tokens(&strangers(&open), &login).await?.into()))
}

/// A refresh token.
#[derive(Debug)]
struct RefreshBody(Secret);

impl Fields for RefreshBody {
    const NAME: &'static str = "RefreshRequest";
    const EXAMPLE: &'static str = r#"{"refresh_token": "gmr_OD7CB3ruPYCAsTu3Dw3mSGkXJjdUCI3rDP7rfJ7ijws"}"#;

    fn read(object: &mut Object) -> Option<Self> {
        secret(object, "refresh_token", "The refresh token that came with the last pair").map(Self)
    }
}

async fn refresh(open: Open, JsonBody(RefreshBody(token)): JsonBody<RefreshBody>) -> Outcome<IssuedTokensDocument> {
    Ok(Answer::new(open.api.accounts().refresh_tokens(&strangers(&open), &token).await?.into()))
}

/// Whether there was such a session shows in how many ended: only its owner, or a thief, has the token and can ask.
async fn revoke(open: Open, JsonBody(RefreshBody(token)): JsonBody<RefreshBody>) -> Outcome<ReportDocument> {
    let ended = open.api.accounts().revoke_refresh(&strangers(&open), &token).await?;
    let report = ControlReport { affected: u64::from(ended), ..ControlReport::default() };
    Ok(Answer::new(ReportDocument::new(false, &report)))
}

/// Keys as others read them.
#[derive(Debug)]
struct Keys(JsonWebKeysDocument);

impl axum::response::IntoResponse for Keys {
    fn into_response(self) -> Response {
        bare::answer(&self.0)
    }
}

impl Replies for Result<Keys> {
    fn describe(endpoint: &mut Endpoint) {
        let schema = endpoint.schema::<JsonWebKeysDocument>();
        endpoint.replies.push(Reply { status: 200, media: BARE, schema });
    }
}

async fn keys(open: Open) -> Result<Keys> {
    Ok(Keys(open.api.accounts().access_keys().await?.into()))
}
