//! The list of addresses to which nothing is sent.

use std::time::Duration;

use gristmill_core::Instant;

use super::{Columns, Sql, values};
use crate::check;
use crate::error::{Result, StoreError};
use crate::{Page, Suppression, SuppressionView};

/// A stronger reason is not replaced by a weaker one, as long as it stands.
pub(super) const SUPPRESS: &str = "
INSERT INTO suppression (tenant, address_hash, stream, reason, note, created_at, until)
VALUES ($1, $2, $3, $4, $5, now(), $6)
ON CONFLICT (tenant, address_hash, stream) DO UPDATE SET reason = excluded.reason, note = excluded.note,
    created_at = excluded.created_at, until = excluded.until
WHERE (suppression.until IS NOT NULL AND suppression.until <= now()) OR excluded.reason = 'complaint'
   OR (excluded.reason = 'bounce' AND suppression.reason <> 'complaint')
   OR suppression.reason IN ('manual', 'unsubscribe')";

const UNSUPPRESS: &str = "DELETE FROM suppression WHERE tenant = $1 AND address_hash = $2 AND stream = $3";

const SUPPRESSIONS: &str = "
SELECT address_hash, stream, reason, note, created_at, until FROM suppression
WHERE tenant = $1 AND (address_hash, stream) > ($2, $3) AND (until IS NULL OR until > now())
ORDER BY address_hash, stream LIMIT $4";

const SUPPRESSIONS_OF: &str = "
SELECT address_hash, stream, reason, note, created_at, until FROM suppression
WHERE tenant = $1 AND address_hash = $2 AND (until IS NULL OR until > now()) ORDER BY stream";

/// Puts addresses on the list.
pub(crate) async fn suppress<S: Sql>(sql: &mut S, entries: &&[Suppression]) -> Result<u64, S::Fault> {
    check::suppressions(entries)?;
    // In the order of their keys, so that two processes which put the same ones there wait for each other and no more.
    let mut ordered: Vec<&Suppression> = entries.iter().collect();
    ordered.sort_by_key(|entry| (&entry.tenant, entry.address_hash, &entry.stream));
    let mut put = 0;
    for entry in ordered {
        let until = until(sql, entry.keep).await?;
        let note = entry.note.as_deref().map(|note| check::plain(note, check::REASON_CHARS_MAX));
        let (hash, reason) = (entry.address_hash.to_vec(), entry.reason.as_str());
        put += sql.run(SUPPRESS, values![&entry.tenant, hash, &entry.stream, reason, note, until]).await?;
    }
    Ok(put)
}

/// Takes an address off the list.
pub(crate) async fn unsuppress<S: Sql>(
    sql: &mut S,
    &(tenant, hash, stream): &(&str, &[u8; 32], &str),
) -> Result<bool, S::Fault> {
    Ok(sql.run(UNSUPPRESS, values![tenant, hash.to_vec(), stream]).await? > 0)
}

/// Returns the entries that stand now.
pub(crate) async fn suppressions<S: Sql>(
    sql: &mut S,
    &(tenant, page): &(&str, &Page),
) -> Result<Vec<SuppressionView>, S::Fault> {
    let (hash, stream) = after_entry(page)?;
    let rows = sql.rows(SUPPRESSIONS, values![tenant, hash, stream, page.rows()]).await?;
    Ok(rows.iter().map(entry).collect::<Result<_>>()?)
}

/// Returns the entries of an address that stand now.
pub(crate) async fn suppressions_of<S: Sql>(
    sql: &mut S,
    &(tenant, hash): &(&str, &[u8; 32]),
) -> Result<Vec<SuppressionView>, S::Fault> {
    let rows = sql.rows(SUPPRESSIONS_OF, values![tenant, hash.to_vec()]).await?;
    Ok(rows.iter().map(entry).collect::<Result<_>>()?)
}

fn entry(row: &impl Columns) -> Result<SuppressionView> {
    Ok(SuppressionView {
        address_sha256: hex::encode(row.bytes("address_hash")?),
        stream: row.text("stream")?,
        reason: row.word("reason")?,
        note: row.maybe_text("note")?,
        created_at: row.instant("created_at")?,
        until: row.maybe_instant("until")?,
    })
}

/// The key of an entry is `HASH/STREAM`. Behind nothing is everything: no hash is empty.
fn after_entry(page: &Page) -> Result<(Vec<u8>, String)> {
    let Some(after) = &page.after else { return Ok((Vec::new(), String::new())) };
    let wrong = || StoreError::Invalid(format!("`{after}` is no key of an entry; it is HASH/STREAM"));
    let (hash, stream) = after.split_once('/').ok_or_else(wrong)?;
    Ok((hex::decode(hash).map_err(|_| wrong())?, stream.to_owned()))
}

/// When an entry that is kept for so long ends.
pub(super) async fn until<S: Sql>(sql: &mut S, keep: Option<Duration>) -> Result<Option<Instant>, S::Fault> {
    let Some(keep) = keep else { return Ok(None) };
    let now = sql.now().await?;
    let until = chrono::TimeDelta::from_std(keep).ok().and_then(|keep| now.checked_add_signed(keep));
    Ok(Some(until.ok_or_else(|| StoreError::Invalid("nothing is kept on a list for so long".to_owned()))?))
}
