//! Recipients after their jobs: those that no attempt looks after any more, and those that go out once more.

use gristmill_core::id::{BatchId, JobId};
use gristmill_core::job::JobState;
use gristmill_core::letter::RecipientState;
use serde_json::{Value as Json, json};

use super::email::{Known, move_noting, read, sum};
use super::mailing::Changes;
use super::{Columns, Sql, values};
use crate::check;
use crate::error::Result;
use crate::{EmailKey, EmailsAccounted, RecipientView};

/// Messages with recipients that are owed, in the order of their keys, and whether their job has ended.
const OWED: &str = "
SELECT o.tenant, o.key, m.job_id,
       CASE WHEN j.id IS NULL OR j.state IN ('done', 'dead', 'cancelled') THEN 1 ELSE 0 END AS ended
FROM (SELECT DISTINCT r.tenant, r.key FROM email_recipient r
      WHERE r.state IN ('queued', 'sending', 'transmitted', 'deferred') AND (r.tenant, r.key) > ($1, $2)
      ORDER BY r.tenant, r.key LIMIT $3) AS o
    JOIN email m ON m.tenant = o.tenant AND m.key = o.key LEFT JOIN job j ON j.id = m.job_id
ORDER BY o.tenant, o.key";

const JOB_STATE: &str = "SELECT state FROM job WHERE id = $1 FOR UPDATE";

/// Messages of a batch that wait for another attempt, or of which an attempt ended without an answer.
const UNSETTLED: &str = "
SELECT m.key, m.job_id, max(CASE WHEN r.state = 'unknown' THEN 1 ELSE 0 END)::bigint AS unknown
FROM email m JOIN email_recipient r ON r.tenant = m.tenant AND r.key = m.key
WHERE m.batch_id = $1 AND m.tenant = $2 AND m.key > $3 AND r.state IN ('deferred', 'unknown')
GROUP BY m.key, m.job_id ORDER BY m.key LIMIT $4";

const AGAIN: &str = "
UPDATE email SET again = true
WHERE tenant = $1 AND key IN (SELECT e.value FROM json_array_elements_text($2::json) AS e)";

/// Accounts for recipients that no attempt looks after any more.
pub(crate) async fn account<S: Sql>(
    sql: &mut S,
    &(after, limit): &(Option<&EmailKey>, u32),
) -> Result<EmailsAccounted, S::Fault> {
    let (tenant, key) = after.map_or(("", ""), |after| (&after.tenant, &after.key));
    let limit = limit.max(1);
    let rows = sql.rows(OWED, values![tenant, key, limit]).await?;
    let owed = rows.iter().map(|row| {
        let key = EmailKey { tenant: row.text("tenant")?, key: row.text("key")? };
        Ok((key, row.id::<JobId>("job_id")?, row.number::<u32>("ended")? == 1))
    });
    let owed: Vec<(EmailKey, JobId, bool)> = owed.collect::<Result<_>>()?;
    drop(rows);
    let next = owed.last().filter(|_| owed.len() >= limit as usize).map(|(key, ..)| key.clone());
    let mut accounted = EmailsAccounted { moved: 0, next };
    let mut changes = Changes::default();
    for (key, job, _) in owed.iter().filter(|(.., ended)| *ended) {
        // Locked, and looked at again: it may have been redriven since.
        let state = sql.row(JOB_STATE, values![job.0]).await?;
        let state: Option<JobState> = state.map(|row| row.word("state")).transpose()?;
        if state.is_some_and(|state| !state.is_final()) {
            continue;
        }
        let Some(Known { record, counted, .. }) = read(sql, key).await? else { continue };
        let steps: Vec<Json> = record.recipients.iter().filter_map(|one| abandoned_step(one, state)).collect();
        accounted.moved += move_noting(sql, key, counted.as_ref(), &steps, &mut changes).await?;
        sum(sql, key).await?;
    }
    changes.write(sql).await?;
    Ok(accounted)
}

fn abandoned_step(one: &RecipientView, job: Option<JobState>) -> Option<Json> {
    let (to, note) = match one.state {
        // A handler ends its job well only when every recipient is settled well.
        RecipientState::Transmitted if job == Some(JobState::Done) => (RecipientState::Sent, "its job ended well"),
        RecipientState::Transmitted => (RecipientState::Unknown, "an attempt ended without an answer"),
        state if !state.is_owed() => return None,
        _ if job == Some(JobState::Cancelled) => (RecipientState::Cancelled, "its job was cancelled"),
        _ => (RecipientState::Expired, "its job ended before a server had taken it"),
    };
    // What a server said last says more than that the job has ended.
    let note = one.note.as_deref().unwrap_or(note);
    Some(json!([one.position, one.state, to, 0, one.code, one.status, one.rule, note, ""]))
}

/// Which messages of a batch an operator lets go out once more.
pub(crate) type Again<'a> = (&'a str, BatchId, Option<JobId>, u32, bool);

/// Lets those of whom it is unknown get the message once more.
pub(crate) async fn again<S: Sql>(
    sql: &mut S,
    &(tenant, batch, after, limit, dry_run): &Again<'_>,
) -> Result<Vec<JobId>, S::Fault> {
    let after = after.map(|job| job.to_string()).unwrap_or_default();
    let rows = sql.rows(UNSETTLED, values![batch.0, tenant, after, limit.max(1)]).await?;
    let mut unknown = Vec::new();
    let mut jobs = Vec::with_capacity(rows.len());
    for row in &rows {
        jobs.push(row.id("job_id")?);
        if row.number::<i64>("unknown")? == 1 {
            unknown.push(row.text("key")?);
        }
    }
    drop(rows);
    if !dry_run && !unknown.is_empty() {
        sql.run(AGAIN, values![tenant, check::json(&unknown)?]).await?;
    }
    Ok(jobs)
}
