//! Second factors: offered, confirmed by a first code, spent at each login, removed.

use gristmill_core::id::UserId;

use super::{noted, person};
use crate::accounts::{ConfirmFactor, Factor, Second};
use crate::check;
use crate::error::{Result, StoreError};
use crate::sql::{Columns, Sql, values};

const FACTOR: &str = "
SELECT secret, CASE WHEN confirmed_at IS NULL THEN 0 ELSE 1 END AS confirmed, last_step,
       (SELECT count(*) FROM access_recovery r WHERE r.user_id = f.user_id AND r.used_at IS NULL) AS recovery_left
FROM access_factor f WHERE user_id = $1";

const OFFER: &str = "
INSERT INTO access_factor (user_id, secret, last_step, created_at) VALUES ($1, $2, 0, now())
ON CONFLICT (user_id) DO UPDATE SET secret = excluded.secret, created_at = excluded.created_at
WHERE access_factor.confirmed_at IS NULL";

const CONFIRM: &str = "
UPDATE access_factor SET confirmed_at = now(), last_step = $3
WHERE user_id = $1 AND secret = $2 AND confirmed_at IS NULL";

const ADD_RECOVERY: &str = "INSERT INTO access_recovery (user_id, hash) VALUES ($1, $2)";

const DROP_RECOVERY: &str = "DELETE FROM access_recovery WHERE user_id = $1";

const DROP: &str = "DELETE FROM access_factor WHERE user_id = $1";

const SPEND_STEP: &str = "
UPDATE access_factor SET last_step = $2 WHERE user_id = $1 AND confirmed_at IS NOT NULL AND last_step < $2";

const SPEND_RECOVERY: &str = "
UPDATE access_recovery SET used_at = now() WHERE user_id = $1 AND hash = $2 AND used_at IS NULL";

/// The most bytes of a secret.
const SECRET_BYTES_MAX: usize = 64;

/// The most recovery codes.
const RECOVERY_MAX: usize = 20;

/// A user's factor.
pub(crate) async fn one<S: Sql>(sql: &mut S, user: UserId) -> Result<Option<Factor>, S::Fault> {
    let row = sql.row(FACTOR, values![user.0]).await?;
    let factor = |row: S::Row| {
        Ok::<_, StoreError>(Factor {
            secret: row.bytes("secret")?,
            confirmed: row.number::<i64>("confirmed")? > 0,
            last_step: row.number("last_step")?,
            recovery_left: row.number("recovery_left")?,
        })
    };
    Ok(row.map(factor).transpose()?)
}

/// Offers a factor to a user, in place of one that was not confirmed.
pub(crate) async fn offer<S: Sql>(sql: &mut S, (user, secret): &(UserId, &[u8])) -> Result<(), S::Fault> {
    check::at_most(secret.len(), SECRET_BYTES_MAX, "bytes of a factor's secret")?;
    if sql.run(OFFER, values![user.0, secret.to_vec()]).await? == 0 {
        let what = "there is a second factor already; remove it first";
        return Err(StoreError::Conflict(what.to_owned()).into());
    }
    Ok(())
}

/// Confirms a factor by its first code. Returns how many sessions ended.
pub(crate) async fn confirm<S: Sql>(sql: &mut S, confirm: &ConfirmFactor) -> Result<u64, S::Fault> {
    let ConfirmFactor { user, secret, step, recovery, keep } = confirm;
    check::at_most(recovery.len(), RECOVERY_MAX, "recovery codes")?;
    if sql.run(CONFIRM, values![user.0, secret.clone(), *step]).await? == 0 {
        let what = "the second factor was confirmed or replaced meanwhile; begin again";
        return Err(StoreError::Conflict(what.to_owned()).into());
    }
    sql.run(DROP_RECOVERY, values![user.0]).await?;
    for hash in recovery {
        sql.run(ADD_RECOVERY, values![user.0, hash.to_vec()]).await?;
    }
    let ended = person::end_sessions(sql, *user, *keep).await?;
    noted::user(sql, *user).await?;
    noted::set(sql, "sessions_ended", ended);
    Ok(ended)
}

/// Removes a factor: by what is shown of it, or by one who may without it, and then all sessions end. Returns whether there
/// was one.
pub(crate) async fn remove<S: Sql>(sql: &mut S, (user, with): &(UserId, Option<Second>)) -> Result<bool, S::Fault> {
    if let Some(second) = with {
        spend(sql, *user, *second).await?;
    }
    let removed = sql.run(DROP, values![user.0]).await? > 0;
    if removed {
        sql.run(DROP_RECOVERY, values![user.0]).await?;
        let ended = if with.is_none() { person::end_sessions(sql, *user, None).await? } else { 0 };
        noted::user(sql, *user).await?;
        noted::set(sql, "sessions_ended", ended);
        noted::set(sql, "second", with.map(Second::word));
    }
    Ok(removed)
}

/// Demands that a user who has a factor has shown something of it, and spends that.
pub(super) async fn demand<S: Sql>(sql: &mut S, user: UserId, shown: Option<Second>) -> Result<(), S::Fault> {
    let has_one = one(sql, user).await?.is_some_and(|factor| factor.confirmed);
    match shown {
        Some(second) => spend(sql, user, second).await,
        // It was confirmed since the caller has looked.
        None if has_one => Err(spent().into()),
        None => Ok(()),
    }
}

/// Spends what a user shows of their factor for something else than a login.
pub(crate) async fn spend_for<S: Sql>(sql: &mut S, (user, shown): &(UserId, Option<Second>)) -> Result<(), S::Fault> {
    demand(sql, *user, *shown).await
}

/// Spends a code: what was spent already, or is none, is refused.
async fn spend<S: Sql>(sql: &mut S, user: UserId, second: Second) -> Result<(), S::Fault> {
    let taken = match second {
        Second::Step(step) => sql.run(SPEND_STEP, values![user.0, step]).await?,
        Second::Recovery(hash) => sql.run(SPEND_RECOVERY, values![user.0, hash.to_vec()]).await?,
    };
    if taken == 0 { Err(spent().into()) } else { Ok(()) }
}

/// The error for a code that is not taken.
fn spent() -> StoreError {
    StoreError::Denied("the code of the second factor is wrong, or was used already".to_owned())
}
