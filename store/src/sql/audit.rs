//! The audit: entries at the end of the tenant's chain, and what is asked of it.

use gristmill_core::Instant;
use gristmill_core::audit::{AuditEntry, ChainEnd, SealedEntry, SignedHead, Sum};
use serde_json::{Map, Value, json};

use super::{Columns, Sql, events, values};
use crate::audit::AUDIT_ROWS_MAX;
use crate::error::{Result, StoreError};
use crate::{Attribution, AuditFilter, AuditHead};

const HEAD: &str = "SELECT tenant, seq, hash, pruned_seq, pruned_hash FROM audit_head WHERE tenant = $1 FOR UPDATE";

const BEGIN: &str = "
INSERT INTO audit_head (tenant, seq, hash, pruned_seq, pruned_hash) VALUES ($1, 0, $2, 0, $2) ON CONFLICT DO NOTHING";

const APPEND: &str = "
INSERT INTO audit_entry (tenant, seq, at, order_id, step_id, actor_kind, actor, subject, role, address, request,
                         action, target, reason, details, previous, hash)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17)
ON CONFLICT (tenant, step_id) DO NOTHING";

const ADVANCE: &str = "UPDATE audit_head SET seq = $2, hash = $3 WHERE tenant = $1 AND seq = $2 - 1";

macro_rules! entries {
    ($rest:literal) => {
        concat!(
            "SELECT e.tenant, e.seq, e.at, e.order_id, e.step_id, e.actor_kind, e.actor, e.subject, e.role, e.address, ",
            "e.request, e.action, e.target, e.reason, e.details, e.previous, e.hash FROM audit_entry e WHERE e.tenant = $1 ",
            $rest
        )
    };
}

const LIST: &str = entries!(
    "AND ($2::text IS NULL OR e.actor = $2) AND ($3::text IS NULL OR e.action = $3)
     AND ($4::text IS NULL OR e.target = $4) AND ($5::timestamptz IS NULL OR e.at >= $5)
     AND ($6::timestamptz IS NULL OR e.at < $6) AND ($7::bigint IS NULL OR e.seq < $7)
     ORDER BY e.seq DESC LIMIT $8"
);

const BEHIND: &str = entries!("AND e.seq > $2 ORDER BY e.seq LIMIT $3");

const HEADS: &str = "
SELECT tenant, seq, hash, pruned_seq, pruned_hash FROM audit_head
WHERE $1::text IS NULL OR tenant = $1 ORDER BY tenant";

const KEEP_SIGNED: &str = "
INSERT INTO audit_signed_head (tenant, seq, hash, at, key, signature) VALUES ($1, $2, $3, $4, $5, $6)
ON CONFLICT DO NOTHING";

const SIGNED: &str = "
SELECT tenant, seq, hash, at, key, signature FROM audit_signed_head WHERE tenant = $1 AND seq > $2
ORDER BY seq, key LIMIT $3";

const MARK: &str = "
UPDATE audit_head SET pruned_seq = $2, pruned_hash = $3 WHERE tenant = $1 AND pruned_seq < $2 AND seq > $2";

const IS_ENTRY: &str = "SELECT seq FROM audit_entry WHERE tenant = $1 AND seq = $2 AND hash = $3";

const REMOVE: &str = "DELETE FROM audit_entry WHERE tenant = $1 AND seq <= $2";

/// Puts an entry at the end of its tenant's chain, unless its step has one already.
pub(crate) async fn append<S: Sql>(
    sql: &mut S,
    attribution: &Attribution,
    fields: &Map<String, Value>,
) -> Result<bool, S::Fault> {
    let tenant = &attribution.tenant;
    let none = Sum::default().to_string();
    let mut head = sql.row(HEAD, values![tenant]).await?;
    if head.is_none() {
        // Another process may begin the same chain: the second one finds its head.
        sql.run(BEGIN, values![tenant, none]).await?;
        head = sql.row(HEAD, values![tenant]).await?;
    }
    let lost = || StoreError::Database(format!("the audit of the tenant `{tenant}` has no head"));
    let head = head_of(&head.ok_or_else(lost)?)?;
    let at = sql.now().await?;
    let SealedEntry { entry, previous, hash } = attribution.entry(head.end.seq + 1, at, fields).sealed(head.end.hash);
    let reported = events::own::of_entry(&entry);
    let (seq, hash) = (entry.seq, hash.to_string());
    let values = values![
        entry.tenant,
        seq,
        entry.at,
        entry.order,
        entry.step,
        entry.actor_kind,
        entry.actor,
        entry.subject,
        entry.role,
        entry.address,
        entry.request,
        entry.action,
        entry.target,
        entry.reason,
        entry.details,
        previous.to_string(),
        hash.clone(),
    ];
    if sql.run(APPEND, values).await? == 0 {
        return Ok(false);
    }
    if sql.run(ADVANCE, values![tenant, seq, hash]).await? == 0 {
        return Err(StoreError::Conflict("the audit went on meanwhile; try again".to_owned()).into());
    }
    if let Some(event) = reported {
        events::published::insert(sql, &[event]).await?;
    }
    Ok(true)
}

/// Entries of a tenant, newest first.
pub(crate) async fn list<S: Sql>(sql: &mut S, filter: &AuditFilter) -> Result<Vec<SealedEntry>, S::Fault> {
    let before = filter.before.map(|seq| i64::try_from(seq).unwrap_or(i64::MAX));
    let values = values![
        &filter.tenant,
        filter.actor.as_deref(),
        filter.action.as_deref(),
        filter.target.as_deref(),
        filter.since,
        filter.until,
        before,
        filter.limit.min(AUDIT_ROWS_MAX),
    ];
    let rows = sql.rows(LIST, values).await?;
    Ok(rows.iter().map(entry_of).collect::<Result<_>>()?)
}

/// Entries of a tenant behind a number, in their order.
pub(crate) async fn behind<S: Sql>(
    sql: &mut S,
    tenant: &str,
    seq: u64,
    limit: u32,
) -> Result<Vec<SealedEntry>, S::Fault> {
    let rows = sql.rows(BEHIND, values![tenant, seq, limit.min(AUDIT_ROWS_MAX)]).await?;
    Ok(rows.iter().map(entry_of).collect::<Result<_>>()?)
}

/// The heads of all chains, or of one.
pub(crate) async fn heads<S: Sql>(sql: &mut S, tenant: Option<&str>) -> Result<Vec<AuditHead>, S::Fault> {
    let rows = sql.rows(HEADS, values![tenant]).await?;
    Ok(rows.iter().map(head_of).collect::<Result<_>>()?)
}

/// Keeps a signed head.
pub(crate) async fn keep_signed<S: Sql>(sql: &mut S, head: &SignedHead) -> Result<bool, S::Fault> {
    let SignedHead { tenant, seq, hash, at, key, signature } = head;
    let values = values![tenant, *seq, hash.to_string(), *at, key, signature];
    Ok(sql.run(KEEP_SIGNED, values).await? > 0)
}

/// The signed heads of a tenant behind a number.
pub(crate) async fn signed<S: Sql>(sql: &mut S, tenant: &str, seq: u64) -> Result<Vec<SignedHead>, S::Fault> {
    let rows = sql.rows(SIGNED, values![tenant, seq, AUDIT_ROWS_MAX]).await?;
    let head = |row: &S::Row| {
        Ok(SignedHead {
            tenant: row.text("tenant")?,
            seq: row.number("seq")?,
            hash: sum(row, "hash")?,
            at: row.instant("at")?,
            key: row.text("key")?,
            signature: row.text("signature")?,
        })
    };
    Ok(rows.iter().map(head).collect::<Result<_>>()?)
}

/// Removes the oldest entries, and says so at the end of the chain.
pub(crate) async fn prune<S: Sql>(sql: &mut S, (attribution, to): &(&Attribution, ChainEnd)) -> Result<u64, S::Fault> {
    let (tenant, hash) = (&attribution.tenant, to.hash.to_string());
    // The entry that says so is the first to lock the head.
    let fields = json!({ "to": to.seq, "hash": hash });
    let fields = fields.as_object().cloned().unwrap_or_default();
    if sql.row(IS_ENTRY, values![tenant, to.seq, &hash]).await?.is_none() {
        return Ok(0);
    }
    if !append(sql, attribution, &fields).await? {
        return Ok(0);
    }
    if sql.run(MARK, values![tenant, to.seq, &hash]).await? == 0 {
        let what = format!("entry {} of the audit was removed already, or is the last", to.seq);
        return Err(StoreError::Conflict(what).into());
    }
    sql.run(REMOVE, values![tenant, to.seq]).await
}

/// What is no hash fits no entry: that is for those to find who verify the chain.
fn sum(row: &impl Columns, column: &str) -> Result<Sum> {
    Ok(row.text(column)?.parse().unwrap_or_default())
}

fn head_of(row: &impl Columns) -> Result<AuditHead> {
    Ok(AuditHead {
        tenant: row.text("tenant")?,
        end: ChainEnd { seq: row.number("seq")?, hash: sum(row, "hash")? },
        pruned: ChainEnd { seq: row.number("pruned_seq")?, hash: sum(row, "pruned_hash")? },
    })
}

fn entry_of(row: &impl Columns) -> Result<SealedEntry> {
    let at: Instant = row.instant("at")?;
    Ok(SealedEntry {
        entry: AuditEntry {
            tenant: row.text("tenant")?,
            seq: row.number("seq")?,
            at,
            order: row.id("order_id")?,
            step: row.id("step_id")?,
            actor_kind: row.text("actor_kind")?,
            actor: row.text("actor")?,
            subject: row.maybe_id("subject")?,
            role: row.maybe_text("role")?,
            address: row.maybe_text("address")?,
            request: row.maybe_text("request")?,
            action: row.text("action")?,
            target: row.text("target")?,
            reason: row.maybe_text("reason")?,
            details: row.text("details")?,
        },
        previous: sum(row, "previous")?,
        hash: sum(row, "hash")?,
    })
}
