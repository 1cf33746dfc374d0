//! Users, and their roles in tenants.

use std::collections::HashMap;

use gristmill_core::Instant;
use gristmill_core::access::Role;
use gristmill_core::email_address::EmailAddress;
use gristmill_core::id::UserId;
use serde_json::json;

use super::{judged, login, noted, person};
use crate::Page;
use crate::accounts::{Appointer, MemberChange, MemberView, MembershipView, NewUser, UserChange, UserState, UserView};
use crate::check;
use crate::error::{Result, StoreError};
use crate::sql::{Columns, Sql, values};

const USERS: &str = "
SELECT id, email, name, state, installation, created_at, last_login_at,
       CASE WHEN password IS NULL THEN 0 ELSE 1 END AS has_password
FROM access_user WHERE ($1::text IS NULL OR email > $1) AND ($2::text IS NULL OR email = $2) ORDER BY email LIMIT $3";

const USER: &str = "
SELECT id, email, name, state, installation, created_at, last_login_at,
       CASE WHEN password IS NULL THEN 0 ELSE 1 END AS has_password
FROM access_user WHERE id = $1";

const MEMBERSHIPS: &str = "
SELECT user_id, tenant, role FROM access_membership
WHERE user_id IN (SELECT CAST(value AS uuid) FROM json_array_elements_text($1::json)) ORDER BY user_id, tenant";

const MEMBERS: &str = "
SELECT u.id, u.email, u.name, m.role, u.state, m.created_at AS since, u.last_login_at
FROM access_membership m JOIN access_user u ON u.id = m.user_id
WHERE m.tenant = $1 AND ($2::text IS NULL OR u.email > $2) ORDER BY u.email LIMIT $3";

const COUNT: &str = "SELECT count(*) AS found FROM access_user";

const PASSWORD_OF: &str = "SELECT password FROM access_user WHERE id = $1 AND state = 'active'";

const RENAME: &str = "UPDATE access_user SET name = $2 WHERE id = $1 AND name <> $2";

const SET_PASSWORD: &str = "
UPDATE access_user SET password = $2 WHERE id = $1 AND ($3::text IS NULL OR password = $3)";

const REHASH: &str = "UPDATE access_user SET password = $3 WHERE id = $1 AND password = $2";

const SET_STATE: &str = "UPDATE access_user SET state = $2 WHERE id = $1 AND state <> $2";

const SET_INSTALLATION: &str = "UPDATE access_user SET installation = $2 WHERE id = $1 AND installation <> $2";

const REMOVE: &str = "DELETE FROM access_user WHERE id = $1";

/// A user who is about to be taken away gets no role meanwhile.
const LOCK: &str = "SELECT id FROM access_user WHERE id = $1 FOR UPDATE";

const KEEP: &str = "SELECT id FROM access_user WHERE id = $1 FOR SHARE";

const OWNS: &str = "SELECT tenant FROM access_membership WHERE user_id = $1 AND role = 'owner' ORDER BY tenant";

const SET_ROLE: &str = "UPDATE access_membership SET role = $3 WHERE tenant = $1 AND user_id = $2 AND role <> $3";

const LEAVE: &str = "DELETE FROM access_membership WHERE tenant = $1 AND user_id = $2";

const DROP_TOKENS: &str = "DELETE FROM access_token WHERE tenant = $1 AND user_id = $2";

/// Creates a user.
pub(crate) async fn create<S: Sql>(sql: &mut S, user: &NewUser) -> Result<UserView, S::Fault> {
    person::create(sql, user).await?;
    noted::user(sql, user.id).await?;
    noted::say(sql, |facts| {
        facts.set("role", user.member.as_ref().map(|(_, role)| role.as_str()));
        facts.set("installation", user.installation);
        facts.set("state", user.state.as_str());
    });
    there(sql, user.id).await
}

/// Users by address.
pub(crate) async fn list<S: Sql>(sql: &mut S, page: &Page) -> Result<Vec<UserView>, S::Fault> {
    let rows = sql.rows(USERS, values![page.after.as_deref(), Option::<&str>::None, page.rows()]).await?;
    views(sql, &rows).await
}

/// One user by id.
pub(crate) async fn one<S: Sql>(sql: &mut S, user: UserId) -> Result<Option<UserView>, S::Fault> {
    let rows = sql.rows(USER, values![user.0]).await?;
    Ok(views(sql, &rows).await?.pop())
}

/// One user by address.
pub(crate) async fn by_email<S: Sql>(sql: &mut S, email: &EmailAddress) -> Result<Option<UserView>, S::Fault> {
    let rows = sql.rows(USERS, values![Option::<&str>::None, email.as_str(), 1_u32]).await?;
    Ok(views(sql, &rows).await?.pop())
}

/// How many users there are, and when.
pub(crate) async fn count<S: Sql>(sql: &mut S) -> Result<(u64, Instant), S::Fault> {
    let now = sql.now().await?;
    let row = sql.row(COUNT, values![]).await?;
    Ok((row.map(|row| row.number("found")).transpose()?.unwrap_or(0), now))
}

/// The hash of an active user's password.
pub(crate) async fn password_of<S: Sql>(sql: &mut S, user: UserId) -> Result<Option<String>, S::Fault> {
    let row = sql.row(PASSWORD_OF, values![user.0]).await?;
    Ok(row.map(|row| row.maybe_text("password")).transpose()?.flatten())
}

/// Replaces a hash by another one of the same password.
pub(crate) async fn rehash<S: Sql>(
    sql: &mut S,
    (user, verified, hash): &(UserId, &str, &str),
) -> Result<bool, S::Fault> {
    Ok(sql.run(REHASH, values![user.0, *verified, person::hash(hash)?]).await? > 0)
}

/// Changes a user.
pub(crate) async fn change<S: Sql>(sql: &mut S, (user, change): &(UserId, &UserChange)) -> Result<UserView, S::Fault> {
    let user = *user;
    noted::user(sql, user).await?;
    let changed = match change {
        UserChange::Name(name) => {
            let name = person::name("person", name)?;
            noted::set(sql, "name", name.clone());
            sql.run(RENAME, values![user.0, name]).await?
        }
        UserChange::Installation(installation) => {
            noted::set(sql, "installation", *installation);
            let changed = sql.run(SET_INSTALLATION, values![user.0, *installation]).await?;
            if changed > 0 && *installation {
                person::forget_logins(sql, user, None).await?;
            }
            changed
        }
        UserChange::Password { hash, verified, keep } => {
            let changed = sql.run(SET_PASSWORD, values![user.0, person::hash(hash)?, verified.as_deref()]).await?;
            if changed > 0 {
                let ended = person::end_sessions(sql, user, *keep).await?;
                noted::set(sql, "sessions_ended", ended);
                login::forgive(sql, user).await?;
            }
            changed
        }
        UserChange::State(state) => {
            if *state != UserState::Active {
                keep_owners(sql, user).await?;
                let ended = person::end_sessions(sql, user, None).await?;
                noted::set(sql, "sessions_ended", ended);
            }
            sql.run(SET_STATE, values![user.0, state.as_str()]).await?
        }
    };
    if changed == 0 && matches!(change, UserChange::Password { verified: Some(_), .. }) {
        let what = "the password has been changed meanwhile; log in with the new one and try again";
        return Err(StoreError::Conflict(what.to_owned()).into());
    }
    there(sql, user).await
}

/// Removes a user.
pub(crate) async fn remove<S: Sql>(sql: &mut S, user: &UserId) -> Result<bool, S::Fault> {
    keep_owners(sql, *user).await?;
    noted::user(sql, *user).await?;
    Ok(sql.run(REMOVE, values![user.0]).await? > 0)
}

/// Refuses to take away a user without whom a tenant would have no active owner.
async fn keep_owners<S: Sql>(sql: &mut S, user: UserId) -> Result<(), S::Fault> {
    sql.rows(LOCK, values![user.0]).await?;
    let rows = sql.rows(OWNS, values![user.0]).await?;
    let tenants = rows.iter().map(|row| row.text("tenant")).collect::<Result<Vec<_>>>()?;
    drop(rows);
    for tenant in tenants {
        person::lock(sql, &tenant).await?;
        let owner = Some(Role::Owner);
        judged::change(sql, &tenant, Appointer::Installation, user, owner, None).await?;
    }
    Ok(())
}

/// The members of a tenant.
pub(crate) async fn members<S: Sql>(sql: &mut S, tenant: &str, page: &Page) -> Result<Vec<MemberView>, S::Fault> {
    let rows = sql.rows(MEMBERS, values![tenant, page.after.as_deref(), page.rows()]).await?;
    let view = |row: &S::Row| {
        Ok(MemberView {
            user: row.id("id")?,
            email: row.text("email")?,
            name: row.text("name")?,
            role: row.word("role")?,
            state: row.word("state")?,
            since: row.instant("since")?,
            last_login_at: row.maybe_instant("last_login_at")?,
        })
    };
    Ok(rows.iter().map(view).collect::<Result<_>>()?)
}

/// Gives a member another role, or none.
pub(crate) async fn set_member<S: Sql>(sql: &mut S, change: &MemberChange) -> Result<Option<Role>, S::Fault> {
    let MemberChange { tenant, user, role, by } = change;
    person::lock(sql, tenant).await?;
    sql.rows(KEEP, values![user.0]).await?;
    let from = judged::role(sql, tenant, *user).await?;
    judged::change(sql, tenant, *by, *user, from, *role).await?;
    noted::member(sql, tenant, *user).await?;
    noted::say(sql, |facts| {
        let role = |role: Option<Role>| role.map(|role| json!({ "role": role }));
        facts.between(role(from), role(change.role));
    });
    match (from, role) {
        (Some(_), Some(role)) => {
            let changed = sql.run(SET_ROLE, values![tenant, user.0, role.as_str()]).await?;
            if changed > 0 && *role == Role::Owner {
                person::forget_logins(sql, *user, None).await?;
            }
        }
        (Some(_), None) => {
            sql.run(DROP_TOKENS, values![tenant, user.0]).await?;
            sql.run(LEAVE, values![tenant, user.0]).await?;
        }
        (None, Some(role)) if *by == Appointer::Installation => {
            if sql.row(USER, values![user.0]).await?.is_none() {
                return Err(person::no_user().into());
            }
            person::join(sql, tenant, *user, *role).await?;
            person::forget_logins(sql, *user, None).await?;
        }
        (None, _) => {
            let what = format!("`{tenant}` has no such member; invite them");
            return Err(StoreError::NotFound(what).into());
        }
    }
    Ok(from)
}

async fn there<S: Sql>(sql: &mut S, user: UserId) -> Result<UserView, S::Fault> {
    one(sql, user).await?.ok_or_else(|| person::no_user().into())
}

async fn views<S: Sql>(sql: &mut S, rows: &[S::Row]) -> Result<Vec<UserView>, S::Fault> {
    let mut users = rows.iter().map(view).collect::<Result<Vec<_>>>()?;
    let ids: Vec<UserId> = users.iter().map(|user| user.id).collect();
    let rows = sql.rows(MEMBERSHIPS, values![check::json(&ids)?]).await?;
    let mut of: HashMap<UserId, Vec<MembershipView>> = HashMap::new();
    for row in &rows {
        let membership = MembershipView { tenant: row.text("tenant")?, role: row.word("role")? };
        of.entry(row.id("user_id")?).or_default().push(membership);
    }
    for user in &mut users {
        user.memberships = of.remove(&user.id).unwrap_or_default();
    }
    Ok(users)
}

fn view(row: &impl Columns) -> Result<UserView> {
    Ok(UserView {
        id: row.id("id")?,
        email: row.text("email")?,
        name: row.text("name")?,
        state: row.word("state")?,
        has_password: row.number::<i64>("has_password")? > 0,
        installation: row.flag("installation")?,
        memberships: Vec::new(),
        created_at: row.instant("created_at")?,
        last_login_at: row.maybe_instant("last_login_at")?,
    })
}
