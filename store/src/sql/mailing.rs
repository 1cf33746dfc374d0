//! Mailings: the messages of a chunk, how many recipients are where, and the pause over the budget for bounces.

use std::collections::BTreeMap;

use gristmill_core::batch::BatchState;
use gristmill_core::id::{BatchId, JobId};
use gristmill_core::job::NewJob;
use gristmill_core::letter::{RecipientState, SuppressionReason, envelope_id};
use gristmill_core::mailing::{Funnel, Judged, MailSpec, over_bounce_budget};
use serde_json::{Value as Json, json};
use uuid::Uuid;

use super::{Columns, Creating, Sql, values};
use crate::check;
use crate::error::Result;
use crate::{EmailStat, MailingVariant, MailingView, NewMessages, StatsBy, StatsFilter, domain_of, email_state};

/// Over how many rows a count is spread, so that workers seldom wait for the same one.
const SHARDS: u128 = 16;

/// Which of these addresses nothing is sent to, and why.
const SUPPRESSED: &str = "
SELECT DISTINCT s.address_hash, s.reason FROM json_array_elements_text($3::json) AS e
    JOIN suppression s ON s.tenant = $1 AND s.address_hash = decode(e.value, 'hex') AND s.stream IN ('', $2)
WHERE s.until IS NULL OR s.until > now() ORDER BY s.address_hash, s.reason";

/// One that is there already has been made of the same item.
const MAKE: &str = "
INSERT INTO email (tenant, key, job_id, state, message_id, envelope_id, template, item, variant, batch_id, stream,
                   created_at, moved_at)
SELECT $1, e.value ->> 0, CAST(e.value ->> 0 AS uuid), e.value ->> 1, e.value ->> 2, e.value ->> 3, e.value ->> 4,
       (e.value ->> 5)::bigint, e.value ->> 6, $2, $3, now(), now()
FROM json_array_elements($4::json) AS e WHERE true
ON CONFLICT (tenant, key) DO NOTHING RETURNING key";

const MAKE_RECIPIENTS: &str = "
INSERT INTO email_recipient (tenant, key, position, role, address, address_hash, domain, state, note, moved_at)
SELECT $1, e.value ->> 0, 0, e.value ->> 7, e.value ->> 8, decode(e.value ->> 9, 'hex'), e.value ->> 10, e.value ->> 11,
       e.value ->> 12, now()
FROM json_array_elements($2::json) AS e WHERE true ON CONFLICT (tenant, key, position) DO NOTHING";

/// In the order of the key, so that two transactions which change several of the same rows wait for each other and no
/// more. What is counted for a batch that is gone is not kept.
const COUNT: &str = "
INSERT INTO mailing_count (batch_id, tenant, variant, state, shard, recipients)
SELECT CAST(e.value ->> 0 AS uuid), e.value ->> 1, e.value ->> 2, e.value ->> 3, (e.value ->> 4)::bigint,
       (e.value ->> 5)::bigint
FROM json_array_elements($1::json) AS e
WHERE EXISTS (SELECT 1 FROM batch b WHERE b.id = CAST(e.value ->> 0 AS uuid))
ORDER BY e.value ->> 0, e.value ->> 2, e.value ->> 3, (e.value ->> 4)::bigint
ON CONFLICT (batch_id, variant, state, shard) DO UPDATE SET recipients = mailing_count.recipients + excluded.recipients";

const FUNNELS: &str = "
SELECT c.variant, c.state, sum(c.recipients)::bigint AS recipients FROM mailing_count c
WHERE c.batch_id = $1 AND c.tenant = $2 GROUP BY c.variant, c.state ORDER BY c.variant, c.state";

const BATCH: &str = "SELECT state, paused FROM batch WHERE id = $1 AND tenant = $2 FOR NO KEY UPDATE";

const BEGIN: &str = "
INSERT INTO mailing (batch_id, tenant) SELECT b.id, b.tenant FROM batch b WHERE b.id = $1 AND b.tenant = $2
ON CONFLICT (batch_id) DO NOTHING";

const NEWEST: &str = "
SELECT b.id, b.name, c.state, sum(c.recipients)::bigint AS recipients
FROM (SELECT m.batch_id FROM mailing m WHERE m.tenant = $1 ORDER BY m.batch_id DESC LIMIT $2) AS n
    JOIN batch b ON b.id = n.batch_id JOIN mailing_count c ON c.batch_id = n.batch_id
GROUP BY b.id, b.name, c.state ORDER BY b.id DESC, c.state";

const JUDGED: &str = "SELECT tried, bounced FROM mailing WHERE batch_id = $1";

const JUDGE: &str = "UPDATE mailing SET tried = $2, bounced = $3 WHERE batch_id = $1";

const PAUSE: &str = "
UPDATE batch SET paused = true, paused_at = now(), paused_by = $2, paused_reason = $3 WHERE id = $1 AND NOT paused";

/// Who pauses a mailing that is over its budget.
pub(crate) const PAUSED_BY: &str = "gristmill";

macro_rules! stats {
    ($name:literal) => {
        concat!(
            "WITH g AS (
    SELECT ",
            $name,
            " AS name, r.state, count(*) AS recipients
    FROM email m JOIN email_recipient r ON r.tenant = m.tenant AND r.key = m.key
    WHERE m.tenant = $1 AND ($2::uuid IS NULL OR m.batch_id = $2) AND ($3::text IS NULL OR m.template = $3)
      AND ($4::text IS NULL OR m.stream = $4) AND ($5::text IS NULL OR r.domain = $5)
      AND ($6::timestamptz IS NULL OR m.created_at >= $6)
    GROUP BY 1, 2
), t AS (SELECT name, sum(recipients) AS whole FROM g GROUP BY name ORDER BY whole DESC, name LIMIT $7)
SELECT g.name, g.state, g.recipients::bigint AS recipients FROM g JOIN t ON t.name = g.name
ORDER BY t.whole DESC, g.name, g.state"
        )
    };
}

const STATS: &str = stats!("''");
const STATS_BY_TEMPLATE: &str = stats!("COALESCE(m.template, '')");
const STATS_BY_STREAM: &str = stats!("m.stream");
const STATS_BY_DOMAIN: &str = stats!("COALESCE(r.domain, '')");

/// By which a recipient of a mailing is counted.
#[derive(Debug, Clone)]
pub(crate) struct Counted {
    pub(crate) batch: Uuid,
    pub(crate) variant: String,
    pub(crate) job: JobId,
}

/// By how much the counts of mailings change in a transaction.
#[derive(Debug, Default)]
pub(crate) struct Changes(BTreeMap<(Uuid, String, RecipientState, u64), (String, i64)>);

impl Changes {
    /// A recipient came from a state, or is new, and is in another.
    pub(crate) fn moved(&mut self, tenant: &str, counted: &Counted, from: Option<RecipientState>, to: RecipientState) {
        if let Some(from) = from {
            self.change(tenant, counted, from, -1);
        }
        self.change(tenant, counted, to, 1);
    }

    fn change(&mut self, tenant: &str, counted: &Counted, state: RecipientState, by: i64) {
        let key = (counted.batch, counted.variant.clone(), state, shard(counted.job));
        self.0.entry(key).or_insert_with(|| (tenant.to_owned(), 0)).1 += by;
    }

    /// Writes them down.
    pub(crate) async fn write<S: Sql>(self, sql: &mut S) -> Result<(), S::Fault> {
        let rows: Vec<Json> = self
            .0
            .into_iter()
            .filter(|(_, (_, by))| *by != 0)
            .map(|((batch, variant, state, shard), (tenant, by))| json!([batch, tenant, variant, state, shard, by]))
            .collect();
        if !rows.is_empty() {
            sql.run(COUNT, values![check::json(&rows)?]).await?;
        }
        Ok(())
    }
}

/// The low bits of the place of the item, in a message's id.
fn shard(job: JobId) -> u64 {
    let id = job.0.as_u128();
    u64::try_from(((id >> 38) ^ id) % SHARDS).unwrap_or_default()
}

/// Enqueues the messages of a chunk, in the transaction that completes it. Those that are there already are left alone,
/// and to those on the list nothing is sent.
pub(crate) async fn enqueue<S: Creating>(sql: &mut S, new: &NewMessages) -> Result<(), S::Fault> {
    let Some(tenant) = new.messages.first().map(|message| message.job.tenant.as_str()) else { return Ok(()) };
    check::messages(new)?;
    sql.run(BEGIN, values![new.batch.0, tenant]).await?;
    let reasons = suppressed(sql, tenant, new).await?;
    let rows: Vec<(String, Json)> = new
        .messages
        .iter()
        .map(|message| {
            let one = &message.recipient;
            let reason = reasons.get(one.address_hash.as_slice());
            let state = if reason.is_some() { RecipientState::Suppressed } else { RecipientState::Queued };
            let key = message.job.id.to_string();
            let (id, envelope) = (&message.message_id, envelope_id(&message.message_id));
            let row = json!([
                key,
                email_state([state].into_iter()),
                id,
                envelope,
                message.template,
                message.item,
                message.variant,
                one.role,
                one.address,
                hex::encode(one.address_hash),
                domain_of(&one.address),
                state,
                reason.map(|reason| suppressed_for(*reason))
            ]);
            (key, row)
        })
        .collect();
    let all: Vec<&Json> = rows.iter().map(|(_, row)| row).collect();
    let made = sql.rows(MAKE, values![tenant, new.batch.0, &new.stream, check::json(&all)?]).await?;
    let made: std::collections::BTreeSet<String> = made.iter().map(|row| row.text("key")).collect::<Result<_>>()?;
    let fresh: Vec<&Json> = rows.iter().filter(|(key, _)| made.contains(key)).map(|(_, row)| row).collect();
    sql.run(MAKE_RECIPIENTS, values![tenant, check::json(&fresh)?]).await?;
    let mut changes = Changes::default();
    let mut jobs: Vec<NewJob> = Vec::with_capacity(fresh.len());
    for (message, (key, _)) in new.messages.iter().zip(&rows) {
        if !made.contains(key) {
            continue;
        }
        let listed = reasons.contains_key(message.recipient.address_hash.as_slice());
        let state = if listed { RecipientState::Suppressed } else { RecipientState::Queued };
        // All of a chunk in one row of the count: its messages are made together.
        let first = new.messages.first().map_or(message.job.id, |first| first.job.id);
        let counted = Counted { batch: new.batch.0, variant: message.variant.clone(), job: first };
        changes.moved(tenant, &counted, None, state);
        if !listed {
            jobs.push(message.job.clone());
        }
    }
    sql.enqueue(&jobs).await?;
    changes.write(sql).await
}

async fn suppressed<S: Sql>(
    sql: &mut S,
    tenant: &str,
    new: &NewMessages,
) -> Result<BTreeMap<Vec<u8>, SuppressionReason>, S::Fault> {
    let hashes: Vec<String> = new.messages.iter().map(|message| hex::encode(message.recipient.address_hash)).collect();
    let rows = sql.rows(SUPPRESSED, values![tenant, &new.stream, check::json(&hashes)?]).await?;
    let mut reasons = BTreeMap::new();
    for row in &rows {
        reasons.entry(row.bytes("address_hash")?).or_insert(row.word("reason")?);
    }
    Ok(reasons)
}

/// What is said of a recipient that is on the list before anything is tried.
pub(crate) fn suppressed_for(reason: SuppressionReason) -> String {
    format!("the address is on the list of those to which nothing is sent: {reason}")
}

/// How far a mailing is, by variant.
pub(crate) async fn funnels<S: Sql>(
    sql: &mut S,
    &(tenant, batch): &(&str, BatchId),
) -> Result<Vec<MailingVariant>, S::Fault> {
    let rows = sql.rows(FUNNELS, values![batch.0, tenant]).await?;
    let mut all: Vec<MailingVariant> = Vec::new();
    for row in &rows {
        let (variant, state, recipients) = (row.text("variant")?, row.word("state")?, row.number("recipients")?);
        if all.last().is_none_or(|last| last.variant != variant) {
            all.push(MailingVariant { variant, funnel: Funnel::default() });
        }
        if let Some(last) = all.last_mut() {
            last.funnel.add(state, recipients);
        }
    }
    Ok(all)
}

/// The newest mailings of a tenant.
pub(crate) async fn newest<S: Sql>(sql: &mut S, &(tenant, limit): &(&str, u32)) -> Result<Vec<MailingView>, S::Fault> {
    let rows = sql.rows(NEWEST, values![tenant, limit.clamp(1, 100)]).await?;
    let mut all: Vec<MailingView> = Vec::new();
    for row in &rows {
        let (batch, state, recipients) = (BatchId(row.id("id")?), row.word("state")?, row.number("recipients")?);
        if all.last().is_none_or(|last| last.batch != batch) {
            all.push(MailingView { batch, name: row.text("name")?, funnel: Funnel::default() });
        }
        if let Some(last) = all.last_mut() {
            last.funnel.add(state, recipients);
        }
    }
    Ok(all)
}

/// Pauses a mailing that is over its budget for bounces. Returns why, if it was paused now.
pub(crate) async fn hold<S: Sql>(
    sql: &mut S,
    &(tenant, batch, spec): &(&str, BatchId, &MailSpec),
) -> Result<Option<String>, S::Fault> {
    let Some(row) = sql.row(BATCH, values![batch.0, tenant]).await? else { return Ok(None) };
    let state: BatchState = row.word("state")?;
    if state.is_final() || row.flag("paused")? {
        return Ok(None);
    }
    drop(row);
    let mut all = Funnel::default();
    for one in funnels(sql, &(tenant, batch)).await? {
        all.merge(&one.funnel);
    }
    let judged = match sql.row(JUDGED, values![batch.0]).await? {
        Some(row) => Judged { tried: row.number("tried")?, bounced: row.number("bounced")? },
        None => Judged::default(),
    };
    let Some(reason) = over_bounce_budget(spec, &all, judged) else { return Ok(None) };
    let kept = check::plain(&reason, check::REASON_CHARS_MAX);
    sql.run(PAUSE, values![batch.0, PAUSED_BY, kept]).await?;
    sql.run(JUDGE, values![batch.0, all.tried(), all.bounced]).await?;
    Ok(Some(reason))
}

/// Counts recipients.
pub(crate) async fn stats<S: Sql>(sql: &mut S, filter: &StatsFilter) -> Result<Vec<EmailStat>, S::Fault> {
    let since = match filter.since {
        None => None,
        Some(since) => {
            let now = sql.now().await?;
            Some(
                chrono::TimeDelta::from_std(since).ok().and_then(|ago| now.checked_sub_signed(ago)).unwrap_or_default(),
            )
        }
    };
    let statement = match filter.by {
        StatsBy::All => STATS,
        StatsBy::Template => STATS_BY_TEMPLATE,
        StatsBy::Stream => STATS_BY_STREAM,
        StatsBy::Domain => STATS_BY_DOMAIN,
    };
    let domain = filter.domain.as_ref().map(|domain| domain.to_ascii_lowercase());
    let values = values![
        &filter.tenant,
        filter.batch.map(|batch| batch.0),
        filter.template.clone(),
        filter.stream.clone(),
        domain,
        since,
        filter.limit.clamp(1, StatsFilter::LIMIT_MAX)
    ];
    let rows = sql.rows(statement, values).await?;
    let mut all: Vec<EmailStat> = Vec::new();
    for row in &rows {
        let (name, state, recipients) = (row.text("name")?, row.word("state")?, row.number("recipients")?);
        if all.last().is_none_or(|last| last.name != name) {
            all.push(EmailStat { name, funnel: Funnel::default() });
        }
        if let Some(last) = all.last_mut() {
            last.funnel.add(state, recipients);
        }
    }
    Ok(all)
}
