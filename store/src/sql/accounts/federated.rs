//! Logins by another issuer.

use std::time::Duration;

use gristmill_core::Instant;
use gristmill_core::access::Role;
use gristmill_core::audit::Action;
use gristmill_core::id::UserId;
use gristmill_core::linking::{NotLinked, Places, by_address};
use gristmill_core::login::{KEPT, NOT_LINKED};

use super::login::{Opening, count, open};
use super::{noted, person};
use crate::accounts::{
    Federated, FederatedAnswer, FederatedLogin, LoginView, NewLogin, NewUser, SecretHash, SessionKind, UserState,
};
use crate::audit::Facts;
use crate::check;
use crate::error::{Result, StoreError};
use crate::sql::{Columns, Sql, values};

/// How many characters an issuer and a subject have at most.
const CHARS_MAX: usize = 1_000;

const OVER: &str = "DELETE FROM access_answer WHERE until <= now()";

const ONCE: &str = "INSERT INTO access_answer (state, until) VALUES ($1, $2) ON CONFLICT DO NOTHING";

const KNOWN: &str = "
SELECT i.user_id, u.state FROM access_identity i JOIN access_user u ON u.id = i.user_id
WHERE i.issuer = $1 AND i.subject = $2";

/// Locked, so that what the account may do stays as it is judged until it is linked.
const BY_EMAIL: &str = "SELECT id AS user_id, state, installation FROM access_user WHERE email = $1 FOR UPDATE";

const PLACES: &str = "SELECT tenant, role FROM access_membership WHERE user_id = $1";

/// Neither where the subject has an account by now, nor where the account has another subject of the issuer.
const LINK: &str = "
INSERT INTO access_identity (issuer, subject, user_id, created_at, last_login_at) VALUES ($1, $2, $3, now(), now())
ON CONFLICT DO NOTHING";

const LOGINS: &str = "
SELECT issuer, subject, created_at, last_login_at FROM access_identity WHERE user_id = $1 ORDER BY issuer";

/// Locked, so that an account keeps a way in, whatever is done to it at the same time.
const USER: &str = "
SELECT id AS user_id, state, CASE WHEN password IS NULL THEN 0 ELSE 1 END AS has_password
FROM access_user WHERE id = $1 FOR UPDATE";

const UNLINK: &str = "DELETE FROM access_identity WHERE user_id = $1 AND issuer = $2";

const USED: &str = "UPDATE access_identity SET last_login_at = now() WHERE issuer = $1 AND subject = $2";

const LOGGED_IN: &str = "UPDATE access_user SET last_login_at = now() WHERE id = $1 AND state = 'active'";

/// No issuer takes an owner's place away.
const SET_ROLE: &str = "
UPDATE access_membership SET role = $3 WHERE tenant = $1 AND user_id = $2 AND role <> $3 AND role <> 'owner'";

const ROLE: &str = "SELECT role FROM access_membership WHERE tenant = $1 AND user_id = $2";

/// The account behind a subject.
enum Account {
    /// This one, with whether it was linked and whether it was made just now.
    Theirs { user: UserId, linked: bool, made: bool },
    /// There is one with the address, and the login may not take it.
    Anothers(UserId, NotLinked),
}

/// Opens a session for a person for whom an issuer vouches.
pub(crate) async fn log_in<S: Sql>(sql: &mut S, login: &FederatedLogin) -> Result<FederatedAnswer, S::Fault> {
    check(&login.issuer, &login.subject)?;
    let now = comes_back(sql, &login.state, login.state_lifetime).await?;
    // The tenant before the user, as everywhere.
    if login.role.is_some() {
        person::lock(sql, &login.tenant).await?;
    }
    let (user, linked, made) = match account(sql, login).await? {
        Account::Theirs { user, linked, made } => (user, linked, made),
        Account::Anothers(user, why) => return refused(sql, login, (user, why), now).await,
    };
    sql.run(USED, values![&login.issuer, &login.subject]).await?;
    if sql.run(LOGGED_IN, values![user.0]).await? == 0 {
        return Err(denied("the account is not active"));
    }
    let role = place(sql, login, user).await?;
    noted::user(sql, user).await?;
    let session = &login.session;
    noted::say(sql, |facts| {
        facts.change();
        facts.set("session", session.id.to_string());
        facts.set("kind", SessionKind::Browser.as_str());
        facts.set("issuer", check::plain(&login.issuer, 200));
        facts.set("linked", linked);
        facts.set("made", made);
        facts.set("role", role.map(Role::as_str));
    });
    let opening = Opening {
        id: session.id,
        hash: session.hash,
        user,
        address: &session.address,
        agent: session.agent.as_deref(),
        lifetime: session.lifetime,
        idle: session.idle,
        kind: SessionKind::Browser,
    };
    let session = open(sql, &opening, now - KEPT).await?;
    let session = session.ok_or_else(|| StoreError::Database("a session was not opened".to_owned()))?;
    Ok(FederatedAnswer::Opened(Box::new(Federated { session, linked, made })))
}

/// A provider has named the address of an account that is not its to take. That is in the chain of the account's tenant, once
/// in a while: the operator of a provider can try again and again.
async fn refused<S: Sql>(
    sql: &mut S,
    login: &FederatedLogin,
    (user, why): (UserId, NotLinked),
    now: Instant,
) -> Result<FederatedAnswer, S::Fault> {
    let tried = format!("login elsewhere {} {}", user.0, login.issuer);
    if count(sql, "address", &tried, NOT_LINKED, now).await?.first {
        noted::user(sql, user).await?;
        noted::say(sql, |facts| {
            facts.change();
            facts.act(Action::LoginRefuse);
            facts.set("issuer", check::plain(&login.issuer, 200));
            facts.set("subject", check::plain(&login.subject, 200));
            facts.set("provider_tenant", login.tenant.as_str());
            facts.set("why", why.as_str());
        });
    } else {
        noted::say(sql, Facts::withhold);
    }
    Ok(FederatedAnswer::Refused(why))
}

/// Spends the state of a login that comes back. Returns the time.
async fn comes_back<S: Sql>(sql: &mut S, state: &SecretHash, lifetime: Duration) -> Result<Instant, S::Fault> {
    let now = sql.now().await?;
    sql.run(OVER, values![]).await?;
    if sql.run(ONCE, values![state.to_vec(), now + lifetime]).await? == 0 {
        return Err(denied("this login has come back already; begin anew"));
    }
    Ok(now)
}

fn check(issuer: &str, subject: &str) -> Result<()> {
    for (what, text) in [("an issuer", issuer), ("a subject", subject)] {
        let odd = text.is_empty() || text.chars().nth(CHARS_MAX).is_some() || text.contains('\0');
        if odd {
            return Err(StoreError::Invalid(format!("{what} has 1 to {CHARS_MAX} characters")));
        }
    }
    Ok(())
}

fn denied<F: From<StoreError>>(why: &str) -> F {
    StoreError::Denied(why.to_owned()).into()
}

/// The account behind the subject: the one that is known by it, or the one with the address, or a new one.
async fn account<S: Sql>(sql: &mut S, login: &FederatedLogin) -> Result<Account, S::Fault> {
    let FederatedLogin { issuer, subject, email, makes, .. } = login;
    if let Some(row) = sql.row(KNOWN, values![issuer, subject]).await? {
        return Ok(Account::Theirs { user: active(&row)?, linked: false, made: false });
    }
    let Some(email) = email else {
        return Err(denied("no account is known by this login, and its issuer has verified no address of mail"));
    };
    let (user, made) = match sql.row(BY_EMAIL, values![email.as_str()]).await? {
        Some(row) => {
            let (user, installation) = (active(&row)?, row.flag("installation")?);
            drop(row);
            if let Err(why) = takes(sql, login, user, installation).await? {
                return Ok(Account::Anothers(user, why));
            }
            (user, false)
        }
        None => {
            let Some((id, name)) = makes else {
                return Err(denied("there is no account for this login; ask a member to invite you"));
            };
            let (name, password) = (name.clone(), None);
            let (state, installation, member) = (UserState::Active, false, None);
            let user = NewUser { id: *id, email: email.clone(), name, password, state, installation, member };
            person::create(sql, &user).await?;
            (*id, true)
        }
    };
    if sql.run(LINK, values![issuer, subject, user.0]).await? == 0 {
        return Ok(Account::Anothers(user, NotLinked::Known));
    }
    Ok(Account::Theirs { user, linked: true, made })
}

/// Whether the login takes an account by its address.
async fn takes<S: Sql>(
    sql: &mut S,
    login: &FederatedLogin,
    user: UserId,
    installation: bool,
) -> Result<Result<(), NotLinked>, S::Fault> {
    if !login.links {
        return Ok(Err(NotLinked::Off));
    }
    let rows = sql.rows(PLACES, values![user.0]).await?;
    let roles = rows.iter().map(|row| Ok((row.text("tenant")?, row.word("role")?))).collect::<Result<Vec<_>>>()?;
    Ok(by_address(&login.tenant, Places { installation, roles: &roles }))
}

fn active<F: From<StoreError>>(row: &impl Columns) -> Result<UserId, F> {
    match row.word::<UserState>("state")? {
        UserState::Active => Ok(row.id("user_id")?),
        UserState::Disabled | UserState::Unverified => Err(denied("the account is not active")),
    }
}

/// Gives the person their place in the tenant. Returns their role there.
async fn place<S: Sql>(sql: &mut S, login: &FederatedLogin, user: UserId) -> Result<Option<Role>, S::Fault> {
    let FederatedLogin { tenant, issuer, .. } = login;
    let Some(role) = login.role else { return Ok(None) };
    if sql.row(ROLE, values![tenant, user.0]).await?.is_none() {
        person::join(sql, tenant, user, role).await?;
        // Another provider does not get there by this one's word.
        person::forget_logins(sql, user, Some(issuer)).await?;
    } else {
        sql.run(SET_ROLE, values![tenant, user.0, role.as_str()]).await?;
    }
    let row = sql.row(ROLE, values![tenant, user.0]).await?;
    Ok(row.map(|row| row.word("role")).transpose()?)
}

/// Links a login elsewhere to an account.
pub(crate) async fn link<S: Sql>(sql: &mut S, login: &NewLogin) -> Result<bool, S::Fault> {
    let NewLogin { issuer, subject, user, .. } = login;
    check(issuer, subject)?;
    comes_back(sql, &login.state, login.state_lifetime).await?;
    let row = sql.row(USER, values![user.0]).await?.ok_or_else(person::no_user)?;
    active(&row)?;
    drop(row);
    if sql.run(LINK, values![issuer, subject, user.0]).await? == 0 {
        let known = sql.row(KNOWN, values![issuer, subject]).await?;
        let owner = known.map(|row| row.id::<UserId>("user_id")).transpose()?;
        let why = match owner {
            Some(owner) if owner == *user => {
                noted::say(sql, Facts::withhold);
                return Ok(false);
            }
            Some(_) => "this login is known as that of another account; unlink it there first",
            None => "the account is known by another login of this issuer already; unlink that one first",
        };
        return Err(StoreError::Conflict(why.to_owned()).into());
    }
    noted::user(sql, *user).await?;
    noted::say(sql, |facts| {
        facts.change();
        facts.set("issuer", check::plain(issuer, 200));
        facts.set("subject", check::plain(subject, 200));
    });
    Ok(true)
}

/// The logins elsewhere by which an account is known.
pub(crate) async fn of<S: Sql>(sql: &mut S, user: UserId) -> Result<Vec<LoginView>, S::Fault> {
    let rows = sql.rows(LOGINS, values![user.0]).await?;
    let view = |row: &S::Row| {
        Ok(LoginView {
            issuer: row.text("issuer")?,
            subject: row.text("subject")?,
            created_at: row.instant("created_at")?,
            last_login_at: row.instant("last_login_at")?,
        })
    };
    Ok(rows.iter().map(view).collect::<Result<_>>()?)
}

/// Unlinks the login of an issuer from an account.
pub(crate) async fn unlink<S: Sql>(
    sql: &mut S,
    (user, issuer, keep): &(UserId, &str, Option<SecretHash>),
) -> Result<bool, S::Fault> {
    let row = sql.row(USER, values![user.0]).await?.ok_or_else(person::no_user)?;
    let has_password = row.number::<i64>("has_password")? > 0;
    drop(row);
    let logins = of(sql, *user).await?;
    if !logins.iter().any(|login| login.issuer == *issuer) {
        return Ok(false);
    }
    if !has_password && logins.len() == 1 {
        let what =
            "the account has no password and no other login: choose a password first, by `Forgot your password?`";
        return Err(StoreError::Conflict(what.to_owned()).into());
    }
    sql.run(UNLINK, values![user.0, *issuer]).await?;
    let ended = person::end_sessions(sql, *user, *keep).await?;
    noted::user(sql, *user).await?;
    noted::say(sql, |facts| {
        facts.change();
        facts.set("issuer", check::plain(issuer, 200));
        facts.set("sessions_ended", ended);
    });
    Ok(true)
}
