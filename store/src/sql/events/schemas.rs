//! The registry of schemas.

use super::super::{Columns, Sql, values};
use crate::check;
use crate::error::{Result, StoreError};
use crate::{ControlReport, EVENT_ROWS_MAX, EventSchemaView, NewEventSchema};

const ADD: &str = "
INSERT INTO event_schema (tenant, type, version, schema, added_by, added_at) VALUES ($1, $2, $3, $4, $5, now())
ON CONFLICT (tenant, type, version) DO NOTHING";

const LIST: &str = "
SELECT s.type, s.version, s.schema, s.added_by, s.added_at FROM event_schema s
WHERE s.tenant = $1 AND ($2::text IS NULL OR s.type = $2) ORDER BY s.type, s.version LIMIT $3";

/// The greatest version of a schema.
const VERSION_MAX: u32 = 1_000_000;

/// Refuses what is no version of the schema of a type.
pub(crate) fn check_schema(schema: &NewEventSchema) -> Result<()> {
    let NewEventSchema { tenant, kind, version, .. } = schema;
    check::tenant(tenant)?;
    if !gristmill_core::event::is_type(kind) {
        return Err(StoreError::Invalid(format!("`{kind}` is no type of events; one such as `order.paid` is")));
    }
    if !(1..=VERSION_MAX).contains(version) {
        return Err(StoreError::Invalid(format!("version {version} is none; versions are counted from 1")));
    }
    check::payload(&schema.schema).map(drop)
}

/// What is said where a version is there already.
pub(crate) fn taken(schema: &NewEventSchema) -> StoreError {
    StoreError::Conflict(format!(
        "version {} of `{}` is there already, and says something else; add the next version",
        schema.version, schema.kind
    ))
}

/// What was added.
pub(crate) fn report(schema: &NewEventSchema, added: bool) -> ControlReport {
    let sample = format!("{}/{}", schema.kind, schema.version);
    let samples = added.then_some(sample).into_iter().collect();
    ControlReport { affected: u64::from(added), samples, ..ControlReport::default() }
}

/// Adds a version.
pub(crate) async fn add<S: Sql>(sql: &mut S, schema: &&NewEventSchema) -> Result<ControlReport, S::Fault> {
    check_schema(schema)?;
    let NewEventSchema { tenant, kind, version, schema: value, by } = *schema;
    let by = check::plain(by, check::REASON_CHARS_MAX);
    let added = sql.run(ADD, values![tenant, kind, *version, check::json(value)?, by]).await? > 0;
    if !added {
        let known = list(sql, tenant, Some(kind)).await?;
        if !known.iter().any(|known| known.version == *version && known.schema == *value) {
            return Err(taken(schema).into());
        }
    }
    Ok(report(schema, added))
}

/// The schemas of a tenant.
pub(crate) async fn list<S: Sql>(
    sql: &mut S,
    tenant: &str,
    kind: Option<&str>,
) -> Result<Vec<EventSchemaView>, S::Fault> {
    let rows = sql.rows(LIST, values![tenant, kind, EVENT_ROWS_MAX]).await?;
    let view = |row: &S::Row| {
        Ok(EventSchemaView {
            kind: row.text("type")?,
            version: row.number("version")?,
            schema: row.maybe_any_json("schema")?.unwrap_or_default(),
            by: row.text("added_by")?,
            at: row.instant("added_at")?,
        })
    };
    Ok(rows.iter().map(view).collect::<Result<_>>()?)
}
