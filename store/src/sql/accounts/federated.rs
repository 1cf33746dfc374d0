//! Logins by another issuer.

use gristmill_core::Instant;
use gristmill_core::access::Role;
use gristmill_core::audit::Action;
use gristmill_core::id::UserId;
use gristmill_core::linking::{NotLinked, Places, by_address};
use gristmill_core::login::{KEPT, NOT_LINKED};

use super::login::{Opening, count, open};
use super::{noted, person};
use crate::accounts::{Federated, FederatedAnswer, FederatedLogin, NewUser, SessionKind, UserState};
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
    check(login)?;
    let now = sql.now().await?;
    sql.run(OVER, values![]).await?;
    let once = sql.run(ONCE, values![login.state.to_vec(), now + login.state_lifetime]).await?;
    if once == 0 {
        return Err(denied("this login has come back already; begin anew"));
    }
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

fn check(login: &FederatedLogin) -> Result<()> {
    for (what, text) in [("an issuer", &login.issuer), ("a subject", &login.subject)] {
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
