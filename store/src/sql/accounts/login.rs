//! Logging in: tries are counted before a password is looked at.

use gristmill_core::Instant;
use gristmill_core::id::UserId;
use gristmill_core::login::{KEPT, TryLimit};

use super::sessions;
use crate::accounts::{LoginStart, LoginTry, NewSession, SessionView};
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

const TAKE_BACK: &str = "
UPDATE access_try SET tries = tries - 1 WHERE scope = 'address' AND subject = $1 AND tries > 0";

const FORGET: &str = "
DELETE FROM access_try WHERE scope = 'account' AND subject IN (SELECT email FROM access_user WHERE id = $1)";

const FIND: &str =
    "SELECT id, password FROM access_user WHERE email = $1 AND state = 'active' AND password IS NOT NULL";

const LOGGED_IN: &str = "
UPDATE access_user SET last_login_at = now() WHERE id = $1 AND state = 'active' AND password = $2";

const OPEN: &str = "
INSERT INTO access_session (id, hash, user_id, address, agent, created_at, last_seen_at, idle_at, expires_at)
VALUES ($1, $2, $3, $4, $5, now(), now(), $6, $7)
RETURNING id, user_id, address, agent, created_at, last_seen_at, expires_at";

const OLD: &str = "DELETE FROM access_session WHERE expires_at < $1";

/// Counts a try, and returns what to compare the password with.
pub(crate) async fn begin<S: Sql>(sql: &mut S, attempt: &LoginTry) -> Result<LoginStart, S::Fault> {
    let now = sql.now().await?;
    sql.run(OVER, values![]).await?;
    let account = match &attempt.email {
        Some(email) => count(sql, "account", email.as_str(), attempt.per_account, now).await?,
        None => None,
    };
    let address = count(sql, "address", &attempt.address, attempt.per_address, now).await?;
    if let Some(until) = account.max(address) {
        return Ok(LoginStart::Wait { until, now });
    }
    let Some(email) = &attempt.email else { return Ok(LoginStart::Compare(None)) };
    let row = sql.row(FIND, values![email.as_str()]).await?;
    let user = row.map(|row| Ok::<_, StoreError>((row.id("id")?, row.text("password")?))).transpose()?;
    Ok(LoginStart::Compare(user))
}

/// Counts one try. Returns until when to wait, if it was one too many.
async fn count<S: Sql>(
    sql: &mut S,
    scope: &str,
    subject: &str,
    limit: TryLimit,
    now: Instant,
) -> Result<Option<Instant>, S::Fault> {
    let row = sql.row(COUNT, values![scope, check::plain(subject, 200), now + limit.within]).await?;
    let Some(row) = row else { return Ok(None) };
    let until = row.instant("until")?;
    Ok(limit.refuses(row.number("tries")?).then_some(until))
}

/// Opens a session for a password that was verified.
pub(crate) async fn finish<S: Sql>(sql: &mut S, session: &NewSession) -> Result<Option<SessionView>, S::Fault> {
    if sql.run(LOGGED_IN, values![session.user.0, &session.verified]).await? == 0 {
        return Ok(None);
    }
    let now = sql.now().await?;
    forgive(sql, session.user).await?;
    sql.run(TAKE_BACK, values![check::plain(&session.attempt.address, 200)]).await?;
    sql.run(OLD, values![now - KEPT]).await?;
    let expires_at = now + session.lifetime;
    let values = values![
        session.id.0,
        session.hash.to_vec(),
        session.user.0,
        check::plain(&session.attempt.address, 200),
        session.agent.as_deref().map(|agent| check::plain(agent, 300)),
        expires_at.min(now + session.idle),
        expires_at,
    ];
    let row = sql.row(OPEN, values).await?;
    Ok(row.map(|row| sessions::view(&row)).transpose()?)
}

/// Lets a user try to log in again at once.
pub(super) async fn forgive<S: Sql>(sql: &mut S, user: UserId) -> Result<(), S::Fault> {
    sql.run(FORGET, values![user.0]).await?;
    Ok(())
}
