//! Delivery records of emails, guarded by the fence of the job that delivers.

use gristmill_core::job::Fence;

use super::{Columns, Sql, values};
use crate::check;
use crate::error::{Result, StoreError};
use crate::{EmailKey, EmailRecord, EmailState, NewEmail};

const MAKE: &str = "
INSERT INTO email (tenant, key, job_id, state, message_id, created_at, moved_at)
VALUES ($1, $2, $3, 'pending', $4, now(), now()) ON CONFLICT DO NOTHING";

const READ: &str = "SELECT state, message_id, created_at FROM email WHERE tenant = $1 AND key = $2";

/// The job's row is locked until the commit: a rescue cannot come between the check and the update.
const MOVE: &str = "
WITH fence AS (
    SELECT id FROM job WHERE id = $3 AND attempt = $4 AND worker_id = $5 AND state = 'running' FOR SHARE)
UPDATE email SET state = $6, note = COALESCE($7, note), moved_at = now() FROM fence
WHERE email.tenant = $1 AND email.key = $2 AND email.job_id = fence.id";

/// Returns the record, created if there is none.
pub(crate) async fn record<S: Sql>(sql: &mut S, email: &NewEmail) -> Result<EmailRecord, S::Fault> {
    let EmailKey { tenant, key } = &email.key;
    sql.run(MAKE, values![tenant, key, email.job.0, &email.message_id]).await?;
    let row = sql.row(READ, values![tenant, key]).await?;
    let row = row.ok_or_else(|| StoreError::Database("a delivery record vanished".to_owned()))?;
    Ok(EmailRecord {
        state: row.word("state")?,
        message_id: row.text("message_id")?,
        created_at: row.instant("created_at")?,
    })
}

/// Moves a record, if the fence holds.
pub(crate) async fn advance<S: Sql>(
    sql: &mut S,
    (key, fence, to, note): &(&EmailKey, &Fence, EmailState, Option<&str>),
) -> Result<bool, S::Fault> {
    let note = note.map(|note| check::plain(note, check::REASON_CHARS_MAX));
    let values = values![&key.tenant, &key.key, fence.job.0, fence.attempt, fence.worker.0, to.as_str(), note];
    Ok(sql.run(MOVE, values).await? > 0)
}
