//! Schedules.

use gristmill_core::Instant;
use gristmill_core::audit::fingerprint;
use serde_json::{Value, json};

use super::{Columns, Sql, values};
use crate::check;
use crate::error::Result;
use crate::schedules::{changed_meanwhile, check_save};
use crate::{SaveSchedule, ScheduleView};

const CREATE: &str = "
INSERT INTO schedule (tenant, name, origin, spec, enabled, decided_at, next_at, follows, created_at, updated_at)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, now(), now()) ON CONFLICT DO NOTHING";

const EDIT: &str = "
UPDATE schedule SET origin = $3, spec = $4, enabled = $5, decided_at = $6, next_at = $7, follows = $8,
    version = version + 1, updated_at = now()
WHERE tenant = $1 AND name = $2 AND version = $9 AND decided_at = $10";

const REMOVE: &str = "DELETE FROM schedule WHERE tenant = $1 AND name = $2";

macro_rules! schedules {
    ($rest:literal) => {
        concat!(
            "SELECT s.tenant, s.name, s.origin, s.spec, s.enabled, s.version, s.decided_at, s.next_at, s.created_at, ",
            "s.updated_at, (SELECT count(*) FROM schedule_tick t WHERE t.tenant = s.tenant AND t.schedule = s.name ",
            "AND t.active AND t.cause <> 'backfill') AS running, ",
            "(SELECT count(*) FROM schedule_tick t WHERE t.tenant = s.tenant AND t.schedule = s.name ",
            // The index of what waits says so too: without that SQLite reads the whole ledger.
            "AND t.outcome IN ('buffered', 'waiting') AND t.outcome = 'buffered') AS buffered FROM schedule s ",
            $rest
        )
    };
}

const LIST: &str = schedules!(
    "WHERE ($1::text IS NULL OR s.tenant = $1) AND ($2::text IS NULL OR s.name = $2) ORDER BY s.tenant, s.name"
);

const DUE: &str = schedules!("WHERE s.enabled AND s.next_at <= $1 ORDER BY s.next_at, s.tenant, s.name LIMIT $2");

/// Creates or edits a schedule.
pub(crate) async fn save<S: Sql>(sql: &mut S, save: &SaveSchedule) -> Result<ScheduleView, S::Fault> {
    check_save(save)?;
    let before = match sql.facts() {
        Some(_) => list(sql, Some(&save.tenant), Some(&save.name)).await?,
        None => Vec::new(),
    };
    let mut values = values![
        &save.tenant,
        &save.name,
        save.origin.as_str(),
        check::json(&save.spec)?,
        save.enabled,
        save.decided_at,
        save.next_at,
        save.spec.after.as_deref(),
    ];
    let statement = match save.seen {
        Some((version, decided_at)) => {
            values.extend(values![version, decided_at]);
            EDIT
        }
        None => CREATE,
    };
    if sql.run(statement, values).await? == 0 {
        return Err(changed_meanwhile(&save.name).into());
    }
    let saved = list(sql, Some(&save.tenant), Some(&save.name)).await?;
    if let Some(facts) = sql.facts() {
        facts.between(before.first().map(shown), saved.first().map(shown));
    }
    saved.into_iter().next().ok_or_else(|| changed_meanwhile(&save.name).into())
}

/// Removes a schedule.
pub(crate) async fn remove<S: Sql>(sql: &mut S, (tenant, name): &(&str, &str)) -> Result<bool, S::Fault> {
    if sql.facts().is_some() {
        let before = list(sql, Some(tenant), Some(name)).await?;
        sql.facts().into_iter().for_each(|facts| facts.between(before.first().map(shown), None));
    }
    Ok(sql.run(REMOVE, values![*tenant, *name]).await? > 0)
}

/// A schedule as the audit shows it: of payload and parameters only whether they changed.
fn shown(schedule: &ScheduleView) -> Value {
    let mut spec = serde_json::to_value(&schedule.spec).unwrap_or_default();
    hide(&mut spec);
    json!({ "origin": schedule.origin, "enabled": schedule.enabled, "version": schedule.version, "spec": spec })
}

fn hide(value: &mut Value) {
    let Value::Object(fields) = value else { return };
    for (key, value) in fields.iter_mut() {
        match key.as_str() {
            "payload" | "params" if !value.is_null() => *value = fingerprint(&value.to_string()),
            _ => hide(value),
        }
    }
}

/// Schedules by name.
pub(crate) async fn list<S: Sql>(
    sql: &mut S,
    tenant: Option<&str>,
    name: Option<&str>,
) -> Result<Vec<ScheduleView>, S::Fault> {
    let rows = sql.rows(LIST, values![tenant, name]).await?;
    Ok(rows.iter().map(view).collect::<Result<_>>()?)
}

/// Schedules with a tick to decide.
pub(crate) async fn due<S: Sql>(sql: &mut S, now: Instant, limit: u32) -> Result<Vec<ScheduleView>, S::Fault> {
    let rows = sql.rows(DUE, values![now, limit]).await?;
    Ok(rows.iter().map(view).collect::<Result<_>>()?)
}

fn view(row: &impl Columns) -> Result<ScheduleView> {
    Ok(ScheduleView {
        tenant: row.text("tenant")?,
        name: row.text("name")?,
        origin: row.word("origin")?,
        spec: row.json("spec")?,
        enabled: row.flag("enabled")?,
        version: row.number("version")?,
        decided_at: row.instant("decided_at")?,
        next_at: row.maybe_instant("next_at")?,
        created_at: row.instant("created_at")?,
        updated_at: row.instant("updated_at")?,
        running: row.number("running")?,
        buffered: row.number("buffered")?,
    })
}
