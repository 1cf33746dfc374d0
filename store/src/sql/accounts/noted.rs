//! What the audit learns of a change of accounts, and in whose chain: nothing is asked where no entry is written.
//!
//! What concerns a tenant is in its chain, whichever tenant the order names. What concerns a user alone is in the chain of the tenant of
//! which they have been a member the longest: a tenant that they join later does not draw it away. Of users without a
//! tenant it is in the chain of the installation.

use gristmill_core::email_address::EmailAddress;
use gristmill_core::id::{INSTALLATION_TENANT, UserId};
use serde_json::Value;

use crate::audit::Facts;
use crate::error::Result;
use crate::sql::{Columns, Sql, values};

const HOME: &str = "
SELECT u.id, u.email, (SELECT m.tenant FROM access_membership m WHERE m.user_id = u.id
                       ORDER BY m.created_at, m.tenant LIMIT 1) AS tenant
FROM access_user u WHERE u.id = $1 OR u.email = $2";

/// The change is about a user, who is there at this moment.
pub(super) async fn user<S: Sql>(sql: &mut S, user: UserId) -> Result<(), S::Fault> {
    home(sql, Some(user), None).await
}

/// The change is about the user with an address; the same is asked when no account has it.
pub(super) async fn address<S: Sql>(sql: &mut S, email: &EmailAddress) -> Result<(), S::Fault> {
    home(sql, None, Some(email)).await
}

async fn home<S: Sql>(sql: &mut S, user: Option<UserId>, email: Option<&EmailAddress>) -> Result<(), S::Fault> {
    if sql.facts().is_none() {
        return Ok(());
    }
    let found = sql.row(HOME, values![user.map(|user| user.0), email.map(EmailAddress::as_str)]).await?;
    let known = found.map(|row| Ok::<_, S::Fault>((row.maybe_text("tenant")?, row.text("email")?))).transpose()?;
    let (tenant, known_as) = known.unwrap_or_default();
    let Some(facts) = sql.facts() else { return Ok(()) };
    facts.in_chain(tenant.unwrap_or_else(|| INSTALLATION_TENANT.to_owned()));
    facts.about(email.map_or(known_as, ToString::to_string));
    Ok(())
}

/// The change is about a user's place in a tenant.
pub(super) async fn member<S: Sql>(sql: &mut S, tenant: &str, member: UserId) -> Result<(), S::Fault> {
    user(sql, member).await?;
    if let Some(facts) = sql.facts() {
        facts.in_chain(tenant);
    }
    Ok(())
}

/// The change is in the chain of a tenant.
pub(super) fn tenant<S: Sql>(sql: &mut S, tenant: &str) {
    if let Some(facts) = sql.facts() {
        facts.change();
        facts.in_chain(tenant);
    }
}

/// Something about the change.
pub(super) fn set<S: Sql>(sql: &mut S, key: &str, value: impl Into<Value>) {
    if let Some(facts) = sql.facts() {
        facts.set(key, value);
    }
}

/// More about it, which costs something to say.
pub(super) fn say<S: Sql>(sql: &mut S, say: impl FnOnce(&mut Facts)) {
    if let Some(facts) = sql.facts() {
        say(facts);
    }
}
