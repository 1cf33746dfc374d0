//! How far the delivery of each email is.

use async_trait::async_trait;
use gristmill_core::job::Fence;

use super::transition::Transition;
use super::{SqliteStore, row};
use crate::check;
use crate::error::{Result, StoreError};
use crate::{EmailKey, EmailRecord, EmailState, Emails, NewEmail};

#[async_trait]
impl Emails for SqliteStore {
    async fn email(&self, email: &NewEmail) -> Result<EmailRecord> {
        let mut t = Transition::begin(self).await?;
        let statement = "
            INSERT INTO email (tenant, key, job_id, state, message_id, created_at, moved_at)
            VALUES (?1, ?2, ?3, 'pending', ?4, ?5, ?5) ON CONFLICT DO NOTHING";
        let query = sqlx::query(statement)
            .bind(email.key.tenant.clone())
            .bind(email.key.key.clone())
            .bind(email.job.0)
            .bind(email.message_id.clone())
            .bind(t.now);
        t.run(query).await?;
        let statement = "SELECT state, message_id, created_at FROM email WHERE tenant = ?1 AND key = ?2";
        let query = sqlx::query(statement).bind(email.key.tenant.clone()).bind(email.key.key.clone());
        let found = t.row(query).await?;
        t.commit().await?;
        let row = found.ok_or_else(|| StoreError::Database("a delivery record vanished".to_owned()))?;
        let state: String = row::get(&row, "state")?;
        Ok(EmailRecord {
            state: state_of(&state)?,
            message_id: row::get(&row, "message_id")?,
            created_at: row::instant(&row, "created_at")?,
        })
    }

    async fn email_move(&self, key: &EmailKey, fence: &Fence, to: EmailState, note: Option<&str>) -> Result<bool> {
        let mut t = Transition::begin(self).await?;
        let statement = "
            UPDATE email SET state = ?3, note = coalesce(?4, note), moved_at = ?5
            WHERE tenant = ?1 AND key = ?2 AND job_id = ?6
              AND EXISTS (SELECT 1 FROM job WHERE id = ?6 AND state = 'running' AND attempt = ?7 AND worker_id = ?8)";
        let query = sqlx::query(statement)
            .bind(key.tenant.clone())
            .bind(key.key.clone())
            .bind(to.as_str())
            .bind(note.map(|note| check::plain(note, check::REASON_CHARS_MAX)))
            .bind(t.now)
            .bind(fence.job.0)
            .bind(fence.attempt)
            .bind(fence.worker.0);
        let moved = t.run(query).await? == 1;
        t.commit().await?;
        Ok(moved)
    }
}

fn state_of(word: &str) -> Result<EmailState> {
    let all = [EmailState::Pending, EmailState::Sending, EmailState::Sent, EmailState::Uncertain, EmailState::Failed];
    let found = all.into_iter().find(|state| state.as_str() == word);
    found.ok_or_else(|| StoreError::Database(format!("an email is in the unknown state `{word}`")))
}
