//! Delivery records of emails, guarded by the fence of the job that delivers.

use async_trait::async_trait;
use gristmill_core::Instant;
use gristmill_core::job::Fence;

use super::PostgresStore;
use super::connect::transact;
use super::fault::Outcome;
use super::values::{int, plain};
use super::work::Work;
use crate::check;
use crate::error::{Result, StoreError};
use crate::{EmailKey, EmailRecord, EmailState, Emails, NewEmail};

const MAKE: &str = "
INSERT INTO email (tenant, key, job_id, state, message_id, created_at, moved_at)
VALUES ($1, $2, $3, 'pending', $4, now(), now()) ON CONFLICT DO NOTHING";

const READ: &str = "SELECT state, message_id, created_at FROM email WHERE tenant = $1 AND key = $2";

/// The job's row is held until the commit: a rescue cannot come between the look and the deed.
const MOVE: &str = "
WITH fence AS (
    SELECT id FROM job WHERE id = $3 AND attempt = $4 AND worker_id = $5 AND state = 'running' FOR SHARE)
UPDATE email SET state = $6, note = COALESCE($7, note), moved_at = now() FROM fence
WHERE email.tenant = $1 AND email.key = $2 AND email.job_id = $3";

#[async_trait]
impl Emails for PostgresStore {
    async fn email(&self, email: &NewEmail) -> Result<EmailRecord> {
        transact!(self, record, email).await
    }

    async fn email_move(&self, key: &EmailKey, fence: &Fence, to: EmailState, note: Option<&str>) -> Result<bool> {
        transact!(self, advance, (key, fence, to, note)).await
    }
}

/// The record, made when there is none.
pub(super) async fn record(work: &mut Work<'_>, email: &&NewEmail) -> Outcome<EmailRecord> {
    sqlx::query(MAKE)
        .bind(plain(&email.key.tenant))
        .bind(plain(&email.key.key))
        .bind(email.job.0)
        .bind(plain(&email.message_id))
        .execute(&mut *work.conn)
        .await?;
    let (state, message_id, created_at): (String, String, Instant) = sqlx::query_as(READ)
        .bind(plain(&email.key.tenant))
        .bind(plain(&email.key.key))
        .fetch_one(&mut *work.conn)
        .await?;
    Ok(EmailRecord { state: state_of(&state)?, message_id, created_at })
}

/// Moves a record, if the fence holds.
pub(super) async fn advance(
    work: &mut Work<'_>,
    (key, fence, to, note): &(&EmailKey, &Fence, EmailState, Option<&str>),
) -> Outcome<bool> {
    let moved = sqlx::query(MOVE)
        .bind(plain(&key.tenant))
        .bind(plain(&key.key))
        .bind(fence.job.0)
        .bind(int(fence.attempt))
        .bind(fence.worker.0)
        .bind(to.as_str())
        .bind(note.map(|note| check::plain(note, check::REASON_CHARS_MAX)))
        .execute(&mut *work.conn)
        .await?;
    Ok(moved.rows_affected() > 0)
}

fn state_of(word: &str) -> Result<EmailState, StoreError> {
    use EmailState::{Failed, Pending, Sending, Sent, Uncertain};
    [Pending, Sending, Sent, Uncertain, Failed]
        .into_iter()
        .find(|state| state.as_str() == word)
        .ok_or_else(|| StoreError::Database(format!("`{word}` is not a state of an email")))
}
