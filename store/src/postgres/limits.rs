//! Limits and settings of queues: created, changed, dropped and listed; and jobs that wait too long are raised.

use std::collections::BTreeMap;

use async_trait::async_trait;
use gristmill_core::Instant;
use gristmill_core::id::JobId;
use gristmill_core::limit::{Limit, LimitSpec, QueueSpec};
use sqlx::postgres::PgConnection;
use uuid::Uuid;

use super::PostgresStore;
use super::claim::{let_go, unmanaged};
use super::connect::{control, look, single, transact};
use super::fault::Outcome;
use super::limited::{self, running};
use super::values::{from_json, plain};
use super::work::Work;
use crate::check;
use crate::error::{Result, StoreError};
use crate::limits::{AGED_LOOK, UNMANAGED_MAX, check_limit, check_origin, limit_view, used_most_micros};
use crate::{ControlReport, Dispatched, JobBlockers, LimitOrigin, LimitView, Limited, Limits, SaveLimit};

const SAVE: &str = "
INSERT INTO job_limit (name, origin, spec, updated_at) VALUES ($1, $2, $3, now())
ON CONFLICT (name) DO UPDATE SET spec = excluded.spec, updated_at = excluded.updated_at";

const CLAMP: &str = "
UPDATE limit_bucket SET used_to = LEAST(used_to, now() + $2 * interval '1 microsecond') WHERE name = $1";

const SAVE_QUEUE: &str = "
INSERT INTO queue_spec (name, spec) VALUES ($1, $2) ON CONFLICT (name) DO UPDATE SET spec = excluded.spec";

const MANAGE: &str = "
INSERT INTO managed (scope, name) SELECT 'queue', unnest($1::text[]) UNION ALL SELECT 'kind', unnest($2::text[])";

/// What waits in queues that were managed, and no longer has a message.
const FREED: &str = concat!(
    "SELECT j.id, j.queue, j.lane FROM job j
WHERE j.state = 'queued' AND (j.queue = ANY($1) OR j.kind = ANY($2)) AND ",
    let_go!(),
    " AND ",
    unmanaged!(),
    " ORDER BY j.lane, j.id LIMIT $3"
);

/// The oldest of the lower priorities that have waited long enough since they entered theirs.
const AGED: &str = "
SELECT head.id FROM unnest($1::text[], $2::bigint[]) AS q (queue, millis)
CROSS JOIN (VALUES (1::smallint), (2::smallint)) AS l (lane)
CROSS JOIN LATERAL (
    SELECT j.id, GREATEST(j.queued_at, j.aged_at) AS since FROM job j
    WHERE j.queue = q.queue AND j.lane = l.lane AND j.state = 'queued' ORDER BY j.id LIMIT $3) AS head
WHERE head.since <= now() - q.millis * interval '1 millisecond' LIMIT $4";

const RAISE: &str = "
UPDATE job SET lane = lane - 1, aged_at = now() WHERE id IN (
    SELECT id FROM job WHERE id = ANY($1) AND state = 'queued' AND lane > 0 ORDER BY id FOR UPDATE SKIP LOCKED)
RETURNING id, queue, lane";

#[async_trait]
impl Limits for PostgresStore {
    async fn limited(&self) -> Result<Limited> {
        single!(self, limited)
    }

    async fn limits(&self) -> Result<Vec<LimitView>> {
        look!(self, list)
    }

    async fn save_limit(&self, save: &SaveLimit) -> Result<(LimitView, Dispatched)> {
        transact!(self, super::limits::save, save).await
    }

    async fn drop_limit(&self, name: &str, origin: LimitOrigin, dry_run: bool) -> Result<ControlReport> {
        control!(self, dry_run, drop, (name, origin))
    }

    async fn save_queue(&self, name: &str, spec: &QueueSpec) -> Result<Dispatched> {
        transact!(self, save_queue, (name, spec)).await
    }

    async fn raise_aged(&self, limit: u32) -> Result<Dispatched> {
        transact!(self, raise_aged, limit).await
    }

    async fn blockers(&self, job: JobId) -> Result<JobBlockers> {
        look!(self, limited::blockers, job)
    }
}

/// The limits, all or those named; the latter are locked, in the order of their names.
pub(super) async fn limits(conn: &mut PgConnection, locked: Option<&[String]>) -> Outcome<Vec<Limit>> {
    let rows: Vec<(String, String)> = match locked {
        None => sqlx::query_as("SELECT name, spec FROM job_limit ORDER BY name").fetch_all(conn).await?,
        Some(names) => {
            let statement = "SELECT name, spec FROM job_limit WHERE name = ANY($1) ORDER BY name FOR UPDATE";
            sqlx::query_as(statement).bind(names).fetch_all(conn).await?
        }
    };
    let limit = |(name, spec): (String, String)| Ok(Limit { spec: from_json(&spec, &format!("limit {name}"))?, name });
    Ok(rows.into_iter().map(limit).collect::<Result<_, StoreError>>()?)
}

/// Every limit with how much of it is in use.
pub(super) async fn list(conn: &mut PgConnection) -> Outcome<Vec<LimitView>> {
    let rows: Vec<(String, String, String, Instant)> =
        sqlx::query_as("SELECT name, origin, spec, updated_at FROM job_limit ORDER BY name")
            .fetch_all(&mut *conn)
            .await?;
    let running = if rows.is_empty() { Vec::new() } else { running(conn).await? };
    let view = |(name, origin, spec, updated_at): (String, String, String, Instant)| {
        let what = format!("limit {name}");
        let spec: LimitSpec = from_json(&spec, &what)?;
        Ok(limit_view(name, origin_of(&origin)?, spec, updated_at, &running))
    };
    Ok(rows.into_iter().map(view).collect::<Result<_, StoreError>>()?)
}

fn origin_of(word: &str) -> Result<LimitOrigin, StoreError> {
    word.parse().map_err(|_| StoreError::Database(format!("`{word}` is not where a limit comes from")))
}

/// Which queues and kinds are managed.
pub(super) async fn limited(conn: &mut PgConnection) -> Outcome<Limited> {
    let rows: Vec<(String, String)> = sqlx::query_as("SELECT scope, name FROM managed").fetch_all(&mut *conn).await?;
    let mut limited = Limited { specs: queue_specs(conn).await?, ..Limited::default() };
    for (scope, name) in rows {
        if scope == "queue" {
            limited.queues.insert(name)
        } else {
            limited.kinds.insert(name)
        };
    }
    Ok(limited)
}

async fn queue_specs(conn: &mut PgConnection) -> Outcome<BTreeMap<String, QueueSpec>> {
    let rows: Vec<(String, String)> = sqlx::query_as("SELECT name, spec FROM queue_spec").fetch_all(conn).await?;
    let read = |(name, spec): (String, String)| Ok((name.clone(), from_json(&spec, &format!("queue {name}"))?));
    Ok(rows.into_iter().map(read).collect::<Result<_, StoreError>>()?)
}

/// Creates or changes a limit.
pub(super) async fn save(work: &mut Work<'_>, save: &&SaveLimit) -> Outcome<(LimitView, Dispatched)> {
    check_limit(save)?;
    let was: Option<String> = sqlx::query_scalar("SELECT origin FROM job_limit WHERE name = $1 FOR UPDATE")
        .bind(plain(&save.name))
        .fetch_optional(&mut *work.conn)
        .await?;
    check_origin(&save.name, was.as_deref().map(origin_of).transpose()?, save.origin)?;
    sqlx::query(SAVE)
        .bind(plain(&save.name))
        .bind(save.origin.as_str())
        .bind(check::json(&save.spec)?)
        .execute(&mut *work.conn)
        .await?;
    sqlx::query(CLAMP).bind(plain(&save.name)).bind(used_most_micros(&save.spec)).execute(&mut *work.conn).await?;
    let dispatched = manage(work).await?;
    let view = list(work.conn).await?.into_iter().find(|view| view.name == save.name);
    let view = view.ok_or_else(|| StoreError::Conflict(format!("limit `{}` was dropped meanwhile", save.name)))?;
    Ok((view, dispatched))
}

/// Removes a limit.
pub(super) async fn drop(work: &mut Work<'_>, (name, origin): &(&str, LimitOrigin)) -> Outcome<ControlReport> {
    let was: Option<String> = sqlx::query_scalar("SELECT origin FROM job_limit WHERE name = $1 FOR UPDATE")
        .bind(plain(name))
        .fetch_optional(&mut *work.conn)
        .await?;
    let Some(was) = was else { return Ok(ControlReport::default()) };
    check_origin(name, Some(origin_of(&was)?), *origin)?;
    sqlx::query("DELETE FROM job_limit WHERE name = $1").bind(plain(name)).execute(&mut *work.conn).await?;
    sqlx::query("DELETE FROM limit_bucket WHERE name = $1").bind(plain(name)).execute(&mut *work.conn).await?;
    let dispatched = manage(work).await?;
    Ok(ControlReport { affected: 1, samples: vec![(*name).to_owned()], generation: None, dispatched })
}

/// Sets what applies to a queue; empty settings are deleted.
pub(super) async fn save_queue(work: &mut Work<'_>, (name, spec): &(&str, &QueueSpec)) -> Outcome<Dispatched> {
    check::name("queue", name)?;
    if spec.is_default() {
        sqlx::query("DELETE FROM queue_spec WHERE name = $1").bind(plain(name)).execute(&mut *work.conn).await?;
    } else {
        let query = sqlx::query(SAVE_QUEUE).bind(plain(name)).bind(check::json(spec)?);
        query.execute(&mut *work.conn).await?;
    }
    manage(work).await
}

/// Rewrites what is managed. Jobs that are no longer managed have lost their messages: they are dispatched.
async fn manage(work: &mut Work<'_>) -> Outcome<Dispatched> {
    // One at a time: each must see what the other has written.
    sqlx::query("LOCK TABLE managed IN SHARE ROW EXCLUSIVE MODE").execute(&mut *work.conn).await?;
    let was = limited(work.conn).await?;
    let limits = limits(work.conn, None).await?;
    let is = Limited::of(limits.iter().map(|limit| &limit.spec), queue_specs(work.conn).await?);
    let (queues, kinds) = was.freed(&is);
    sqlx::query("DELETE FROM managed").execute(&mut *work.conn).await?;
    sqlx::query(MANAGE)
        .bind(is.queues.iter().map(String::as_str).collect::<Vec<_>>())
        .bind(is.kinds.iter().map(String::as_str).collect::<Vec<_>>())
        .execute(&mut *work.conn)
        .await?;
    if !queues.is_empty() || !kinds.is_empty() {
        let freed: Vec<(Uuid, String, i16)> =
            sqlx::query_as(FREED).bind(queues).bind(kinds).bind(UNMANAGED_MAX).fetch_all(&mut *work.conn).await?;
        for (id, queue, lane) in freed {
            work.claimable(&queue, lane, id);
        }
    }
    work.close().await
}

/// Raises jobs one priority that have waited for as long as their queue allows, and deletes rates whose time has
/// passed.
pub(super) async fn raise_aged(work: &mut Work<'_>, limit: &u32) -> Outcome<Dispatched> {
    sqlx::query(
        "DELETE FROM limit_bucket WHERE (name, tenant, key) IN (SELECT name, tenant, key FROM limit_bucket \
         WHERE used_to < now() ORDER BY used_to LIMIT $1 FOR UPDATE SKIP LOCKED)",
    )
    .bind(i64::from(*limit))
    .execute(&mut *work.conn)
    .await?;
    let aging: Vec<(String, i64)> = queue_specs(work.conn)
        .await?
        .into_iter()
        .filter_map(|(name, spec)| Some((name, super::values::millis(spec.age_after?.0))))
        .collect();
    if aging.is_empty() {
        return Ok(Dispatched::default());
    }
    let (queues, millis): (Vec<String>, Vec<i64>) = aging.into_iter().unzip();
    let due: Vec<Uuid> = sqlx::query_scalar(AGED)
        .bind(queues)
        .bind(millis)
        .bind(AGED_LOOK)
        .bind(i64::from(*limit))
        .fetch_all(&mut *work.conn)
        .await?;
    let raised: Vec<(Uuid, String, i16)> = sqlx::query_as(RAISE).bind(due).fetch_all(&mut *work.conn).await?;
    for (id, queue, lane) in &raised {
        work.claimable(queue, *lane, *id);
    }
    Ok(Dispatched { moved: raised.len() as u64, ..work.close().await? })
}
