//! Errors that an operator has acknowledged.

use gristmill_core::Instant;

use super::{Columns, Sql, values};
use crate::check;
use crate::error::{Result, StoreError};
use crate::{ACKNOWLEDGED_MAX, AcknowledgementView, ControlReport, NewAcknowledgement};

/// The longest short name of a fingerprint.
const FINGERPRINT_BYTES_MAX: usize = 64;

const ACKNOWLEDGE: &str = "
INSERT INTO error_acknowledged (tenant, fingerprint, said_by, reason, at) VALUES ($1, $2, $3, $4, now())
ON CONFLICT (tenant, fingerprint) DO UPDATE SET said_by = excluded.said_by, reason = excluded.reason, at = excluded.at";

const REOPEN: &str = "DELETE FROM error_acknowledged WHERE tenant = $1 AND fingerprint = $2";

const LIST: &str = "
SELECT fingerprint, said_by, reason, at FROM error_acknowledged WHERE tenant = $1 ORDER BY at DESC, fingerprint LIMIT $2";

const LIST_OF: &str = "
SELECT fingerprint, said_by, reason, at FROM error_acknowledged
WHERE tenant = $1 AND fingerprint IN (SELECT e.value ->> 0 FROM json_array_elements($2::json) AS e)
ORDER BY fingerprint";

const PRUNE: &str = "
DELETE FROM error_acknowledged WHERE (tenant, fingerprint) IN (
    SELECT tenant, fingerprint FROM error_acknowledged WHERE at < $1 ORDER BY at, tenant, fingerprint LIMIT $2)";

/// Refuses what is no short name of a fingerprint.
pub(crate) fn check_fingerprint(fingerprint: &str) -> Result<()> {
    let is_one = (1..=FINGERPRINT_BYTES_MAX).contains(&fingerprint.len())
        && fingerprint.bytes().all(|byte| byte.is_ascii_hexdigit());
    if is_one {
        return Ok(());
    }
    Err(StoreError::Invalid(format!(
        "`{fingerprint}` is no fingerprint; one has hexadecimal digits, such as `a1b2c3d4e5f6`"
    )))
}

/// Notes that an error was seen.
pub(crate) async fn acknowledge<S: Sql>(sql: &mut S, ack: &&NewAcknowledgement) -> Result<ControlReport, S::Fault> {
    check_fingerprint(&ack.fingerprint)?;
    let reason = ack.reason.as_deref().map(|reason| check::plain(reason, check::REASON_CHARS_MAX));
    let by = check::plain(&ack.by, check::REASON_CHARS_MAX);
    sql.run(ACKNOWLEDGE, values![&ack.tenant, &ack.fingerprint, by, reason]).await?;
    Ok(one(&ack.fingerprint, 1))
}

/// Takes that back.
pub(crate) async fn reopen<S: Sql>(
    sql: &mut S,
    (tenant, fingerprint): &(&str, &str),
) -> Result<ControlReport, S::Fault> {
    check_fingerprint(fingerprint)?;
    let gone = sql.run(REOPEN, values![*tenant, *fingerprint]).await?;
    Ok(one(fingerprint, gone))
}

fn one(fingerprint: &str, affected: u64) -> ControlReport {
    let samples = (affected > 0).then(|| fingerprint.to_owned()).into_iter().collect();
    ControlReport { affected, samples, ..ControlReport::default() }
}

/// What was acknowledged, the newest first.
pub(crate) async fn list<S: Sql>(sql: &mut S, tenant: &str) -> Result<Vec<AcknowledgementView>, S::Fault> {
    let rows = sql.rows(LIST, values![tenant, ACKNOWLEDGED_MAX]).await?;
    Ok(rows.iter().map(view).collect::<Result<_>>()?)
}

/// Which of these errors were acknowledged.
pub(crate) async fn list_of<S: Sql>(
    sql: &mut S,
    (tenant, fingerprints): &(&str, &[String]),
) -> Result<Vec<AcknowledgementView>, S::Fault> {
    let names: Vec<[&String; 1]> = fingerprints.iter().map(|name| [name]).collect();
    let rows = sql.rows(LIST_OF, values![*tenant, check::json(&names)?]).await?;
    Ok(rows.iter().map(view).collect::<Result<_>>()?)
}

fn view(row: &impl Columns) -> Result<AcknowledgementView> {
    Ok(AcknowledgementView {
        fingerprint: row.text("fingerprint")?,
        by: row.text("said_by")?,
        reason: row.maybe_text("reason")?,
        at: row.instant("at")?,
    })
}

/// Removes what was acknowledged long ago.
pub(crate) async fn prune<S: Sql>(sql: &mut S, &(before, limit): &(Instant, u32)) -> Result<u64, S::Fault> {
    sql.run(PRUNE, values![before, limit]).await
}
