//! Limits and settings of queues: the mirror of PostgreSQL's.

use std::collections::BTreeMap;

use async_trait::async_trait;
use gristmill_core::id::JobId;
use gristmill_core::limit::{Limit, LimitSpec, QueueSpec};
use sqlx::sqlite::SqliteRow;

use super::claim::{age, first_limited, first_waiting, let_go, limited_streams, streams, unmanaged};
use super::control::finish;
use super::error::database;
use super::limited::{self, running_of};
use super::transition::Transition;
use super::{SqliteStore, row};
use crate::audit;
use crate::check;
use crate::error::Result;
use crate::limits::{AGED_LOOK, UNMANAGED_MAX, check_limit, check_origin, limit_view, used_most_micros};
use crate::{ControlReport, Dispatched, JobBlockers, LimitOrigin, LimitView, Limited, Limits, Purpose, SaveLimit};

const LIMITS: &str = "SELECT name, origin, spec, updated_at FROM job_limit ORDER BY name";

const QUEUES: &str = "SELECT name, spec FROM queue_spec";

const MANAGED: &str = "SELECT scope, name FROM managed";

/// The queues that have something waiting.
macro_rules! waiting_queues {
    () => {
        "q (name) AS MATERIALIZED (SELECT DISTINCT queue FROM queue_count WHERE state = 'queued' AND jobs > 0)"
    };
}

/// Whether any job waits where its claims do not look.
const ELSEWHERE: &str = concat!(
    "WITH RECURSIVE ",
    limited_streams!(),
    " SELECT EXISTS (SELECT 1 FROM stream j WHERE ",
    unmanaged!(),
    ") OR EXISTS (
        WITH RECURSIVE ",
    waiting_queues!(),
    ", ",
    streams!(),
    " SELECT 1 FROM stream j WHERE NOT (",
    unmanaged!(),
    "))"
);

/// What waits in queues and kinds that are limited no more: it has lost its messages.
const FREED: &str = concat!(
    "WITH RECURSIVE ",
    limited_streams!(),
    ", found (id) AS MATERIALIZED (
        SELECT n.id FROM stream j CROSS JOIN job n WHERE ",
    unmanaged!(),
    " AND n.id IN (SELECT i.id FROM job i INDEXED BY job_limited
                   WHERE i.queue = j.queue AND i.lane = j.lane AND i.kind = j.kind AND i.state = 'queued' AND i.limited
                   LIMIT ?1)
        LIMIT ?1)
    SELECT j.id, j.queue, j.lane, (",
    let_go!(),
    ") AS free FROM found f CROSS JOIN job j ON j.id = f.id ORDER BY j.lane, j.id"
);

/// What waits in queues and kinds that are limited by now: the oldest of each stream.
const CAUGHT: &str = concat!(
    "WITH RECURSIVE ",
    waiting_queues!(),
    ", ",
    streams!(),
    " SELECT n.id FROM stream j CROSS JOIN job n WHERE NOT (",
    unmanaged!(),
    ") AND n.id IN (
        SELECT i.id FROM job i INDEXED BY job_waiting
        WHERE i.queue = j.queue AND i.lane = j.lane AND i.kind = j.kind AND i.version = j.version
          AND i.state = 'queued' AND NOT i.limited
        ORDER BY ",
    age!("i"),
    ", i.id LIMIT ?1) LIMIT ?1"
);

/// Those of the lower priorities that have waited long enough since they entered theirs: of those that are limited the
/// ones that have waited longest, of the others the oldest of each kind.
const RAISE: &str = concat!(
    "UPDATE job SET lane = lane - 1, aged_at = ?2 WHERE id IN (
        WITH RECURSIVE aging (name, micros) AS MATERIALIZED (SELECT value ->> 0, value ->> 1 FROM json_each(?1)),
            q (name) AS MATERIALIZED (SELECT name FROM aging), ",
    streams!(),
    "
        SELECT h.id FROM aging a CROSS JOIN (VALUES (1), (2)) l CROSS JOIN job h
        WHERE h.id IN (SELECT i.id FROM job i INDEXED BY job_limited_oldest
                       WHERE i.queue = a.name AND i.lane = l.column1 AND i.state = 'queued' AND i.limited
                       ORDER BY max(i.queued_at, coalesce(i.aged_at, 0)) LIMIT ?3)
          AND max(h.queued_at, coalesce(h.aged_at, 0)) <= ?2 - a.micros
        UNION ALL
        SELECT h.id FROM aging a CROSS JOIN stream j ON j.queue = a.name AND j.lane > 0 CROSS JOIN job h
        WHERE h.id IN (SELECT i.id FROM job i INDEXED BY job_waiting
                       WHERE i.queue = j.queue AND i.lane = j.lane AND i.kind = j.kind AND i.version = j.version
                         AND i.state = 'queued' AND NOT i.limited
                       ORDER BY ",
    age!("i"),
    ", i.id LIMIT ?3)
          AND max(h.queued_at, coalesce(h.aged_at, 0)) <= ?2 - a.micros
        LIMIT ?4)
    RETURNING id, queue, lane"
);

/// Reads a limit.
fn limit(row: &SqliteRow) -> Result<Limit> {
    Ok(Limit { name: row::get(row, "name")?, spec: row::json(row, "spec")? })
}

/// Every limit, in a transaction.
pub(super) async fn limits(t: &mut Transition<'_>) -> Result<Vec<Limit>> {
    t.rows(sqlx::query(LIMITS)).await?.iter().map(limit).collect()
}

#[async_trait]
impl Limits for SqliteStore {
    async fn limited(&self) -> Result<Limited> {
        let rows = sqlx::query(MANAGED).fetch_all(&self.readers).await.map_err(database)?;
        let specs = sqlx::query(QUEUES).fetch_all(&self.readers).await.map_err(database)?;
        managed_of(&rows, specs_of(&specs)?)
    }

    async fn limits(&self) -> Result<Vec<LimitView>> {
        let rows = sqlx::query(LIMITS).fetch_all(&self.readers).await.map_err(database)?;
        if rows.is_empty() {
            return Ok(Vec::new());
        }
        let running = sqlx::query(limited::RUNNING).fetch_all(&self.readers).await.map_err(database)?;
        let running = running.iter().map(running_of).collect::<Result<Vec<_>>>()?;
        let view = |row: &SqliteRow| {
            let (name, spec): (String, LimitSpec) = (row::get(row, "name")?, row::json(row, "spec")?);
            let updated_at = row::instant(row, "updated_at")?;
            Ok(limit_view(name, row::word(row, "origin")?, spec, updated_at, &running))
        };
        rows.iter().map(view).collect()
    }

    async fn save_limit(&self, save: &SaveLimit) -> Result<(LimitView, Dispatched)> {
        check_limit(save)?;
        let mut t = Transition::begin(self).await?;
        let was = find(&mut t, &save.name).await?;
        check_origin(&save.name, was.as_ref().map(|(origin, _)| *origin), save.origin)?;
        if let Some(facts) = t.facts_mut() {
            facts.between(was.map(|(_, spec)| audit::value(&spec)), Some(audit::value(&check::json(&save.spec)?)));
        }
        let statement = "
            INSERT INTO job_limit (name, origin, spec, updated_at) VALUES (?1, ?2, ?3, ?4)
            ON CONFLICT (name) DO UPDATE SET spec = excluded.spec, updated_at = excluded.updated_at";
        let query = sqlx::query(statement).bind(save.name.clone()).bind(save.origin.as_str());
        let now = t.now;
        t.run(query.bind(check::json(&save.spec)?).bind(now)).await?;
        let clamp = "UPDATE limit_bucket SET used_to = min(used_to, ?2) WHERE name = ?1";
        let most = now.saturating_add(used_most_micros(&save.spec));
        t.run(sqlx::query(clamp).bind(save.name.clone()).bind(most)).await?;
        manage(&mut t).await?;
        let running = t.rows(sqlx::query(limited::RUNNING)).await?;
        let running = running.iter().map(running_of).collect::<Result<Vec<_>>>()?;
        let view = limit_view(save.name.clone(), save.origin, save.spec.clone(), row::at(now, "updated_at")?, &running);
        Ok((view, t.commit().await?.dispatched))
    }

    async fn drop_limit(&self, name: &str, from: LimitOrigin, dry_run: bool) -> Result<ControlReport> {
        let mut t = Transition::begin(self).await?;
        let Some((was, spec)) = find(&mut t, name).await? else { return Ok(ControlReport::default()) };
        check_origin(name, Some(was), from)?;
        if let Some(facts) = t.facts_mut() {
            facts.between(Some(audit::value(&spec)), None);
        }
        for statement in ["DELETE FROM job_limit WHERE name = ?1", "DELETE FROM limit_bucket WHERE name = ?1"] {
            t.run(sqlx::query(statement).bind(name.to_owned())).await?;
        }
        manage(&mut t).await?;
        finish(t, ControlReport { affected: 1, samples: vec![name.to_owned()], ..ControlReport::default() }, dry_run)
            .await
    }

    async fn save_queue(&self, name: &str, spec: &QueueSpec) -> Result<Dispatched> {
        check::name("queue", name)?;
        let mut t = Transition::begin(self).await?;
        if spec.is_default() {
            t.run(sqlx::query("DELETE FROM queue_spec WHERE name = ?1").bind(name.to_owned())).await?;
        } else {
            let statement = "
                INSERT INTO queue_spec (name, spec) VALUES (?1, ?2) ON CONFLICT (name) DO UPDATE SET spec = excluded.spec";
            t.run(sqlx::query(statement).bind(name.to_owned()).bind(check::json(spec)?)).await?;
        }
        manage(&mut t).await?;
        Ok(t.commit().await?.dispatched)
    }

    async fn raise_aged(&self, limit: u32) -> Result<Dispatched> {
        let specs = specs_of(&sqlx::query(QUEUES).fetch_all(&self.readers).await.map_err(database)?)?;
        let aging: Vec<(String, i64)> = specs
            .into_iter()
            .filter_map(|(name, spec)| Some((name, i64::try_from(spec.age_after?.0.as_micros()).unwrap_or(i64::MAX))))
            .collect();
        let now = self.now_micros().await?;
        let past = "SELECT EXISTS (SELECT 1 FROM limit_bucket WHERE used_to < ?1)";
        let past: bool = sqlx::query_scalar(past).bind(now).fetch_one(&self.readers).await.map_err(database)?;
        let elsewhere: bool = sqlx::query_scalar(ELSEWHERE).fetch_one(&self.readers).await.map_err(database)?;
        if aging.is_empty() && !past && !elsewhere {
            return Ok(Dispatched::default());
        }
        let mut t = Transition::begin(self).await?;
        let now = t.now;
        let statement = "
            DELETE FROM limit_bucket WHERE rowid IN (
                SELECT rowid FROM limit_bucket WHERE used_to < ?1 ORDER BY used_to LIMIT ?2)";
        t.run(sqlx::query(statement).bind(now).bind(limit)).await?;
        free(&mut t, UNMANAGED_MAX).await?;
        catch(&mut t, UNMANAGED_MAX).await?;
        let query = sqlx::query(RAISE).bind(check::json(&aging)?).bind(now).bind(AGED_LOOK).bind(limit);
        let raised = t.rows(query).await?;
        for job in &raised {
            let queue: String = row::get(job, "queue")?;
            t.ready(Purpose::Dispatch, &queue, row::priority(job)?, row::id(job, "id")?);
        }
        Ok(Dispatched { moved: raised.len() as u64, ..t.commit().await?.dispatched })
    }

    async fn blockers(&self, job: JobId) -> Result<JobBlockers> {
        limited::blockers(self, job).await
    }
}

fn managed_of(rows: &[SqliteRow], specs: BTreeMap<String, QueueSpec>) -> Result<Limited> {
    let mut limited = Limited { specs, ..Limited::default() };
    for row in rows {
        let (scope, name): (String, String) = (row::get(row, "scope")?, row::get(row, "name")?);
        if scope == "queue" {
            limited.queues.insert(name)
        } else {
            limited.kinds.insert(name)
        };
    }
    Ok(limited)
}

fn specs_of(rows: &[SqliteRow]) -> Result<BTreeMap<String, QueueSpec>> {
    rows.iter().map(|row| Ok((row::get(row, "name")?, row::json(row, "spec")?))).collect()
}

/// The origin of a limit, and what it says.
async fn find(t: &mut Transition<'_>, name: &str) -> Result<Option<(LimitOrigin, String)>> {
    let statement = "SELECT origin, spec FROM job_limit WHERE name = ?1";
    let found = t.row(sqlx::query(statement).bind(name.to_owned())).await?;
    found.map(|found| Ok((row::word(&found, "origin")?, row::get(&found, "spec")?))).transpose()
}

/// Rewrites what is managed. Jobs that are no longer managed have lost their messages: they are dispatched.
async fn manage(t: &mut Transition<'_>) -> Result<()> {
    let specs = specs_of(&t.rows(sqlx::query(QUEUES)).await?)?;
    // What was limited when it became queued, and was not caught yet, has lost its message, too.
    catch(t, UNMANAGED_MAX).await?;
    let limits = limits(t).await?;
    let is = Limited::of(limits.iter().map(|limit| &limit.spec), specs);
    t.run(sqlx::query("DELETE FROM managed")).await?;
    let statement = "
        INSERT INTO managed (scope, name)
        SELECT 'queue', value FROM json_each(?1) UNION ALL SELECT 'kind', value FROM json_each(?2)";
    t.run(sqlx::query(statement).bind(check::json(&is.queues)?).bind(check::json(&is.kinds)?)).await?;
    free(t, UNMANAGED_MAX).await?;
    catch(t, UNMANAGED_MAX).await
}

/// Gives what is limited no more back to the claims by age, at most `most` jobs, and dispatches it.
async fn free(t: &mut Transition<'_>, most: i64) -> Result<()> {
    let freed = t.rows(sqlx::query(FREED).bind(most)).await?;
    let mut ids: Vec<JobId> = Vec::with_capacity(freed.len());
    for freed in &freed {
        ids.push(row::id(freed, "id")?);
        if row::flag(freed, "free")? {
            let queue: String = row::get(freed, "queue")?;
            t.ready(Purpose::Dispatch, &queue, row::priority(freed)?, row::id(freed, "id")?);
        }
    }
    limit_these(t, &ids, false).await
}

/// Gives what became limited while it waited to the claims by turns, at most `most` jobs.
pub(super) async fn catch(t: &mut Transition<'_>, most: i64) -> Result<()> {
    let caught = t.rows(sqlx::query(CAUGHT).bind(most)).await?;
    let ids: Vec<JobId> = caught.iter().map(|row| row::id(row, "id")).collect::<Result<_>>()?;
    limit_these(t, &ids, true).await
}

async fn limit_these(t: &mut Transition<'_>, ids: &[JobId], limited: bool) -> Result<()> {
    if !ids.is_empty() {
        let statement = "UPDATE job SET limited = ?2 WHERE id IN (SELECT unhex(value, '-') FROM json_each(?1))";
        t.run(sqlx::query(statement).bind(check::json(ids)?).bind(limited)).await?;
    }
    Ok(())
}
