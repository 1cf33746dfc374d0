//! Replays: events that are given to a subscription once more.

use gristmill_core::event::TypePattern;
use uuid::Uuid;

use super::super::{Columns, Sql, values};
use super::subscriptions::no_subscription;
use crate::check;
use crate::error::{Result, StoreError};
use crate::{ControlReport, EVENT_ROWS_MAX, NewReplay, ReplayView};

const KNOWN: &str = "SELECT version FROM event_subscription WHERE tenant = $1 AND name = $2";

/// Beyond the end is the end as it is now. Nothing to replay is over at once.
const START: &str = "
INSERT INTO event_replay (id, tenant, subscription, types, cursor, until, rate, state, ordered_by, reason, due_at,
                          created_at, ended_at)
SELECT $1, $2, $3, $4, $5, LEAST($6::bigint, h.position), $7,
       CASE WHEN $5::bigint < LEAST($6::bigint, h.position) THEN 'running' ELSE 'finished' END, $8, $9, now(), now(),
       CASE WHEN $5::bigint < LEAST($6::bigint, h.position) THEN NULL ELSE now() END
FROM event_head h WHERE h.one = 1
ON CONFLICT (id) DO NOTHING";

const CANCEL: &str = "
UPDATE event_replay SET state = 'cancelled', ended_at = now() WHERE tenant = $1 AND id = $2 AND state = 'running'";

macro_rules! replays {
    ($rest:literal) => {
        concat!(
            "SELECT r.id, r.tenant, r.subscription, r.types, r.cursor, r.until, r.rate, r.state, r.delivered, r.skipped, ",
            "r.refused, r.ordered_by, r.reason, r.created_at, r.ended_at FROM event_replay r ",
            $rest
        )
    };
}

const LIST: &str = replays!("WHERE r.tenant = $1 ORDER BY r.created_at DESC, r.id LIMIT $2");

const ONE: &str = replays!("WHERE r.tenant = $1 AND r.id = $2");

const DUE: &str = replays!(
    "JOIN event_subscription s ON s.tenant = r.tenant AND s.name = r.subscription AND s.paused_at IS NULL
WHERE r.state = 'running' AND r.due_at <= now() ORDER BY r.due_at, r.id LIMIT $1"
);

/// Refuses what is no replay.
pub(crate) fn check_replay(replay: &NewReplay) -> Result<()> {
    for pattern in &replay.types {
        pattern.parse::<TypePattern>().map_err(|error| StoreError::Invalid(error.to_string()))?;
    }
    if replay.until < replay.after {
        let NewReplay { after, until, .. } = replay;
        return Err(StoreError::Invalid(format!("the replay ends at {until}, before it begins behind {after}")));
    }
    if replay.rate == Some(0) {
        return Err(StoreError::Invalid("a rate of 0 events a second never ends; write 1 or more".to_owned()));
    }
    Ok(())
}

pub(crate) fn no_replay(id: Uuid) -> StoreError {
    StoreError::NotFound(format!("there is no replay {id}"))
}

/// Begins a replay.
pub(crate) async fn start<S: Sql>(sql: &mut S, replay: &&NewReplay) -> Result<ControlReport, S::Fault> {
    check_replay(replay)?;
    let NewReplay { id, tenant, subscription, types, after, until, rate, by, reason } = *replay;
    if sql.row(KNOWN, values![tenant, subscription]).await?.is_none() {
        return Err(no_subscription(subscription).into());
    }
    let by = check::plain(by, check::REASON_CHARS_MAX);
    let reason = reason.as_deref().map(|reason| check::plain(reason, check::REASON_CHARS_MAX));
    let rate = rate.map(i64::from);
    let values = values![*id, tenant, subscription, check::json(types)?, *after, *until, rate, by, reason];
    let started = sql.run(START, values).await?;
    let samples = (started > 0).then(|| id.to_string()).into_iter().collect();
    Ok(ControlReport { affected: started, samples, ..ControlReport::default() })
}

/// Ends a replay before its time.
pub(crate) async fn cancel<S: Sql>(sql: &mut S, (tenant, id): &(&str, Uuid)) -> Result<ControlReport, S::Fault> {
    if sql.row(ONE, values![*tenant, *id]).await?.is_none() {
        return Err(no_replay(*id).into());
    }
    let cancelled = sql.run(CANCEL, values![*tenant, *id]).await?;
    let samples = (cancelled > 0).then(|| id.to_string()).into_iter().collect();
    Ok(ControlReport { affected: cancelled, samples, ..ControlReport::default() })
}

/// The replays of a tenant.
pub(crate) async fn list<S: Sql>(sql: &mut S, tenant: &str) -> Result<Vec<ReplayView>, S::Fault> {
    let rows = sql.rows(LIST, values![tenant, EVENT_ROWS_MAX]).await?;
    Ok(rows.iter().map(view).collect::<Result<_>>()?)
}

/// The replays whose next step is due.
pub(crate) async fn due<S: Sql>(sql: &mut S) -> Result<Vec<ReplayView>, S::Fault> {
    let rows = sql.rows(DUE, values![EVENT_ROWS_MAX]).await?;
    Ok(rows.iter().map(view).collect::<Result<_>>()?)
}

fn view(row: &impl Columns) -> Result<ReplayView> {
    Ok(ReplayView {
        id: row.id("id")?,
        tenant: row.text("tenant")?,
        subscription: row.text("subscription")?,
        types: row.json("types")?,
        cursor: row.number("cursor")?,
        until: row.number("until")?,
        rate: row.maybe_number("rate")?.and_then(|rate| u32::try_from(rate).ok()),
        state: row.word("state")?,
        delivered: row.number("delivered")?,
        skipped: row.number("skipped")?,
        refused: row.number("refused")?,
        by: row.text("ordered_by")?,
        reason: row.maybe_text("reason")?,
        created_at: row.instant("created_at")?,
        ended_at: row.maybe_instant("ended_at")?,
    })
}
