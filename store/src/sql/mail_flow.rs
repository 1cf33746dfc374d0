//! Relays and recipients' domains. A row is locked while its next state is decided.

use chrono::NaiveDate;
use gristmill_core::Instant;
use gristmill_core::mail_flow::{Breaker, DomainEvent, Pace, PerMinute, RelayEvent, RelayTerms, Spent};

use super::suppressions::until;
use super::{Columns, Sql, values};
use crate::check;
use crate::error::{Result, StoreError};
use crate::mail_flow::{BEFORE_LOOK, Before, place, suspended_for};
use crate::{
    ControlReport, DomainAsk, HELD_DOMAINS_MAX, MailDomain, MailDomainView, MailFlow, MailRelayView, Page, RelayChange,
    SuspendDomain, Suspension, Taken,
};

const RELAYS: &str = "
SELECT name, place, state, since, until, counted_from, taken, failed, pauses, fault, why, used_to, day, messages
FROM mail_relay ORDER BY name";

const RELAY: &str = "
SELECT name, place, state, since, until, counted_from, taken, failed, pauses, fault, why, used_to, day, messages
FROM mail_relay WHERE name = $1 FOR UPDATE";

const MAKE_RELAY: &str = "
INSERT INTO mail_relay (name, place, state, since, counted_from, taken, failed, pauses, fault)
VALUES ($1, $2, 'closed', now(), now(), 0, 0, 0, false)
ON CONFLICT (name) DO UPDATE SET place = excluded.place WHERE mail_relay.place <> excluded.place";

/// Guarded by the state that was seen, under the row's lock.
const MOVE_RELAY: &str = "
UPDATE mail_relay SET state = $3, since = $4, until = $5, counted_from = $6, taken = $7, failed = $8, pauses = $9,
    fault = $10, why = $11 WHERE name = $1 AND state = $2";

const SPEND_RELAY: &str = "UPDATE mail_relay SET used_to = $2, day = $3, messages = $4 WHERE name = $1";

const HELD: &str = "
SELECT name, suspended_at, suspended_until, suspended_by, suspended_why, learned, learned_at, slowed, said, used_to
FROM mail_domain WHERE suspended_at IS NOT NULL OR learned IS NOT NULL ORDER BY name LIMIT $1";

const DOMAIN: &str = "
SELECT name, suspended_at, suspended_until, suspended_by, suspended_why, learned, learned_at, slowed, said, used_to
FROM mail_domain WHERE name = $1 FOR UPDATE";

/// Those of which something is known, and those for which jobs wait.
const DOMAINS: &str = "
SELECT n.name, d.suspended_at, d.suspended_until, d.suspended_by, d.suspended_why, d.learned, d.learned_at,
    coalesce(d.slowed, 0) AS slowed, d.said, d.used_to,
    (SELECT count(*) FROM mail_wait w WHERE w.domain = n.name) AS waiting
FROM (SELECT name FROM mail_domain WHERE suspended_at IS NOT NULL OR learned IS NOT NULL
      UNION SELECT domain AS name FROM mail_wait) n LEFT JOIN mail_domain d ON d.name = n.name
WHERE n.name > $1 ORDER BY n.name LIMIT $2";

const MAKE_DOMAIN: &str = "INSERT INTO mail_domain (name) VALUES ($1) ON CONFLICT (name) DO NOTHING";

const PACE_DOMAIN: &str =
    "UPDATE mail_domain SET learned = $2, learned_at = $3, slowed = $4, said = $5 WHERE name = $1";

const SPEND_DOMAIN: &str = "UPDATE mail_domain SET used_to = $2 WHERE name = $1";

const SUSPEND: &str = "
UPDATE mail_domain SET suspended_at = coalesce(suspended_at, now()), suspended_until = $2, suspended_by = $3,
    suspended_why = $4 WHERE name = $1";

const RESUME: &str = "
UPDATE mail_domain SET suspended_at = NULL, suspended_until = NULL, suspended_by = NULL, suspended_why = NULL,
    learned = NULL, learned_at = NULL, slowed = 0, said = NULL
WHERE name = $1 AND (suspended_at IS NOT NULL OR learned IS NOT NULL)";

const WAIT: &str = "
INSERT INTO mail_wait (domain, tenant, job_id, asked_at) VALUES ($1, $2, $3, now())
ON CONFLICT (domain, tenant, job_id) DO NOTHING";

const WAIT_NO_MORE: &str = "DELETE FROM mail_wait WHERE domain = $1 AND tenant = $2 AND job_id = $3";

/// From tenant to tenant along the index: their jobs are not read.
const BEFORE: &str = "
WITH RECURSIVE waiting (tenant) AS (
    SELECT min(w.tenant) FROM mail_wait w WHERE w.domain = $1
    UNION ALL
    SELECT (SELECT min(w.tenant) FROM mail_wait w WHERE w.domain = $1 AND w.tenant > waiting.tenant)
    FROM waiting WHERE waiting.tenant IS NOT NULL)
SELECT (SELECT count(tenant) FROM waiting) AS tenants,
    (SELECT count(*) FROM (SELECT 1 AS one FROM mail_wait w WHERE w.domain = $1 AND w.tenant = $2 AND w.job_id < $3
                           LIMIT $4) own) AS jobs";

const WAKE: &str = "
UPDATE job SET run_at = now() WHERE state = 'retry' AND run_at > now() AND id IN (
    SELECT j.id FROM mail_wait w JOIN job j ON j.id = w.job_id
    WHERE w.domain = $1 AND j.state = 'retry' AND j.run_at > now() ORDER BY w.tenant, w.job_id LIMIT $2)";

const ENDED: &str = "
DELETE FROM mail_wait WHERE job_id IN (
    SELECT w.job_id FROM mail_wait w WHERE NOT EXISTS (
        SELECT 1 FROM job j WHERE j.id = w.job_id AND j.state IN ('scheduled', 'queued', 'running', 'retry')) LIMIT $1)";

const OVER: &str = "
UPDATE mail_domain SET suspended_at = NULL, suspended_until = NULL, suspended_by = NULL, suspended_why = NULL
WHERE suspended_until <= now()";

/// A rate that is used up to an instant that has passed is as one that was never used.
const NOTHING_LEFT: &str = "
DELETE FROM mail_domain WHERE name IN (
    SELECT name FROM mail_domain WHERE suspended_at IS NULL AND learned IS NULL AND (used_to IS NULL OR used_to <= now())
    LIMIT $1)";

fn breaker(row: &impl Columns) -> Result<Breaker> {
    Ok(Breaker {
        state: row.word("state")?,
        since: row.instant("since")?,
        until: row.maybe_instant("until")?,
        counted_from: row.instant("counted_from")?,
        taken: row.number("taken")?,
        failed: row.number("failed")?,
        pauses: row.number("pauses")?,
        fault: row.flag("fault")?,
        why: row.maybe_text("why")?,
    })
}

fn relay(row: &impl Columns) -> Result<MailRelayView> {
    Ok(MailRelayView {
        name: row.text("name")?,
        place: row.text("place")?,
        breaker: breaker(row)?,
        messages: row.number("messages")?,
        day: row.maybe_text("day")?,
    })
}

fn domain(row: &impl Columns) -> Result<MailDomain> {
    let suspension = match row.maybe_instant("suspended_at")? {
        None => None,
        Some(since) => Some(Suspension {
            since,
            until: row.maybe_instant("suspended_until")?,
            by: row.text("suspended_by")?,
            why: row.maybe_text("suspended_why")?,
        }),
    };
    let pace = Pace {
        learned: row.maybe_number("learned")?.and_then(|many| u32::try_from(many).ok()),
        learned_at: row.maybe_instant("learned_at")?,
        slowed: row.number("slowed")?,
        said: row.maybe_text("said")?,
    };
    Ok(MailDomain { name: row.text("name")?, suspension, pace })
}

/// A suspension that is over holds nothing back, although its row says so until it is tidied.
fn standing(domain: MailDomain, now: Instant) -> MailDomain {
    let suspension = domain.suspension.filter(|one| one.until.is_none_or(|until| until > now));
    MailDomain { suspension, ..domain }
}

/// What all workers know.
pub(crate) async fn look<S: Sql>(sql: &mut S) -> Result<MailFlow, S::Fault> {
    let now = sql.now().await?;
    let relays = sql.rows(RELAYS, values![]).await?;
    let domains = sql.rows(HELD, values![HELD_DOMAINS_MAX]).await?;
    let domains: Vec<MailDomain> = domains.iter().map(domain).collect::<Result<_>>()?;
    Ok(MailFlow {
        now,
        relays: relays.iter().map(relay).collect::<Result<_>>()?,
        domains: domains.into_iter().map(|one| standing(one, now)).filter(holds_back).collect(),
    })
}

fn holds_back(domain: &MailDomain) -> bool {
    domain.suspension.is_some() || domain.pace.learned.is_some()
}

async fn known_relay<S: Sql>(sql: &mut S, name: &str, at: &str) -> Result<S::Row, S::Fault> {
    check::relay(name)?;
    sql.run(MAKE_RELAY, values![name, check::plain(at, check::REASON_CHARS_MAX)]).await?;
    let row = sql.row(RELAY, values![name]).await?;
    Ok(row.ok_or_else(|| StoreError::Database(format!("the relay `{name}` vanished")))?)
}

/// Notes what happened to a relay.
pub(crate) async fn note<S: Sql>(
    sql: &mut S,
    &(name, at, event): &(&str, &str, &RelayEvent),
) -> Result<RelayChange, S::Fault> {
    let row = known_relay(sql, name, at).await?;
    advance(sql, name, breaker(&row)?, event).await
}

async fn advance<S: Sql>(sql: &mut S, name: &str, was: Breaker, event: &RelayEvent) -> Result<RelayChange, S::Fault> {
    let Some(is) = was.after(event, sql.now().await?) else { return Ok(RelayChange { is: was.clone(), was }) };
    let why = is.why.as_deref().map(|why| check::plain(why, check::REASON_CHARS_MAX));
    let is = Breaker { why, ..is };
    let values = values![
        name,
        was.state.as_str(),
        is.state.as_str(),
        is.since,
        is.until,
        is.counted_from,
        is.taken,
        is.failed,
        is.pauses,
        is.fault,
        is.why.clone()
    ];
    sql.run(MOVE_RELAY, values).await?;
    Ok(RelayChange { was, is })
}

/// Takes one message's place from a relay.
pub(crate) async fn take<S: Sql>(
    sql: &mut S,
    &(name, at, terms): &(&str, &str, &RelayTerms),
) -> Result<Taken, S::Fault> {
    let row = known_relay(sql, name, at).await?;
    let day = row.maybe_text("day")?.and_then(|day| day.parse::<NaiveDate>().ok());
    let spent = Spent { used_to: row.maybe_instant("used_to")?, day, messages: row.number("messages")? };
    match spent.one_more(terms, sql.now().await?) {
        Err(wait) => Ok(Taken::In(wait)),
        Ok(spent) => {
            let day = spent.day.map(|day| day.to_string());
            sql.run(SPEND_RELAY, values![name, spent.used_to, day, spent.messages]).await?;
            Ok(Taken::Now)
        }
    }
}

/// Puts a relay out of use, or brings it back.
pub(crate) async fn steer<S: Sql>(
    sql: &mut S,
    &(name, event): &(&str, &RelayEvent),
) -> Result<ControlReport, S::Fault> {
    let Some(row) = sql.row(RELAY, values![name]).await? else { return Err(no_relay(name).into()) };
    let change = advance(sql, name, breaker(&row)?, event).await?;
    Ok(one(name, change.changed()))
}

/// There is no such relay.
pub(crate) fn no_relay(name: &str) -> StoreError {
    StoreError::NotFound(format!(
        "there is no relay `{name}`; those of `[mail]` are here from their first message on, see `gristmill mail relay list`"
    ))
}

/// One affected, or none.
pub(crate) fn one(name: &str, affected: bool) -> ControlReport {
    let samples = if affected { vec![name.to_owned()] } else { Vec::new() };
    ControlReport { affected: u64::from(affected), samples, ..ControlReport::default() }
}

async fn known_domain<S: Sql>(sql: &mut S, name: &str) -> Result<S::Row, S::Fault> {
    check::domain(name)?;
    sql.run(MAKE_DOMAIN, values![name]).await?;
    let row = sql.row(DOMAIN, values![name]).await?;
    Ok(row.ok_or_else(|| StoreError::Database(format!("the domain `{name}` vanished")))?)
}

/// Notes what a domain's servers have answered.
pub(crate) async fn domain_note<S: Sql>(
    sql: &mut S,
    &(name, event, configured): &(&str, &DomainEvent, Option<PerMinute>),
) -> Result<(), S::Fault> {
    let row = known_domain(sql, name).await?;
    let was = domain(&row)?.pace;
    if let Some(is) = was.after(event, configured, sql.now().await?) {
        let said = is.said.as_deref().map(|said| check::plain(said, check::REASON_CHARS_MAX));
        let learned = is.learned.map(i64::from);
        sql.run(PACE_DOMAIN, values![name, learned, is.learned_at, is.slowed, said]).await?;
    }
    Ok(())
}

/// Takes one message's place from a domain.
pub(crate) async fn domain_take<S: Sql>(sql: &mut S, ask: &&DomainAsk) -> Result<Taken, S::Fault> {
    let row = known_domain(sql, &ask.domain).await?;
    let now = sql.now().await?;
    let known = standing(domain(&row)?, now);
    let waits = match known.suspension {
        Some(suspension) => Some(suspended_for(suspension.until, now)),
        None => match known.pace.rate(ask.configured) {
            None => None,
            Some(rate) => {
                let values = values![&ask.domain, &ask.tenant, ask.job.0, BEFORE_LOOK];
                let found = sql.row(BEFORE, values).await?;
                let found = found.ok_or_else(|| StoreError::Database("a count has no row".to_owned()))?;
                let before = Before { jobs: found.number("jobs")?, tenants: found.number("tenants")? };
                match place(rate, row.maybe_instant("used_to")?, before, now) {
                    Err(wait) => Some(wait),
                    Ok(used_to) => {
                        sql.run(SPEND_DOMAIN, values![&ask.domain, used_to]).await?;
                        None
                    }
                }
            }
        },
    };
    match waits {
        Some(wait) => {
            sql.run(WAIT, values![&ask.domain, &ask.tenant, ask.job.0]).await?;
            Ok(Taken::In(wait))
        }
        None => {
            sql.run(WAIT_NO_MORE, values![&ask.domain, &ask.tenant, ask.job.0]).await?;
            Ok(Taken::Now)
        }
    }
}

/// Suspends a domain.
pub(crate) async fn suspend<S: Sql>(sql: &mut S, suspend: &&SuspendDomain) -> Result<ControlReport, S::Fault> {
    known_domain(sql, &suspend.domain).await?;
    let until = until(sql, suspend.keep).await?;
    let by = check::plain(&suspend.by, check::REASON_CHARS_MAX);
    let why = suspend.why.as_deref().map(|why| check::plain(why, check::REASON_CHARS_MAX));
    sql.run(SUSPEND, values![&suspend.domain, until, by, why]).await?;
    Ok(one(&suspend.domain, true))
}

/// Ends the suspension of a domain, and forgets what was learned of it.
pub(crate) async fn resume<S: Sql>(sql: &mut S, name: &&str) -> Result<ControlReport, S::Fault> {
    check::domain(name)?;
    let affected = sql.run(RESUME, values![*name]).await?;
    Ok(one(name, affected > 0))
}

/// Lets jobs that wait for a domain try at once.
pub(crate) async fn wake<S: Sql>(sql: &mut S, &(name, limit): &(&str, u32)) -> Result<u64, S::Fault> {
    sql.run(WAKE, values![name, limit]).await
}

/// Domains of which something is known.
pub(crate) async fn domains<S: Sql>(sql: &mut S, page: &Page) -> Result<Vec<MailDomainView>, S::Fault> {
    let now = sql.now().await?;
    let after = page.after.as_deref().unwrap_or_default();
    let rows = sql.rows(DOMAINS, values![after, page.rows()]).await?;
    let view =
        |row: &S::Row| Ok(MailDomainView { domain: standing(domain(row)?, now), waiting: row.number("waiting")? });
    Ok(rows.iter().map(view).collect::<Result<_>>()?)
}

/// Forgets what is over.
pub(crate) async fn tidy<S: Sql>(sql: &mut S, limit: &u32) -> Result<u64, S::Fault> {
    let mut done = sql.run(ENDED, values![*limit]).await?;
    done += sql.run(OVER, values![]).await?;
    done += sql.run(NOTHING_LEFT, values![*limit]).await?;
    Ok(done)
}
