//! Limits and settings of queues: created, changed, dropped and listed; and jobs that wait too long are raised.

use std::collections::BTreeMap;

use async_trait::async_trait;
use gristmill_core::Instant;
use gristmill_core::id::JobId;
use gristmill_core::limit::{Limit, LimitSpec, QueueSpec};
use sqlx::postgres::PgConnection;
use uuid::Uuid;

use super::PostgresStore;
use super::claim::{age, let_go, streams, unmanaged};
use super::connect::{control, look, single, transact};
use super::fault::Outcome;
use super::limited::{self, running};
use super::values::{from_json, plain};
use super::work::Work;
use crate::audit;
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

/// What waits in queues and kinds that are limited no more: it has lost its messages.
const FREE: &str = concat!(
    "WITH RECURSIVE stream (queue, lane, kind) AS (
    (SELECT queue, lane, kind FROM job WHERE state = 'queued' AND limited ORDER BY queue, lane, kind LIMIT 1)
    UNION ALL
    SELECT n.queue, n.lane, n.kind FROM stream s CROSS JOIN LATERAL (
        SELECT j.queue, j.lane, j.kind FROM job j
        WHERE j.state = 'queued' AND j.limited AND (j.queue, j.lane, j.kind) > (s.queue, s.lane, s.kind)
        ORDER BY j.queue, j.lane, j.kind LIMIT 1) AS n
), fit AS MATERIALIZED (
    SELECT j.queue, j.lane, j.kind FROM stream j WHERE ",
    unmanaged!(),
    "
), found AS MATERIALIZED (
    SELECT r.id FROM fit f CROSS JOIN LATERAL (
        SELECT j.id FROM job j
        WHERE j.queue = f.queue AND j.lane = f.lane AND j.kind = f.kind AND j.state = 'queued' AND j.limited
        LIMIT $1 FOR UPDATE SKIP LOCKED) AS r
    LIMIT $1)
UPDATE job j SET limited = FALSE FROM found WHERE j.id = found.id
RETURNING j.id, j.queue, j.lane, ",
    let_go!(),
    " AS free"
);

/// What waits in queues and kinds that are limited by now: the oldest of each stream.
const CATCH: &str = concat!(
    "WITH ",
    streams!("'{}'::text[]"),
    ", fit AS MATERIALIZED (
    SELECT j.queue, j.lane, j.kind, j.version FROM stream j WHERE NOT (",
    unmanaged!(),
    ")
), found AS MATERIALIZED (
    SELECT r.id FROM fit f CROSS JOIN LATERAL (
        SELECT j.id FROM job j
        WHERE j.queue = f.queue AND j.lane = f.lane AND j.kind = f.kind AND j.version = f.version
          AND j.state = 'queued' AND NOT j.limited
        ORDER BY ",
    age!(),
    ", j.id LIMIT $1 FOR UPDATE SKIP LOCKED) AS r
    LIMIT $1)
UPDATE job j SET limited = TRUE FROM found WHERE j.id = found.id"
);

/// Those of the lower priorities that have waited long enough since they entered theirs: of those that are limited the
/// ones that have waited longest, of the others the oldest of each kind.
const AGED: &str = concat!(
    "WITH ",
    streams!("$1::text[]"),
    ", head (id, since, millis) AS (
    SELECT r.id, r.since, q.millis FROM unnest($1::text[], $2::bigint[]) AS q (queue, millis)
    CROSS JOIN (VALUES (1::smallint), (2::smallint)) AS l (lane)
    CROSS JOIN LATERAL (
        SELECT j.id, GREATEST(j.queued_at, j.aged_at) AS since FROM job j
        WHERE j.queue = q.queue AND j.lane = l.lane AND j.state = 'queued' AND j.limited
        ORDER BY GREATEST(j.queued_at, j.aged_at) LIMIT $3) AS r
    UNION ALL
    SELECT r.id, r.since, q.millis FROM unnest($1::text[], $2::bigint[]) AS q (queue, millis)
    JOIN stream s ON s.queue = q.queue AND s.lane > 0
    CROSS JOIN LATERAL (
        SELECT j.id, GREATEST(j.queued_at, j.aged_at) AS since FROM job j
        WHERE j.queue = s.queue AND j.lane = s.lane AND j.kind = s.kind AND j.version = s.version
          AND j.state = 'queued' AND NOT j.limited
        ORDER BY ",
    age!(),
    ", j.id LIMIT $3) AS r
)
SELECT id FROM head WHERE since <= now() - millis * interval '1 millisecond' LIMIT $4"
);

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
    let all = "SELECT scope, name, NULL::text FROM managed UNION ALL SELECT 'spec', name, spec FROM queue_spec";
    let rows: Vec<(String, String, Option<String>)> = sqlx::query_as(all).fetch_all(conn).await?;
    let mut limited = Limited::default();
    for (scope, name, spec) in rows {
        if let Some(spec) = spec {
            limited.specs.insert(name.clone(), from_json(&spec, &format!("queue {name}"))?);
        } else if scope == "queue" {
            limited.queues.insert(name);
        } else {
            limited.kinds.insert(name);
        }
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
    let was = find(work, &save.name).await?;
    check_origin(&save.name, was.as_ref().map(|(origin, _)| origin_of(origin)).transpose()?, save.origin)?;
    if let Some(facts) = work.facts_mut() {
        facts.change();
        facts.between(was.map(|(_, spec)| audit::value(&spec)), Some(audit::value(&check::json(&save.spec)?)));
    }
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

/// Locks a limit, and returns its origin and what it says.
async fn find(work: &mut Work<'_>, name: &str) -> Outcome<Option<(String, String)>> {
    let statement = "SELECT origin, spec FROM job_limit WHERE name = $1 FOR UPDATE";
    Ok(sqlx::query_as(statement).bind(plain(name)).fetch_optional(&mut *work.conn).await?)
}

/// Removes a limit.
pub(super) async fn drop(work: &mut Work<'_>, (name, origin): &(&str, LimitOrigin)) -> Outcome<ControlReport> {
    let Some((was, spec)) = find(work, name).await? else { return Ok(ControlReport::default()) };
    check_origin(name, Some(origin_of(&was)?), *origin)?;
    if let Some(facts) = work.facts_mut() {
        facts.between(Some(audit::value(&spec)), None);
    }
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
    // What was limited when it became queued, and was not caught yet, has lost its message, too.
    catch(work, UNMANAGED_MAX).await?;
    let limits = limits(work.conn, None).await?;
    let is = Limited::of(limits.iter().map(|limit| &limit.spec), queue_specs(work.conn).await?);
    sqlx::query("DELETE FROM managed").execute(&mut *work.conn).await?;
    sqlx::query(MANAGE)
        .bind(is.queues.iter().map(String::as_str).collect::<Vec<_>>())
        .bind(is.kinds.iter().map(String::as_str).collect::<Vec<_>>())
        .execute(&mut *work.conn)
        .await?;
    free(work, UNMANAGED_MAX).await?;
    catch(work, UNMANAGED_MAX).await?;
    work.close().await
}

/// Gives what is limited no more back to the claims by age, at most `most` jobs, and dispatches it.
async fn free(work: &mut Work<'_>, most: i64) -> Outcome<()> {
    let mut freed: Vec<(Uuid, String, i16, bool)> = sqlx::query_as(FREE).bind(most).fetch_all(&mut *work.conn).await?;
    freed.sort_by_key(|(id, _, lane, _)| (*lane, *id));
    for (id, queue, lane, _) in freed.into_iter().filter(|(.., free)| *free) {
        work.claimable(&queue, lane, id);
    }
    Ok(())
}

/// Gives what became limited while it waited to the claims by turns, at most `most` jobs.
pub(super) async fn catch(work: &mut Work<'_>, most: i64) -> Outcome<()> {
    sqlx::query(CATCH).bind(most).execute(&mut *work.conn).await?;
    Ok(())
}

/// Raises jobs one priority that have waited for as long as their queue allows, deletes rates whose time has passed, and
/// brings the rest of what became limited, or is limited no more, to where its claims look.
pub(super) async fn raise_aged(work: &mut Work<'_>, limit: &u32) -> Outcome<Dispatched> {
    sqlx::query(
        "DELETE FROM limit_bucket WHERE (name, tenant, key) IN (SELECT name, tenant, key FROM limit_bucket \
         WHERE used_to < now() ORDER BY used_to LIMIT $1 FOR UPDATE SKIP LOCKED)",
    )
    .bind(i64::from(*limit))
    .execute(&mut *work.conn)
    .await?;
    free(work, UNMANAGED_MAX).await?;
    catch(work, UNMANAGED_MAX).await?;
    let aging: Vec<(String, i64)> = queue_specs(work.conn)
        .await?
        .into_iter()
        .filter_map(|(name, spec)| Some((name, super::values::millis(spec.age_after?.0))))
        .collect();
    if aging.is_empty() {
        return Ok(Dispatched { moved: 0, ..work.close().await? });
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
