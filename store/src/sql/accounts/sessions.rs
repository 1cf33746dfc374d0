//! Sessions.

use std::time::Duration;

use chrono::TimeDelta;
use gristmill_core::Instant;
use gristmill_core::access::{Principal, Subject};
use gristmill_core::id::{SessionId, UserId};

use super::{noted, person};
use crate::Page;
use crate::accounts::{EndSessions, Quotas, Recognition, Recognized, SecretHash, SessionView, WhichSessions};
use crate::error::Result;
use crate::sql::{Columns, Sql, values};

const SESSIONS: &str = "
SELECT id, user_id, kind, address, agent, created_at, last_seen_at, expires_at FROM access_session
WHERE user_id = $1 AND revoked_at IS NULL AND expires_at > now() AND idle_at > now() AND ($2::uuid IS NULL OR id < $2)
ORDER BY id DESC LIMIT $3";

const WITH_SECRET: &str = "
SELECT id FROM access_session WHERE hash = $1 AND revoked_at IS NULL AND expires_at > now() AND idle_at > now()";

const END_ONE: &str = "
UPDATE access_session SET revoked_at = now() WHERE user_id = $1 AND id = $2 AND revoked_at IS NULL";

const END_WITH_SECRET: &str = "
UPDATE access_session SET revoked_at = now() WHERE user_id = $1 AND hash = $2 AND revoked_at IS NULL";

/// In the tenant that is asked for, or in `main`, or in the first by name.
const RECOGNIZE: &str = "
SELECT s.user_id, s.last_seen_at, u.email, u.installation, m.tenant, m.role, n.state, n.quotas
FROM access_session s JOIN access_user u ON u.id = s.user_id
LEFT JOIN access_membership m ON m.user_id = s.user_id AND ($2::text IS NULL OR m.tenant = $2)
LEFT JOIN access_tenant n ON n.name = m.tenant
WHERE s.hash = $1 AND s.revoked_at IS NULL AND s.expires_at > now() AND s.idle_at > now() AND u.state = 'active'
ORDER BY CASE WHEN m.tenant = 'main' THEN 0 ELSE 1 END, m.tenant LIMIT 1";

/// The same by the id of a session, whose user the token names as well.
const RECOGNIZE_ACCESS: &str = "
SELECT s.user_id, s.last_seen_at, u.email, u.installation, m.tenant, m.role, n.state, n.quotas
FROM access_session s JOIN access_user u ON u.id = s.user_id
LEFT JOIN access_membership m ON m.user_id = s.user_id AND ($3::text IS NULL OR m.tenant = $3)
LEFT JOIN access_tenant n ON n.name = m.tenant
WHERE s.id = $1 AND s.user_id = $2 AND s.kind = 'tokens' AND s.revoked_at IS NULL
  AND s.expires_at > now() AND s.idle_at > now() AND u.state = 'active'
ORDER BY CASE WHEN m.tenant = 'main' THEN 0 ELSE 1 END, m.tenant LIMIT 1";

const TOUCH: &str = "
UPDATE access_session SET last_seen_at = now(), idle_at = LEAST(expires_at, $2)
WHERE hash = $1 AND revoked_at IS NULL AND last_seen_at <= $3 AND expires_at > now() AND idle_at > now()";

/// A user's sessions, newest first.
pub(crate) async fn list<S: Sql>(sql: &mut S, user: UserId, page: &Page) -> Result<Vec<SessionView>, S::Fault> {
    let rows = sql.rows(SESSIONS, values![user.0, page.after_id()?, page.rows()]).await?;
    Ok(rows.iter().map(view).collect::<Result<_>>()?)
}

/// The session with a secret.
pub(crate) async fn with_secret<S: Sql>(sql: &mut S, hash: &SecretHash) -> Result<Option<SessionId>, S::Fault> {
    let row = sql.row(WITH_SECRET, values![hash.to_vec()]).await?;
    Ok(row.map(|row| row.id("id")).transpose()?)
}

/// Ends sessions.
pub(crate) async fn end<S: Sql>(sql: &mut S, end: &EndSessions) -> Result<u64, S::Fault> {
    let ended = match end.which {
        WhichSessions::One(session) => sql.run(END_ONE, values![end.user.0, session.0]).await?,
        WhichSessions::WithSecret(hash) => sql.run(END_WITH_SECRET, values![end.user.0, hash.to_vec()]).await?,
        WhichSessions::AllBut(keep) => person::end_sessions(sql, end.user, keep).await?,
    };
    noted::user(sql, end.user).await?;
    noted::set(sql, "ended", ended);
    Ok(ended)
}

/// The caller whose session it is.
pub(crate) async fn recognize<S: Sql>(
    sql: &mut S,
    hash: &SecretHash,
    tenant: Option<&str>,
) -> Result<Option<Recognition>, S::Fault> {
    let Some(row) = sql.row(RECOGNIZE, values![hash.to_vec(), tenant]).await? else { return Ok(None) };
    let now = sql.now().await?;
    Ok(Some(recognition(&row, now)?))
}

fn recognition(row: &impl Columns, now: Instant) -> Result<Recognition> {
    let Some(tenant) = row.maybe_text("tenant")? else { return Ok(Recognition::NotMember) };
    if row.text("state")? != "active" {
        return Ok(Recognition::Suspended);
    }
    let principal = Principal {
        subject: Subject::User(row.id("user_id")?),
        name: row.text("email")?,
        tenant,
        role: row.word("role")?,
        scopes: None,
        installation: row.flag("installation")?,
    };
    let stale = is_stale(row.maybe_instant("last_seen_at")?, now);
    let quotas: Quotas = row.json("quotas")?;
    let requests_per_minute = quotas.requests_per_minute;
    Ok(Recognition::Known(Recognized { principal, stale, requests_per_minute }))
}

/// The caller whose session by tokens it is.
pub(crate) async fn recognize_access<S: Sql>(
    sql: &mut S,
    session: SessionId,
    user: UserId,
    tenant: Option<&str>,
) -> Result<Option<(Recognition, Instant)>, S::Fault> {
    let Some(row) = sql.row(RECOGNIZE_ACCESS, values![session.0, user.0, tenant]).await? else { return Ok(None) };
    let now = sql.now().await?;
    Ok(Some((recognition(&row, now)?, now)))
}

/// Notes that a session was used, and prolongs it.
pub(crate) async fn touch<S: Sql>(sql: &mut S, (hash, idle): &(&SecretHash, Duration)) -> Result<(), S::Fault> {
    let now = sql.now().await?;
    sql.run(TOUCH, values![hash.to_vec(), now + *idle, a_minute_ago(now)]).await?;
    Ok(())
}

/// Uses up to then are noted anew.
pub(super) fn a_minute_ago(now: Instant) -> Instant {
    now - TimeDelta::minutes(1)
}

/// Whether a use is to be noted anew.
pub(super) fn is_stale(last: Option<Instant>, now: Instant) -> bool {
    last.is_none_or(|last| last <= a_minute_ago(now))
}

/// A session as it is shown.
pub(super) fn view(row: &impl Columns) -> Result<SessionView> {
    Ok(SessionView {
        id: row.id("id")?,
        user: row.id("user_id")?,
        kind: row.word("kind")?,
        address: row.maybe_text("address")?,
        agent: row.maybe_text("agent")?,
        created_at: row.instant("created_at")?,
        last_seen_at: row.instant("last_seen_at")?,
        expires_at: row.instant("expires_at")?,
    })
}
