//! What is written and checked of a user in more than one transition.

use gristmill_core::access::Role;
use gristmill_core::id::UserId;

use super::noted;
use crate::accounts::NewUser;
use crate::check;
use crate::error::{Result, StoreError};
use crate::sql::{Columns, Sql, values};

const CREATE: &str = "
INSERT INTO access_user (id, email, name, password, state, installation, created_at)
VALUES ($1, $2, $3, $4, $5, $6, now()) ON CONFLICT DO NOTHING";

const JOIN: &str = "
INSERT INTO access_membership (tenant, user_id, role, created_at) VALUES ($1, $2, $3, now()) ON CONFLICT DO NOTHING";

const LOCK: &str = "SELECT name FROM access_tenant WHERE name = $1 FOR UPDATE";

const END: &str = "
UPDATE access_session SET revoked_at = now()
WHERE user_id = $1 AND revoked_at IS NULL AND ($2 OR hash <> $3)";

const FORGET_LOGINS: &str = "
DELETE FROM access_identity WHERE user_id = $1 AND ($2::text IS NULL OR issuer <> $2)";

/// How many characters a name of a person or a token has at most.
const NAME_CHARS_MAX: usize = 200;

/// How many bytes the hash of a password has at most.
const HASH_BYTES_MAX: usize = 500;

/// Creates a user.
pub(super) async fn create<S: Sql>(sql: &mut S, user: &NewUser) -> Result<(), S::Fault> {
    let values = values![
        user.id.0,
        user.email.as_str(),
        name("person", &user.name)?,
        user.password.as_deref().map(hash).transpose()?,
        user.state.as_str(),
        user.installation,
    ];
    if sql.run(CREATE, values).await? == 0 {
        let what = format!("`{}` has an account already; change it, or use another address", user.email);
        return Err(StoreError::Conflict(what).into());
    }
    if let Some((tenant, role)) = &user.member {
        join(sql, tenant, user.id, *role).await?;
    }
    Ok(())
}

/// Makes a user a member of a tenant, whose row it locks.
pub(super) async fn join<S: Sql>(sql: &mut S, tenant: &str, user: UserId, role: Role) -> Result<(), S::Fault> {
    lock(sql, tenant).await?;
    if sql.run(JOIN, values![tenant, user.0, role.as_str()]).await? == 0 {
        return Err(member_already(tenant).into());
    }
    Ok(())
}

/// Locks a tenant.
pub(super) async fn lock<S: Sql>(sql: &mut S, tenant: &str) -> Result<(), S::Fault> {
    match sql.row(LOCK, values![tenant]).await? {
        Some(_) => Ok(()),
        None => Err(no_tenant(tenant).into()),
    }
}

/// Forgets by which logins elsewhere a user is known, but for those of one issuer, and ends the sessions that they may have
/// opened: who gets a place in a tenant, or owns something from now on, was linked when they were less, perhaps by an address
/// alone, and no provider gets further by what its people become elsewhere. They log in with a password and link it anew, or
/// are taken by their address again where that is allowed. The caller has locked the user.
pub(super) async fn forget_logins<S: Sql>(sql: &mut S, user: UserId, but: Option<&str>) -> Result<(), S::Fault> {
    let forgotten = sql.run(FORGET_LOGINS, values![user.0, but]).await?;
    if forgotten > 0 {
        end_sessions(sql, user, None).await?;
        noted::set(sql, "logins_forgotten", forgotten);
    }
    Ok(())
}

/// Ends the sessions of a user, but for the one with this secret.
pub(super) async fn end_sessions<S: Sql>(sql: &mut S, user: UserId, keep: Option<[u8; 32]>) -> Result<u64, S::Fault> {
    let all = keep.is_none();
    sql.run(END, values![user.0, all, keep.unwrap_or_default().to_vec()]).await
}

/// The name of a person or a token.
pub(super) fn name(of: &str, text: &str) -> Result<String> {
    let text = text.trim();
    let long = text.chars().nth(NAME_CHARS_MAX).is_some();
    if text.is_empty() || long || text.contains(char::is_control) {
        let shown = check::plain(text, 40);
        return Err(StoreError::Invalid(format!(
            "`{}` cannot be the name of a {of}; it must have 1 to {NAME_CHARS_MAX} characters, none of them a control \
             character",
            shown.replace(char::is_control, " ")
        )));
    }
    Ok(text.to_owned())
}

/// The hash of a password: a PHC string, and never a password by mistake.
pub(super) fn hash(text: &str) -> Result<&str> {
    if text.starts_with('$') && text.len() <= HASH_BYTES_MAX && text.is_ascii() {
        return Ok(text);
    }
    Err(StoreError::Invalid("the password is not hashed: give the store a PHC string".to_owned()))
}

/// The error for a tenant that does not exist.
pub(super) fn no_tenant(name: &str) -> StoreError {
    StoreError::NotFound(format!("there is no tenant `{}`", check::plain(name, 100)))
}

/// The error for a user that does not exist.
pub(super) fn no_user() -> StoreError {
    StoreError::NotFound("there is no such user".to_owned())
}

/// The error for an invitation of a member.
pub(super) fn member_already(tenant: &str) -> StoreError {
    StoreError::Conflict(format!("they are a member of `{tenant}` already; change their role instead"))
}

/// Whether a statement returned a number above nothing, in the column `found`.
pub(super) fn any(row: Option<&impl Columns>) -> Result<bool> {
    Ok(row.map(|row| row.number::<i64>("found")).transpose()?.unwrap_or(0) > 0)
}
