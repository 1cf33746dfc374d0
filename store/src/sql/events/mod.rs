//! The log of events: published, put into one order, delivered.

pub(crate) mod delivering;
pub(crate) mod listed;
pub(crate) mod own;
pub(crate) mod published;
pub(crate) mod replays;
pub(crate) mod schemas;
pub(crate) mod subscriptions;

use gristmill_core::Instant;

use super::{Sql, values};

/// One process at a time, by the lock on the head: what is committed and has no position gets the next ones.
const HEAD: &str = "SELECT position FROM event_head WHERE one = 1 FOR UPDATE";

const SEQUENCE: &str = "
UPDATE event SET position = n.position, seq = n.seq FROM (
    SELECT u.number, $1 + row_number() OVER (ORDER BY u.number) AS position,
           COALESCE((SELECT max(s.seq) FROM event s WHERE s.tenant = u.tenant AND s.stream = u.stream
                     AND s.position IS NOT NULL), 0)
               + row_number() OVER (PARTITION BY u.tenant, u.stream ORDER BY u.number) AS seq
    FROM (SELECT e.number, e.tenant, e.stream FROM event e WHERE e.position IS NULL ORDER BY e.number LIMIT $2) AS u
) AS n
WHERE event.number = n.number";

const ADVANCE: &str = "UPDATE event_head SET position = position + $1 WHERE one = 1";

/// Nothing to sequence costs no lock.
const ANY_NEW: &str = "SELECT number FROM event WHERE position IS NULL LIMIT 1";

/// Gives what is committed its place in the order of all. Returns how many there were.
pub(crate) async fn sequence<S: Sql>(sql: &mut S, limit: &u32) -> Result<u64, S::Fault> {
    use super::Columns as _;
    if sql.row(ANY_NEW, values![]).await?.is_none() {
        return Ok(0);
    }
    let Some(head) = sql.row(HEAD, values![]).await? else { return Ok(0) };
    let head: i64 = head.number("position")?;
    let sequenced = sql.run(SEQUENCE, values![head, (*limit).min(crate::EVENT_ROWS_MAX)]).await?;
    sql.run(ADVANCE, values![sequenced]).await?;
    Ok(sequenced)
}

const PRUNE: &str = "
DELETE FROM event WHERE number IN (
    SELECT e.number FROM event e
    WHERE e.accepted_at < $1 AND e.position IS NOT NULL
      AND NOT EXISTS (SELECT 1 FROM event_subscription s WHERE s.tenant = e.tenant AND s.cursor < e.position)
      AND NOT EXISTS (SELECT 1 FROM event_replay r WHERE r.tenant = e.tenant AND r.state = 'running'
                      AND r.cursor < e.position AND r.until >= e.position)
    ORDER BY e.accepted_at LIMIT $2)";

const PRUNE_DELIVERIES: &str = "
DELETE FROM event_delivery WHERE (tenant, subscription, position, replay) IN (
    SELECT d.tenant, d.subscription, d.position, d.replay FROM event_delivery d
    WHERE d.at < $1 AND NOT EXISTS (SELECT 1 FROM event e WHERE e.position = d.position)
    ORDER BY d.at LIMIT $2)";

const PRUNE_REPLAYS: &str = "
DELETE FROM event_replay WHERE id IN (
    SELECT r.id FROM event_replay r WHERE r.ended_at < $1 ORDER BY r.ended_at LIMIT $2)";

/// Removes events that nothing waits for any more, and what became of them.
pub(crate) async fn prune<S: Sql>(sql: &mut S, (before, limit): &(Instant, u32)) -> Result<u64, S::Fault> {
    let removed = sql.run(PRUNE, values![*before, *limit]).await?;
    sql.run(PRUNE_DELIVERIES, values![*before, *limit]).await?;
    sql.run(PRUNE_REPLAYS, values![*before, *limit]).await?;
    Ok(removed)
}
