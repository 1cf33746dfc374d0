//! Events as they are looked at.

use gristmill_core::event::Event;
use gristmill_core::id::JobId;
use serde_json::{Map, Value};
use uuid::Uuid;

use super::super::{Columns, Sql, values};
use crate::error::{Result, StoreError};
use crate::{DeliveryView, EVENT_ROWS_MAX, EventFilter};

macro_rules! events {
    ($rest:literal) => {
        concat!(
            "SELECT e.position, e.seq, e.tenant, e.id, e.source, e.type, e.version, e.subject, e.stream, e.time, e.data, ",
            "e.trace, e.caused_by, e.extensions, e.correlation, e.causation, e.depth, e.accepted_at FROM event e ",
            $rest
        )
    };
}

macro_rules! conditions {
    ($chain:literal, $order:literal) => {
        concat!(
            events!(
                "WHERE e.tenant = $1 AND e.position > $2 AND e.position < $3
      AND ($4::timestamptz IS NULL OR e.accepted_at >= $4) AND ($5::timestamptz IS NULL OR e.accepted_at < $5)
      AND ($6::text IS NULL OR e.stream = $6) AND ($8::text IS NULL OR strpos(e.type, $8) = 1)
      AND "
            ),
            $chain,
            " ORDER BY e.position ",
            $order,
            " LIMIT $9"
        )
    };
}

const IN_ORDER: &str = conditions!("$7::text IS NULL", "");
const NEWEST_FIRST: &str = conditions!("$7::text IS NULL", "DESC");

/// Those of one chain have an index of their own.
const CHAIN_IN_ORDER: &str = conditions!("e.correlation = $7", "");
const CHAIN_NEWEST_FIRST: &str = conditions!("e.correlation = $7", "DESC");

const BY_ID: &str =
    events!("WHERE e.tenant = $1 AND e.id = $2 AND ($3::text IS NULL OR e.source = $3) ORDER BY e.source LIMIT 2");

const DELIVERIES: &str = "
SELECT d.subscription, d.position, d.replay, d.job_id, d.run, d.refusal, d.reason, d.at
FROM event_delivery d WHERE d.position = $2 AND d.tenant = $1 ORDER BY d.subscription, d.at, d.replay LIMIT $3";

const REFUSED: &str = "
SELECT d.subscription, d.position, d.replay, d.job_id, d.run, d.refusal, d.reason, d.at
FROM event_delivery d WHERE d.tenant = $1 AND d.subscription = $2 AND d.refusal IS NOT NULL
ORDER BY d.at DESC, d.position DESC, d.replay LIMIT $3";

/// Events that meet every condition.
pub(crate) async fn list<S: Sql>(sql: &mut S, filter: &EventFilter) -> Result<Vec<Event>, S::Fault> {
    let values = values![
        &filter.tenant,
        filter.after.unwrap_or(0),
        filter.before.unwrap_or(u64::MAX),
        filter.since,
        filter.until,
        filter.stream.as_deref(),
        filter.correlation.as_deref(),
        filter.prefix.as_deref(),
        filter.limit.min(EVENT_ROWS_MAX),
    ];
    let statement = match (filter.correlation.is_some(), filter.newest_first) {
        (false, false) => IN_ORDER,
        (false, true) => NEWEST_FIRST,
        (true, false) => CHAIN_IN_ORDER,
        (true, true) => CHAIN_NEWEST_FIRST,
    };
    let rows = sql.rows(statement, values).await?;
    Ok(rows.iter().map(event).collect::<Result<_>>()?)
}

/// Events with an id.
pub(crate) async fn by_id<S: Sql>(
    sql: &mut S,
    tenant: &str,
    id: &str,
    source: Option<&str>,
) -> Result<Vec<Event>, S::Fault> {
    let rows = sql.rows(BY_ID, values![tenant, id, source]).await?;
    Ok(rows.iter().map(event).collect::<Result<_>>()?)
}

/// What became of an event.
pub(crate) async fn deliveries<S: Sql>(
    sql: &mut S,
    tenant: &str,
    position: u64,
) -> Result<Vec<DeliveryView>, S::Fault> {
    let rows = sql.rows(DELIVERIES, values![tenant, position, EVENT_ROWS_MAX]).await?;
    Ok(rows.iter().map(delivery).collect::<Result<_>>()?)
}

/// What was not delivered to a subscription.
pub(crate) async fn refused<S: Sql>(
    sql: &mut S,
    tenant: &str,
    name: &str,
    limit: u32,
) -> Result<Vec<DeliveryView>, S::Fault> {
    let rows = sql.rows(REFUSED, values![tenant, name, limit.min(EVENT_ROWS_MAX)]).await?;
    Ok(rows.iter().map(delivery).collect::<Result<_>>()?)
}

fn event(row: &impl Columns) -> Result<Event> {
    let unreadable = |column: &str| StoreError::Database(format!("column `{column}` of an event is no JSON"));
    let extensions: Map<String, Value> =
        serde_json::from_str(&row.text("extensions")?).map_err(|_| unreadable("extensions"))?;
    let natural = |column| Ok::<_, StoreError>(row.maybe_number(column)?.and_then(|number| u64::try_from(number).ok()));
    Ok(Event {
        position: natural("position")?,
        seq: natural("seq")?,
        tenant: row.text("tenant")?,
        id: row.text("id")?,
        source: row.text("source")?,
        kind: row.text("type")?,
        version: row.number("version")?,
        subject: row.maybe_text("subject")?,
        stream: row.text("stream")?,
        time: row.instant("time")?,
        data: row.maybe_any_json("data")?.unwrap_or_default(),
        trace: row.maybe_text("trace")?,
        user: row.maybe_text("caused_by")?,
        extensions,
        correlation: row.text("correlation")?,
        causation: row.maybe_text("causation")?,
        depth: row.number("depth")?,
        accepted_at: row.instant("accepted_at")?,
    })
}

fn delivery(row: &impl Columns) -> Result<DeliveryView> {
    let refusal = row.maybe_text("refusal")?;
    Ok(DeliveryView {
        subscription: row.text("subscription")?,
        position: row.number("position")?,
        replay: Uuid::parse_str(&row.text("replay")?).ok(),
        job: row.maybe_id("job_id")?.map(JobId),
        run: row.maybe_text("run")?,
        refusal: refusal.is_some().then(|| row.word("refusal")).transpose()?,
        reason: row.maybe_text("reason")?,
        at: row.instant("at")?,
    })
}
