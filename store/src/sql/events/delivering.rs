//! A step of a subscription or a replay: its cursor, the inbox, and what the events start, in one transaction.

use gristmill_core::job::NewJob;
use serde_json::json;

use super::super::{Creating, triggers, values};
use crate::check;
use crate::error::Result;
use crate::{Delivered, Delivery, EVENT_ROWS_MAX, Effect};

/// Guarded by where it is, and by what it says: of two that step at once, one does.
const MOVE: &str = "
UPDATE event_subscription SET cursor = $5, delivered = delivered + $6, skipped = skipped + $7, refused = refused + $8,
       delivered_at = now(), tries = 0, retry_at = NULL, error = NULL
WHERE tenant = $1 AND name = $2 AND version = $3 AND cursor = $4 AND paused_at IS NULL";

const MOVE_REPLAY: &str = "
UPDATE event_replay SET cursor = $5, delivered = delivered + $6, skipped = skipped + $7, refused = refused + $8,
       due_at = $9, state = CASE WHEN $10::text = 'on' THEN state ELSE 'finished' END,
       ended_at = CASE WHEN $10::text = 'on' THEN NULL ELSE now() END
WHERE tenant = $1 AND subscription = $2 AND id = $3 AND cursor = $4 AND state = 'running'
  AND EXISTS (SELECT 1 FROM event_subscription s WHERE s.tenant = $1 AND s.name = $2 AND s.version = $11
              AND s.paused_at IS NULL)";

/// An event is there once for each subscription and replay: that is the second guard.
const INBOX: &str = "
INSERT INTO event_delivery (tenant, subscription, position, replay, job_id, run, refusal, reason, at)
SELECT $1, $2, (e.value ->> 0)::bigint, $3, CAST(e.value ->> 1 AS uuid), e.value ->> 2, e.value ->> 3, e.value ->> 4, now()
FROM json_array_elements($4::json) AS e";

/// How many of each sort a delivery has: delivered, refused.
pub(crate) fn counted(delivery: &Delivery) -> (u64, u64) {
    let refused = delivery.events.iter().filter(|one| matches!(one.effect, Effect::Refused(..))).count() as u64;
    (delivery.events.len() as u64 - refused, refused)
}

/// Refuses a delivery that does not fit into one transaction.
pub(crate) fn check_delivery(delivery: &Delivery) -> Result<()> {
    check::at_most(delivery.events.len(), EVENT_ROWS_MAX as usize, "events")
}

/// Moves a subscription or a replay, and starts what the events start. Whether it was where the delivery begins.
pub(crate) async fn deliver<S: Creating>(sql: &mut S, delivery: &Delivery) -> Result<bool, S::Fault> {
    check_delivery(delivery)?;
    if !advance(sql, delivery).await? {
        return Ok(false);
    }
    if delivery.events.is_empty() {
        return Ok(true);
    }
    let inbox = delivery.events.iter().map(|one| {
        let Delivered { position, effect } = one;
        match effect {
            Effect::Job(job) => json!([position, job.id, null, null, null]),
            Effect::Run(run) => json!([position, null, run.event, null, null]),
            Effect::Refused(refusal, reason) => {
                json!([position, null, null, refusal, check::plain(reason, check::REASON_CHARS_MAX)])
            }
        }
    });
    let inbox = check::json(&inbox.collect::<Vec<_>>())?;
    let replay = delivery.replay.map(|replay| replay.to_string()).unwrap_or_default();
    sql.run(INBOX, values![&delivery.tenant, &delivery.subscription, replay, inbox]).await?;
    let mut jobs: Vec<NewJob> = Vec::new();
    for one in &delivery.events {
        match &one.effect {
            Effect::Job(job) => jobs.push((**job).clone()),
            Effect::Run(run) => drop(triggers::note(sql, run).await?),
            Effect::Refused(..) => {}
        }
    }
    if !jobs.is_empty() {
        check::jobs(&jobs)?;
        sql.enqueue(&jobs).await?;
    }
    Ok(true)
}

async fn advance<S: Creating>(sql: &mut S, delivery: &Delivery) -> Result<bool, S::Fault> {
    let Delivery { tenant, subscription, version, replay, from, to, skipped, next, .. } = delivery;
    let (delivered, refused) = counted(delivery);
    let Some(replay) = replay else {
        let moved = values![tenant, subscription, *version, *from, *to, delivered, *skipped, refused];
        return Ok(sql.run(MOVE, moved).await? > 0);
    };
    let wait = next.and_then(|next| chrono::TimeDelta::from_std(next).ok()).unwrap_or_default();
    let due = sql.now().await? + wait;
    let goes_on = if next.is_some() { "on" } else { "over" };
    let moved =
        values![tenant, subscription, *replay, *from, *to, delivered, *skipped, refused, due, goes_on, *version];
    Ok(sql.run(MOVE_REPLAY, moved).await? > 0)
}
