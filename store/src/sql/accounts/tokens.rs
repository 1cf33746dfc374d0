//! API tokens.

use gristmill_core::access::{Principal, Role, Subject};
use gristmill_core::id::{TokenId, UserId};
use serde_json::json;

use super::sessions::{a_minute_ago, is_stale};
use super::{judged, noted, person};
use crate::Page;
use crate::accounts::{NewToken, Quotas, Recognition, Recognized, SecretHash, TOKEN_SCOPES_MAX, TokenView};
use crate::check;
use crate::error::{Result, StoreError};
use crate::sql::{Columns, Sql, values};

const CREATE: &str = "
INSERT INTO access_token (id, hash, prefix, user_id, tenant, name, scopes, created_at, expires_at)
VALUES ($1, $2, $3, $4, $5, $6, $7, now(), $8)";

const TOKENS: &str = "
SELECT t.id, t.name, t.prefix, t.tenant, t.user_id, u.email, t.scopes, t.created_at, t.expires_at, t.last_used_at
FROM access_token t JOIN access_user u ON u.id = t.user_id
WHERE t.tenant = $1 AND t.revoked_at IS NULL AND ($2::uuid IS NULL OR t.user_id = $2)
  AND ($3::uuid IS NULL OR t.id < $3) ORDER BY t.id DESC LIMIT $4";

const REVOKE: &str = "
UPDATE access_token SET revoked_at = now()
WHERE tenant = $1 AND id = $2 AND revoked_at IS NULL AND ($3::uuid IS NULL OR user_id = $3)
RETURNING name, user_id";

const RECOGNIZE: &str = "
SELECT t.id, t.user_id, t.name, t.tenant, t.scopes, t.last_used_at, u.email, u.installation, m.role, n.state, n.quotas
FROM access_token t JOIN access_user u ON u.id = t.user_id JOIN access_tenant n ON n.name = t.tenant
LEFT JOIN access_membership m ON m.tenant = t.tenant AND m.user_id = t.user_id
WHERE t.hash = $1 AND t.revoked_at IS NULL AND (t.expires_at IS NULL OR t.expires_at > now()) AND u.state = 'active'";

const TOUCH: &str = "
UPDATE access_token SET last_used_at = now() WHERE id = $1 AND (last_used_at IS NULL OR last_used_at <= $2)";

/// Creates a token of a member.
pub(crate) async fn create<S: Sql>(sql: &mut S, token: &NewToken) -> Result<TokenView, S::Fault> {
    person::lock(sql, &token.tenant).await?;
    let Some(role) = judged::role(sql, &token.tenant, token.user).await? else {
        let what = format!("the user is no member of `{}`; a token is a member's", token.tenant);
        return Err(StoreError::NotFound(what).into());
    };
    check_scopes(token, role)?;
    let expires_at = match token.lifetime {
        None => None,
        Some(lifetime) if lifetime.is_zero() => {
            return Err(StoreError::Invalid("a token lasts longer than no time".to_owned()).into());
        }
        Some(lifetime) => Some(sql.now().await? + lifetime),
    };
    let scopes = token.scopes.as_ref().map(check::json).transpose()?;
    let values = values![
        token.id.0,
        token.hash.to_vec(),
        check::plain(&token.prefix, 20),
        token.user.0,
        &token.tenant,
        person::name("token", &token.name)?,
        scopes,
        expires_at,
    ];
    sql.run(CREATE, values).await?;
    noted::member(sql, &token.tenant, token.user).await?;
    noted::say(sql, |facts| {
        facts.set("token", token.id.to_string());
        facts.set("name", check::plain(&token.name, check::REASON_CHARS_MAX));
        facts.set("scopes", json!(token.scopes));
        facts.set("expires_at", json!(expires_at));
    });
    // The newest of this user's: its id is the greatest.
    let page = Page::default();
    let mine = list(sql, &token.tenant, Some(token.user), &page).await?;
    let missing = || StoreError::Database("the token that was created is not there".to_owned());
    mine.into_iter().find(|view| view.id == token.id).ok_or_else(|| missing().into())
}

/// A scope that the owner's role does not allow would only seem to allow something.
fn check_scopes(token: &NewToken, role: Role) -> Result<()> {
    let Some(scopes) = &token.scopes else { return Ok(()) };
    check::at_most(scopes.len(), TOKEN_SCOPES_MAX, "scopes")?;
    if scopes.is_empty() {
        let what = "a token without any scope allows nothing; name scopes, or leave them out for all of its user's";
        return Err(StoreError::Invalid(what.to_owned()));
    }
    match scopes.iter().find(|scope| !role.allows(**scope)) {
        None => Ok(()),
        Some(scope) => Err(StoreError::Invalid(format!(
            "the scope `{scope}` is not allowed to the role `{role}` of the token's user; leave it out"
        ))),
    }
}

/// Tokens that are not revoked, newest first.
pub(crate) async fn list<S: Sql>(
    sql: &mut S,
    tenant: &str,
    user: Option<UserId>,
    page: &Page,
) -> Result<Vec<TokenView>, S::Fault> {
    let values = values![tenant, user.map(|user| user.0), page.after_id()?, page.rows()];
    let rows = sql.rows(TOKENS, values).await?;
    Ok(rows.iter().map(view).collect::<Result<_>>()?)
}

/// Revokes a token.
pub(crate) async fn revoke<S: Sql>(
    sql: &mut S,
    (tenant, token, of): &(&str, TokenId, Option<UserId>),
) -> Result<bool, S::Fault> {
    let Some(row) = sql.row(REVOKE, values![*tenant, token.0, of.map(|user| user.0)]).await? else { return Ok(false) };
    let (name, user) = (row.text("name")?, row.id("user_id")?);
    drop(row);
    noted::member(sql, tenant, user).await?;
    noted::say(sql, |facts| {
        facts.change();
        facts.set("token", token.to_string());
        facts.set("name", name);
    });
    Ok(true)
}

/// The caller whose token it is.
pub(crate) async fn recognize<S: Sql>(
    sql: &mut S,
    hash: &SecretHash,
    tenant: Option<&str>,
) -> Result<Option<Recognition>, S::Fault> {
    let Some(row) = sql.row(RECOGNIZE, values![hash.to_vec()]).await? else { return Ok(None) };
    let now = sql.now().await?;
    Ok(Some(recognition(&row, tenant, now)?))
}

fn recognition(row: &impl Columns, asked: Option<&str>, now: gristmill_core::Instant) -> Result<Recognition> {
    let tenant = row.text("tenant")?;
    if asked.is_some_and(|asked| asked != tenant) || row.maybe_text("role")?.is_none() {
        return Ok(Recognition::NotMember);
    }
    if row.text("state")? != "active" {
        return Ok(Recognition::Suspended);
    }
    let scopes: Option<Vec<_>> = row.maybe_json("scopes")?;
    let principal = Principal {
        subject: Subject::Token { token: row.id("id")?, user: row.id("user_id")? },
        name: format!("{} of {}", row.text("name")?, row.text("email")?),
        tenant,
        role: row.word("role")?,
        installation: row.flag("installation")? && scopes.is_none(),
        scopes,
    };
    let stale = is_stale(row.maybe_instant("last_used_at")?, now);
    let quotas: Quotas = row.json("quotas")?;
    let requests_per_minute = quotas.requests_per_minute;
    Ok(Recognition::Known(Recognized { principal, stale, requests_per_minute }))
}

/// Notes that a token was used.
pub(crate) async fn touch<S: Sql>(sql: &mut S, token: &TokenId) -> Result<(), S::Fault> {
    let before = a_minute_ago(sql.now().await?);
    sql.run(TOUCH, values![token.0, before]).await?;
    Ok(())
}

fn view(row: &impl Columns) -> Result<TokenView> {
    Ok(TokenView {
        id: row.id("id")?,
        name: row.text("name")?,
        prefix: row.text("prefix")?,
        tenant: row.text("tenant")?,
        user: row.id("user_id")?,
        email: row.text("email")?,
        scopes: row.maybe_json("scopes")?,
        created_at: row.instant("created_at")?,
        expires_at: row.maybe_instant("expires_at")?,
        last_used_at: row.maybe_instant("last_used_at")?,
    })
}
