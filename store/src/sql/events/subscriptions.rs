//! Subscriptions: who is given which events, and how far that has come.

use gristmill_core::event::subscription::{From, SubscriptionSpec};
use gristmill_core::id::is_name;

use super::super::{Columns, Sql, values};
use crate::check;
use crate::error::{Result, StoreError};
use crate::{
    ControlReport, LAG_MAX, NewSubscription, Pause, SUBSCRIPTIONS_MAX, SubscriptionHold, SubscriptionOrigin,
    SubscriptionView,
};

/// How many subscriptions are due at once at most.
const DUE_MAX: u32 = 10_000;

macro_rules! subscriptions {
    ($lag:literal, $rest:literal) => {
        concat!(
            "SELECT s.tenant, s.name, s.spec, s.origin, s.version, s.cursor, s.delivered, s.skipped, s.refused, ",
            "s.delivered_at, s.tries, s.retry_at, s.error, s.paused_at, s.paused_by, s.paused_for, s.created_at, ",
            "s.updated_at, ",
            $lag,
            " AS lag, (SELECT e.accepted_at FROM event e WHERE e.tenant = s.tenant AND e.position > s.cursor ",
            "ORDER BY e.position LIMIT 1) AS behind_since FROM event_subscription s ",
            $rest
        )
    };
}

const LIST: &str = subscriptions!(
    "(SELECT count(*) FROM (SELECT 1 FROM event e WHERE e.tenant = s.tenant AND e.position > s.cursor LIMIT $2) AS b)",
    "WHERE ($1::text IS NULL OR s.tenant = $1) ORDER BY s.tenant, s.name LIMIT $3"
);

/// The lag is not counted: that something is before it is enough.
const DUE: &str = subscriptions!(
    "1",
    "WHERE s.paused_at IS NULL AND (s.retry_at IS NULL OR s.retry_at <= now())
  AND EXISTS (SELECT 1 FROM event e WHERE e.tenant = s.tenant AND e.position > s.cursor)
ORDER BY s.tenant, s.name LIMIT $1"
);

const KNOWN: &str = "SELECT spec, origin FROM event_subscription WHERE tenant = $1 AND name = $2 FOR UPDATE";

const COUNT: &str = "SELECT count(*) AS known FROM event_subscription WHERE tenant = $1";

const CREATE: &str = "
INSERT INTO event_subscription (tenant, name, spec, origin, version, cursor, created_at, updated_at)
SELECT $1, $2, $3, $4, 1, CASE WHEN $5::text = 'now' THEN h.position ELSE 0 END, now(), now()
FROM event_head h WHERE h.one = 1
ON CONFLICT (tenant, name) DO NOTHING";

/// What failed may succeed with what it says now.
const CHANGE: &str = "
UPDATE event_subscription SET spec = $3, origin = $4, version = version + 1, tries = 0, retry_at = NULL, error = NULL,
       updated_at = now()
WHERE tenant = $1 AND name = $2";

const REMOVE: &str = "DELETE FROM event_subscription WHERE tenant = $1 AND name = $2";

const REMOVE_REPLAYS: &str = "DELETE FROM event_replay WHERE tenant = $1 AND subscription = $2";

const PAUSE: &str = "
UPDATE event_subscription SET paused_at = now(), paused_by = $3, paused_for = $4
WHERE tenant = $1 AND name = $2 AND paused_at IS NULL";

const RESUME: &str = "
UPDATE event_subscription SET paused_at = NULL, paused_by = NULL, paused_for = NULL, tries = 0, retry_at = NULL
WHERE tenant = $1 AND name = $2 AND paused_at IS NOT NULL";

const HOLD: &str = "
UPDATE event_subscription SET tries = tries + 1, retry_at = $4, error = $5
WHERE tenant = $1 AND name = $2 AND cursor = $3 AND paused_at IS NULL";

/// Refuses what is no subscription.
pub(crate) fn check_subscription(subscription: &NewSubscription) -> Result<()> {
    check::tenant(&subscription.tenant)?;
    if !is_name(&subscription.name) {
        let what = format!(
            "`{}` is no name of a subscription: 1 to 100 letters, digits, `-` and `_`",
            subscription.name.chars().take(100).collect::<String>()
        );
        return Err(StoreError::Invalid(what));
    }
    subscription.spec.check().map_err(|faults| StoreError::Invalid(faults.join("; ")))
}

/// A subscription of the file is changed there.
pub(crate) fn check_origin(name: &str, known: SubscriptionOrigin, asked: SubscriptionOrigin) -> Result<()> {
    if known == SubscriptionOrigin::File && asked == SubscriptionOrigin::Command {
        let what = format!("the subscription `{name}` is one of the configuration file; change it there");
        return Err(StoreError::Conflict(what));
    }
    Ok(())
}

pub(crate) fn no_subscription(name: &str) -> StoreError {
    StoreError::NotFound(format!("there is no subscription `{name}`"))
}

pub(crate) fn too_many() -> StoreError {
    StoreError::Conflict(format!("there are {SUBSCRIPTIONS_MAX} subscriptions already; remove one first"))
}

pub(crate) fn one(name: &str, affected: u64) -> ControlReport {
    let samples = (affected > 0).then(|| name.to_owned()).into_iter().collect();
    ControlReport { affected, samples, ..ControlReport::default() }
}

/// Creates or changes a subscription.
pub(crate) async fn save<S: Sql>(sql: &mut S, new: &&NewSubscription) -> Result<ControlReport, S::Fault> {
    check_subscription(new)?;
    let NewSubscription { tenant, name, spec, origin } = *new;
    let text = check::json(spec)?;
    let Some(known) = sql.row(KNOWN, values![tenant, name]).await? else {
        let known: u32 = match sql.row(COUNT, values![tenant]).await? {
            Some(row) => row.number("known")?,
            None => 0,
        };
        if known >= SUBSCRIPTIONS_MAX {
            return Err(too_many().into());
        }
        let created = values![tenant, name, text, origin.as_str(), spec.from.as_str()];
        return Ok(one(name, sql.run(CREATE, created).await?));
    };
    check_origin(name, known.word("origin")?, *origin)?;
    let (spec_known, origin_known) = (known.json::<SubscriptionSpec>("spec")?, known.text("origin")?);
    drop(known);
    // Where it begins is of no account once it has begun.
    let same =
        SubscriptionSpec { from: From::Now, ..spec_known } == SubscriptionSpec { from: From::Now, ..spec.clone() };
    if same && origin_known == origin.as_str() {
        return Ok(one(name, 0));
    }
    Ok(one(name, sql.run(CHANGE, values![tenant, name, text, origin.as_str()]).await?))
}

/// Removes a subscription.
pub(crate) async fn remove<S: Sql>(sql: &mut S, (tenant, name): &(&str, &str)) -> Result<ControlReport, S::Fault> {
    let gone = sql.run(REMOVE, values![*tenant, *name]).await?;
    sql.run(REMOVE_REPLAYS, values![*tenant, *name]).await?;
    Ok(one(name, gone))
}

/// Pauses a subscription, or resumes it.
pub(crate) async fn pause<S: Sql>(
    sql: &mut S,
    (tenant, name, pause): &(&str, &str, Option<&Pause>),
) -> Result<ControlReport, S::Fault> {
    if sql.row(KNOWN, values![*tenant, *name]).await?.is_none() {
        return Err(no_subscription(name).into());
    }
    let plain = |text: &Option<String>| text.as_deref().map(|text| check::plain(text, check::REASON_CHARS_MAX));
    let affected = match pause {
        Some(Pause { by, reason }) => sql.run(PAUSE, values![*tenant, *name, plain(by), plain(reason)]).await?,
        None => sql.run(RESUME, values![*tenant, *name]).await?,
    };
    Ok(one(name, affected))
}

/// Subscriptions with their lag.
pub(crate) async fn list<S: Sql>(sql: &mut S, tenant: Option<&str>) -> Result<Vec<SubscriptionView>, S::Fault> {
    let rows = sql.rows(LIST, values![tenant, LAG_MAX, DUE_MAX]).await?;
    Ok(rows.iter().map(view).collect::<Result<_>>()?)
}

/// Subscriptions that have something to do.
pub(crate) async fn due<S: Sql>(sql: &mut S) -> Result<Vec<SubscriptionView>, S::Fault> {
    let rows = sql.rows(DUE, values![DUE_MAX]).await?;
    Ok(rows.iter().map(view).collect::<Result<_>>()?)
}

/// Notes that a step has failed.
pub(crate) async fn hold<S: Sql>(sql: &mut S, hold: &&SubscriptionHold) -> Result<bool, S::Fault> {
    let SubscriptionHold { tenant, name, cursor, wait, error } = *hold;
    let wait = chrono::TimeDelta::from_std(*wait).unwrap_or_else(|_| chrono::TimeDelta::days(1));
    let retry_at = sql.now().await? + wait;
    let error = check::plain(error, check::ERROR_CHARS_MAX);
    Ok(sql.run(HOLD, values![tenant, name, *cursor, retry_at, error]).await? > 0)
}

fn view(row: &impl Columns) -> Result<SubscriptionView> {
    Ok(SubscriptionView {
        tenant: row.text("tenant")?,
        name: row.text("name")?,
        spec: row.json("spec")?,
        origin: row.word("origin")?,
        version: row.number("version")?,
        cursor: row.number("cursor")?,
        lag: row.number("lag")?,
        behind_since: row.maybe_instant("behind_since")?,
        delivered: row.number("delivered")?,
        skipped: row.number("skipped")?,
        refused: row.number("refused")?,
        delivered_at: row.maybe_instant("delivered_at")?,
        tries: row.number("tries")?,
        retry_at: row.maybe_instant("retry_at")?,
        error: row.maybe_text("error")?,
        paused_at: row.maybe_instant("paused_at")?,
        paused_by: row.maybe_text("paused_by")?,
        paused_for: row.maybe_text("paused_for")?,
        created_at: row.instant("created_at")?,
        updated_at: row.instant("updated_at")?,
    })
}
