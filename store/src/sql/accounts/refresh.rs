//! Refresh tokens: each is used once, and one that comes again ends its session.

use gristmill_core::audit::Action;
use gristmill_core::id::{SessionId, UserId};

use super::{noted, sessions};
use crate::accounts::{RefreshSession, Refreshed, SecretHash};
use crate::audit::Facts;
use crate::error::Result;
use crate::sql::{Columns, Sql, values};

/// Of many at once with the same token the first changes the row, and the others find another hash there.
const RENEW: &str = "
UPDATE access_session SET hash = $2, last_seen_at = now(), idle_at = LEAST(expires_at, $3)
WHERE hash = $1 AND kind = 'tokens' AND revoked_at IS NULL AND expires_at > now() AND idle_at > now()
  AND user_id IN (SELECT id FROM access_user WHERE state = 'active')
RETURNING id, user_id, kind, address, agent, created_at, last_seen_at, expires_at";

const SPEND: &str = "INSERT INTO access_spent (hash, session_id, spent_at) VALUES ($1, $2, now())";

const OWNER: &str = "
SELECT s.id, s.user_id FROM access_spent p JOIN access_session s ON s.id = p.session_id WHERE p.hash = $1";

const END_OWN: &str = "
UPDATE access_session SET revoked_at = now() WHERE hash = $1 AND kind = 'tokens' AND revoked_at IS NULL
RETURNING id, user_id";

const END: &str = "UPDATE access_session SET revoked_at = now() WHERE id = $1 AND revoked_at IS NULL";

/// Uses a refresh token.
pub(crate) async fn refresh<S: Sql>(sql: &mut S, refresh: &RefreshSession) -> Result<Refreshed, S::Fault> {
    let idle_at = sql.now().await? + refresh.idle;
    let renewed = sql.row(RENEW, values![refresh.spent.to_vec(), refresh.next.to_vec(), idle_at]).await?;
    let Some(row) = renewed else { return reused(sql, refresh).await };
    let session = sessions::view(&row)?;
    drop(row);
    sql.run(SPEND, values![refresh.spent.to_vec(), session.id.0]).await?;
    noted::user(sql, session.user).await?;
    noted::say(sql, |facts| {
        facts.change();
        facts.set("session", session.id.to_string());
    });
    Ok(Refreshed::Renewed(session))
}

/// What is no token to go on with: one that was used, or none at all.
async fn reused<S: Sql>(sql: &mut S, refresh: &RefreshSession) -> Result<Refreshed, S::Fault> {
    let Some(row) = sql.row(OWNER, values![refresh.spent.to_vec()]).await? else {
        noted::say(sql, Facts::withhold);
        return Ok(Refreshed::Unknown);
    };
    let (session, user): (SessionId, UserId) = (row.id("id")?, row.id("user_id")?);
    drop(row);
    // What comes again and again is written down once.
    if sql.run(END, values![session.0]).await? == 0 {
        noted::say(sql, Facts::withhold);
        return Ok(Refreshed::Reused);
    }
    noted::user(sql, user).await?;
    noted::say(sql, |facts| {
        facts.change();
        facts.act(Action::SessionReuse);
        facts.set("session", session.to_string());
    });
    Ok(Refreshed::Reused)
}

/// Ends the session whose refresh token this is.
pub(crate) async fn end<S: Sql>(sql: &mut S, hash: &SecretHash) -> Result<bool, S::Fault> {
    let Some(row) = sql.row(END_OWN, values![hash.to_vec()]).await? else { return Ok(false) };
    let (session, user): (SessionId, UserId) = (row.id("id")?, row.id("user_id")?);
    drop(row);
    noted::user(sql, user).await?;
    noted::say(sql, |facts| {
        facts.change();
        facts.set("session", session.to_string());
        facts.set("ended", 1);
    });
    Ok(true)
}
