//! Logging in: tries are counted before a password is looked at.

use std::time::Duration;

use gristmill_core::Instant;
use gristmill_core::audit::Action;
use gristmill_core::id::{INSTALLATION_TENANT, SessionId, UserId};
use gristmill_core::login::{KEPT, TryLimit};

use super::{factors, noted, sessions};
use crate::accounts::{LoginStart, LoginTry, NewSession, Second, SecretHash, SessionKind, SessionView};
use crate::audit::Facts;
use crate::check;
use crate::error::{Result, StoreError};
use crate::sql::{Columns, Sql, values};

const OVER: &str = "DELETE FROM access_try WHERE until <= now()";

const COUNT: &str = "
INSERT INTO access_try (scope, subject, tries, until) VALUES ($1, $2, 1, $3)
ON CONFLICT (scope, subject) DO UPDATE SET
    tries = CASE WHEN access_try.until <= now() THEN 1 ELSE access_try.tries + 1 END,
    until = CASE WHEN access_try.until <= now() THEN excluded.until ELSE access_try.until END
RETURNING tries, until";

/// How often the account was tried in vain before: the try that succeeded is counted, too.
const BEFORE: &str = "
SELECT t.tries - 1 AS tries FROM access_try t JOIN access_user u ON u.email = t.subject
WHERE t.scope = 'account' AND u.id = $1 AND t.until > now()";

const TAKE_BACK: &str = "
UPDATE access_try SET tries = tries - 1 WHERE scope = $1 AND subject = $2 AND tries > 0";

const FORGET: &str = "
DELETE FROM access_try WHERE scope = 'account' AND subject IN (SELECT email FROM access_user WHERE id = $1)";

const FIND: &str =
    "SELECT id, password FROM access_user WHERE email = $1 AND state = 'active' AND password IS NOT NULL";

const LOGGED_IN: &str = "
UPDATE access_user SET last_login_at = now() WHERE id = $1 AND state = 'active' AND password = $2";

const OPEN: &str = "
INSERT INTO access_session (id, hash, user_id, address, agent, created_at, last_seen_at, idle_at, expires_at, kind)
VALUES ($1, $2, $3, $4, $5, now(), now(), $6, $7, $8)
RETURNING id, user_id, kind, address, agent, created_at, last_seen_at, expires_at";

const OLD: &str = "DELETE FROM access_session WHERE expires_at < $1";

/// Counts a try, and returns what to compare the password with.
pub(crate) async fn begin<S: Sql>(sql: &mut S, attempt: &LoginTry) -> Result<LoginStart, S::Fault> {
    let now = sql.now().await?;
    sql.run(OVER, values![]).await?;
    let account = match &attempt.email {
        Some(email) => count(sql, "account", email.as_str(), attempt.per_account, now).await?,
        None => Counted::default(),
    };
    let address = count(sql, "address", &attempt.address, attempt.per_address, now).await?;
    note_refusal(sql, attempt, (account.first, address.first)).await?;
    if let Some(until) = account.wait.max(address.wait) {
        return Ok(LoginStart::Wait { until, now });
    }
    let Some(email) = &attempt.email else { return Ok(LoginStart::Compare(None)) };
    let row = sql.row(FIND, values![email.as_str()]).await?;
    let user = row.map(|row| Ok::<_, StoreError>((row.id("id")?, row.text("password")?))).transpose()?;
    Ok(LoginStart::Compare(user))
}

/// Counts a registration of two subjects among the tries from addresses, and returns until when to wait, if either was one
/// too many. The audit has one entry when a limit is first reached.
pub(super) async fn count_both<S: Sql>(
    sql: &mut S,
    subjects: [(&str, TryLimit); 2],
    now: Instant,
) -> Result<Option<Instant>, S::Fault> {
    sql.run(OVER, values![]).await?;
    let (mut wait, mut first) = (None, None);
    for (subject, limit) in subjects {
        let counted = count(sql, "address", subject, limit, now).await?;
        wait = wait.max(counted.wait);
        first = first.or(counted.first.then(|| check::plain(subject, 200)));
    }
    if wait.is_some() {
        noted::tenant(sql, INSTALLATION_TENANT);
        noted::say(sql, |facts| match first {
            Some(subject) => {
                facts.act(Action::RegistrationRefuse);
                facts.about(subject);
            }
            None => facts.withhold(),
        });
    }
    Ok(wait)
}

/// A try that was counted.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Counted {
    /// Until when to wait, if it was one too many.
    wait: Option<Instant>,
    /// Whether it was the first that was.
    pub(super) first: bool,
}

/// The audit has one entry when an account or a network has reached its limit, and then none until the count begins anew:
/// a flood of tries does not fill it. What was typed as an account is only written down where it is an address of mail.
async fn note_refusal<S: Sql>(
    sql: &mut S,
    attempt: &LoginTry,
    (of_account, of_address): (bool, bool),
) -> Result<(), S::Fault> {
    match (&attempt.email, of_account, of_address) {
        (_, false, false) => noted::say(sql, Facts::withhold),
        (Some(email), true, _) => noted::address(sql, email).await?,
        (_, _, _) => {
            noted::tenant(sql, INSTALLATION_TENANT);
            noted::say(sql, |facts| facts.about(format!("network {}", check::plain(&attempt.address, 200))));
        }
    }
    noted::say(sql, |facts| {
        facts.change();
        facts.set("account_limit", of_account);
        facts.set("network_limit", of_address);
    });
    Ok(())
}

/// Counts one try.
pub(super) async fn count<S: Sql>(
    sql: &mut S,
    scope: &str,
    subject: &str,
    limit: TryLimit,
    now: Instant,
) -> Result<Counted, S::Fault> {
    let row = sql.row(COUNT, values![scope, check::plain(subject, 200), now + limit.within]).await?;
    let Some(row) = row else { return Ok(Counted::default()) };
    let (until, number) = (row.instant("until")?, row.number("tries")?);
    let wait = limit.refuses(number).then_some(until);
    Ok(Counted { wait, first: limit.begins_to_refuse(number) })
}

/// Takes a try back that was none.
pub(crate) async fn take_back<S: Sql>(sql: &mut S, attempt: &LoginTry) -> Result<(), S::Fault> {
    if let Some(email) = &attempt.email {
        sql.run(TAKE_BACK, values!["account", check::plain(email.as_str(), 200)]).await?;
    }
    sql.run(TAKE_BACK, values!["address", check::plain(&attempt.address, 200)]).await?;
    Ok(())
}

/// Opens a session for a password that was verified.
pub(crate) async fn finish<S: Sql>(sql: &mut S, session: &NewSession) -> Result<Option<SessionView>, S::Fault> {
    if sql.run(LOGGED_IN, values![session.user.0, &session.verified]).await? == 0 {
        return Ok(None);
    }
    let now = sql.now().await?;
    factors::demand(sql, session.user, session.second).await?;
    note_login(sql, session).await?;
    forgive(sql, session.user).await?;
    sql.run(TAKE_BACK, values!["address", check::plain(&session.attempt.address, 200)]).await?;
    let NewSession { id, kind, hash, user, lifetime, idle, .. } = *session;
    let (address, agent) = (session.attempt.address.as_str(), session.agent.as_deref());
    open(sql, &Opening { id, hash, user, address, agent, lifetime, idle, kind }, now - KEPT).await
}

/// A session that is opened.
pub(super) struct Opening<'a> {
    pub(super) id: SessionId,
    pub(super) hash: SecretHash,
    pub(super) user: UserId,
    pub(super) address: &'a str,
    pub(super) agent: Option<&'a str>,
    pub(super) lifetime: Duration,
    pub(super) idle: Duration,
    pub(super) kind: SessionKind,
}

/// Opens a session, and removes those that were over before an instant.
pub(super) async fn open<S: Sql>(
    sql: &mut S,
    opening: &Opening<'_>,
    old: Instant,
) -> Result<Option<SessionView>, S::Fault> {
    let now = sql.now().await?;
    sql.run(OLD, values![old]).await?;
    let expires_at = now + opening.lifetime;
    let values = values![
        opening.id.0,
        opening.hash.to_vec(),
        opening.user.0,
        check::plain(opening.address, 200),
        opening.agent.map(|agent| check::plain(agent, 300)),
        expires_at.min(now + opening.idle),
        expires_at,
        opening.kind.as_str(),
    ];
    let row = sql.row(OPEN, values).await?;
    Ok(row.map(|row| sessions::view(&row)).transpose()?)
}

/// What the audit learns of a login, failed tries before it included.
async fn note_login<S: Sql>(sql: &mut S, session: &NewSession) -> Result<(), S::Fault> {
    noted::user(sql, session.user).await?;
    if sql.facts().is_none() {
        return Ok(());
    }
    let row = sql.row(BEFORE, values![session.user.0]).await?;
    let before = row.map(|row| row.number::<u64>("tries")).transpose()?.unwrap_or(0);
    noted::say(sql, |facts| {
        facts.set("session", session.id.to_string());
        facts.set("kind", session.kind.as_str());
        facts.set("agent", session.agent.as_deref().map(|agent| check::plain(agent, 300)));
        facts.set("failed_before", before);
        facts.set("second", session.second.map(Second::word));
    });
    Ok(())
}

/// Lets a user try to log in again at once.
pub(super) async fn forgive<S: Sql>(sql: &mut S, user: UserId) -> Result<(), S::Fault> {
    sql.run(FORGET, values![user.0]).await?;
    Ok(())
}
