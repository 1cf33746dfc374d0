//! Requests from outside that carry an idempotency key.

use gristmill_core::Instant;
use uuid::Uuid;

use super::{Columns, Sql, values};
use crate::error::{Result, StoreError};
use crate::{ANSWER_BYTES_MAX, BegunRequest, KeptAnswer, NewRequest, RequestKey};

/// The key itself is looked at in any case; of the others a few each time, so that no request pays for all.
const FORGET_EXPIRED: &str = "
DELETE FROM request WHERE (tenant = $1 AND caller = $2 AND key = $3 AND keep_until <= now())
    OR attempt IN (SELECT attempt FROM request WHERE keep_until <= now() ORDER BY keep_until LIMIT 20)";

const BEGIN: &str = "
INSERT INTO request (tenant, caller, key, attempt, sha256, lease_until, keep_until)
VALUES ($1, $2, $3, $4, $5, $6, $7) ON CONFLICT (tenant, caller, key) DO NOTHING";

const KNOWN: &str = "
SELECT sha256, lease_until, status, document, location FROM request
WHERE tenant = $1 AND caller = $2 AND key = $3";

/// Guarded by the lease that was seen: of two that take over at once, one does.
const TAKE_OVER: &str = "
UPDATE request SET attempt = $4, lease_until = $5
WHERE tenant = $1 AND caller = $2 AND key = $3 AND status IS NULL AND lease_until = $6";

const ANSWER: &str = "
UPDATE request SET status = $5, document = $6, location = $7
WHERE tenant = $1 AND caller = $2 AND key = $3 AND attempt = $4 AND status IS NULL";

const FORGET: &str = "
DELETE FROM request WHERE tenant = $1 AND caller = $2 AND key = $3 AND attempt = $4 AND status IS NULL";

/// Begins a request, or says what it meets.
pub(crate) async fn begin<S: Sql>(sql: &mut S, request: &NewRequest) -> Result<BegunRequest, S::Fault> {
    let RequestKey { tenant, caller, key } = &request.key;
    let now = sql.now().await?;
    let (lease_until, keep_until) = (after(now, request.lease)?, after(now, request.keep)?);
    sql.run(FORGET_EXPIRED, values![tenant, caller, key]).await?;
    let fresh = values![tenant, caller, key, request.attempt, &request.sha256, lease_until, keep_until];
    if sql.run(BEGIN, fresh).await? == 1 {
        return Ok(BegunRequest::Begun);
    }
    let Some(row) = sql.row(KNOWN, values![tenant, caller, key]).await? else {
        // It was forgotten between the two statements.
        return Ok(BegunRequest::UnderWay);
    };
    if row.text("sha256")? != request.sha256 {
        return Ok(BegunRequest::Different);
    }
    if let Some(status) = row.maybe_number("status")? {
        let status = u16::try_from(status).map_err(|_| StoreError::Database(format!("{status} is no status")))?;
        let (document, location) = (row.maybe_text("document")?, row.maybe_text("location")?);
        return Ok(BegunRequest::Answered(KeptAnswer { status, document, location }));
    }
    let lease = row.instant("lease_until")?;
    if lease > now {
        return Ok(BegunRequest::UnderWay);
    }
    let taken = values![tenant, caller, key, request.attempt, lease_until, lease];
    let taken = sql.run(TAKE_OVER, taken).await? == 1;
    Ok(if taken { BegunRequest::Begun } else { BegunRequest::UnderWay })
}

fn after(now: Instant, time: std::time::Duration) -> Result<Instant> {
    let time = chrono::TimeDelta::from_std(time).ok();
    let until = time.and_then(|time| now.checked_add_signed(time));
    until.ok_or_else(|| StoreError::Invalid("a request cannot be kept for so long".to_owned()))
}

/// Keeps an answer.
pub(crate) async fn answer<S: Sql>(
    sql: &mut S,
    &(key, attempt, answer): &(&RequestKey, Uuid, &KeptAnswer),
) -> Result<bool, S::Fault> {
    let RequestKey { tenant, caller, key } = key;
    let document = answer.document.as_ref().filter(|document| document.len() <= ANSWER_BYTES_MAX);
    let (status, location) = (i32::from(answer.status), answer.location.clone());
    let values = values![tenant, caller, key, attempt, status, document.cloned(), location];
    Ok(sql.run(ANSWER, values).await? == 1)
}

/// Forgets a request that has changed nothing.
pub(crate) async fn forget<S: Sql>(sql: &mut S, &(key, attempt): &(&RequestKey, Uuid)) -> Result<(), S::Fault> {
    let RequestKey { tenant, caller, key } = key;
    sql.run(FORGET, values![tenant, caller, key, attempt]).await?;
    Ok(())
}
