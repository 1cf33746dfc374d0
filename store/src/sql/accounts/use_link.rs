//! Using a link: guarded by the link itself, which is used first.

use gristmill_core::access::Role;
use gristmill_core::email_address::EmailAddress;
use gristmill_core::id::UserId;

use super::{judged, login, noted, person};
use crate::accounts::{Appointer, LINK_OVER, LinkUse, NewPerson, NewUser, SecretHash, UsedLink, UserState};
use crate::error::{Result, StoreError};
use crate::sql::{Columns, Sql, values};

/// The tenant's row is locked before the link's, as everywhere.
const LOCK: &str = "
SELECT name FROM access_tenant
WHERE name = (SELECT tenant FROM access_link WHERE hash = $1 AND used_at IS NULL) FOR UPDATE";

const USE: &str = "
UPDATE access_link SET used_at = now()
WHERE hash = $1 AND purpose = $2 AND used_at IS NULL AND revoked_at IS NULL AND expires_at > now()
RETURNING email, tenant, role, by_user";

const USERS: &str = "SELECT count(*) AS found FROM access_user";

const FIND: &str = "SELECT id, state FROM access_user WHERE email = $1 FOR UPDATE";

const RESET: &str = "UPDATE access_user SET password = $2 WHERE id = $1 AND state = 'active'";

const VERIFY: &str = "UPDATE access_user SET state = 'active' WHERE id = $1 AND state = 'unverified'";

/// A link as it was used.
struct Found {
    email: Option<String>,
    member: Option<(String, Role)>,
    by: Appointer,
}

/// Uses a link.
pub(crate) async fn use_link<S: Sql>(
    sql: &mut S,
    (hash, with): &(&SecretHash, &LinkUse),
) -> Result<UsedLink, S::Fault> {
    sql.rows(LOCK, values![hash.to_vec()]).await?;
    let row = sql.row(USE, values![hash.to_vec(), with.purpose().as_str()]).await?;
    let found = found(&row.ok_or_else(over)?)?;
    let used = match with {
        LinkUse::FirstOwner { email, person } => first_owner(sql, found, email, person).await?,
        LinkUse::Accept(person) => accept(sql, found, person.as_ref()).await?,
        LinkUse::Reset { password } => reset(sql, found, password).await?,
        LinkUse::Verify => verify(sql, found).await?,
        LinkUse::Register(person) => register(sql, found, person).await?,
    };
    note(sql, with, &used).await?;
    Ok(used)
}

/// What the audit learns: whose account it is, and what they became by it.
async fn note<S: Sql>(sql: &mut S, with: &LinkUse, used: &UsedLink) -> Result<(), S::Fault> {
    noted::user(sql, used.user).await?;
    noted::say(sql, |facts| {
        facts.change();
        facts.set("purpose", with.purpose().as_str());
        facts.set("created", used.created);
        if let Some((tenant, role)) = &used.member {
            facts.in_chain(tenant);
            facts.set("role", role.as_str());
        }
    });
    Ok(())
}

fn found(row: &impl Columns) -> Result<Found> {
    let member = match row.maybe_text("tenant")? {
        Some(tenant) => Some((tenant, row.word("role")?)),
        None => None,
    };
    let by = row.maybe_id("by_user")?.map_or(Appointer::Installation, |user| Appointer::User(UserId(user)));
    Ok(Found { email: row.maybe_text("email")?, member, by })
}

async fn first_owner<S: Sql>(
    sql: &mut S,
    found: Found,
    email: &EmailAddress,
    person: &NewPerson,
) -> Result<UsedLink, S::Fault> {
    if person::any(sql.row(USERS, values![]).await?.as_ref())? {
        return Err(over().into());
    }
    person::create(sql, &new_user(email, person, true, found.member.clone())).await?;
    Ok(UsedLink { user: person.id, email: email.to_string(), created: true, member: found.member })
}

async fn accept<S: Sql>(sql: &mut S, found: Found, person: Option<&NewPerson>) -> Result<UsedLink, S::Fault> {
    let (email, member) = addressed(found.email, found.member)?;
    let (tenant, role) = member;
    // The one who invited may have lost that right since.
    judged::invitation(sql, &tenant, found.by, role).await?.map_err(|_| over())?;
    let (user, created) = match (known(sql, &email).await?, person) {
        (Some((user, UserState::Active)), _) => {
            person::join(sql, &tenant, user, role).await?;
            person::forget_logins(sql, user, None).await?;
            (user, false)
        }
        (Some(_), _) => return Err(over().into()),
        (None, Some(person)) => {
            let member = Some((tenant.clone(), role));
            person::create(sql, &new_user(&email, person, false, member)).await?;
            (person.id, true)
        }
        (None, None) => {
            let what = format!("`{email}` has no account yet: accept with a name and a password");
            return Err(StoreError::Invalid(what).into());
        }
    };
    Ok(UsedLink { user, email: email.to_string(), created, member: Some((tenant, role)) })
}

/// Makes an account for an address that was shown to be theirs.
async fn register<S: Sql>(sql: &mut S, found: Found, person: &NewPerson) -> Result<UsedLink, S::Fault> {
    let email = address(found.email)?;
    // They may have been added or invited meanwhile.
    if known(sql, &email).await?.is_some() {
        return Err(over().into());
    }
    person::create(sql, &new_user(&email, person, false, found.member.clone())).await?;
    Ok(UsedLink { user: person.id, email: email.to_string(), created: true, member: found.member })
}

async fn reset<S: Sql>(sql: &mut S, found: Found, password: &str) -> Result<UsedLink, S::Fault> {
    let (email, user) = account(sql, found).await?;
    if sql.run(RESET, values![user.0, person::hash(password)?]).await? == 0 {
        return Err(over().into());
    }
    person::end_sessions(sql, user, None).await?;
    login::forgive(sql, user).await?;
    Ok(UsedLink { user, email, created: false, member: None })
}

async fn verify<S: Sql>(sql: &mut S, found: Found) -> Result<UsedLink, S::Fault> {
    let (email, user) = account(sql, found).await?;
    if sql.run(VERIFY, values![user.0]).await? == 0 {
        return Err(over().into());
    }
    Ok(UsedLink { user, email, created: false, member: None })
}

/// The account that a link is for.
async fn account<S: Sql>(sql: &mut S, found: Found) -> Result<(String, UserId), S::Fault> {
    let email = address(found.email)?;
    match known(sql, &email).await? {
        Some((user, _)) => Ok((email.to_string(), user)),
        None => Err(over().into()),
    }
}

async fn known<S: Sql>(sql: &mut S, email: &EmailAddress) -> Result<Option<(UserId, UserState)>, S::Fault> {
    let row = sql.row(FIND, values![email.as_str()]).await?;
    Ok(row.map(|row| Ok::<_, StoreError>((row.id("id")?, row.word("state")?))).transpose()?)
}

fn new_user(email: &EmailAddress, person: &NewPerson, installation: bool, member: Option<(String, Role)>) -> NewUser {
    NewUser {
        id: person.id,
        email: email.clone(),
        name: person.name.clone(),
        password: Some(person.password.clone()),
        state: UserState::Active,
        installation,
        member,
    }
}

fn addressed(email: Option<String>, member: Option<(String, Role)>) -> Result<(EmailAddress, (String, Role))> {
    let member = member.ok_or_else(|| StoreError::Database("an invitation names no tenant".to_owned()))?;
    Ok((address(email)?, member))
}

fn address(email: Option<String>) -> Result<EmailAddress> {
    let email = email.ok_or_else(|| StoreError::Database("a link names no address".to_owned()))?;
    email.parse().map_err(|error| StoreError::Database(format!("a link: {error}")))
}

/// The error for a link that does nothing: the same whatever the reason.
fn over() -> StoreError {
    StoreError::NotFound(LINK_OVER.to_owned())
}
