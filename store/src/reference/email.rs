//! How far the delivery of each email is.

use std::sync::Arc;

use async_trait::async_trait;
use gristmill_core::job::{Fence, JobState};

use super::ReferenceStore;
use super::state::Email;
use super::transition::Transition;
use crate::check;
use crate::error::Result;
use crate::{EmailKey, EmailRecord, EmailState, Emails, NewEmail};

#[async_trait]
impl Emails for ReferenceStore {
    async fn email(&self, email: &NewEmail) -> Result<EmailRecord> {
        let mut t = Transition::begin(self);
        let now = t.now;
        let key = (email.key.tenant.clone(), email.key.key.clone());
        let found = t.state.emails.entry(key).or_insert_with(|| {
            let record =
                EmailRecord { state: EmailState::Pending, message_id: email.message_id.clone(), created_at: now };
            Arc::new(Email { job: email.job, record, note: None, moved_at: now })
        });
        let record = found.record.clone();
        t.commit()?;
        Ok(record)
    }

    async fn email_move(&self, key: &EmailKey, fence: &Fence, to: EmailState, note: Option<&str>) -> Result<bool> {
        let mut t = Transition::begin(self);
        let now = t.now;
        let holds = t.state.jobs.get(&fence.job).is_some_and(|job| {
            job.state == JobState::Running && job.attempt == fence.attempt && job.worker == Some(fence.worker)
        });
        let found = t.state.emails.get_mut(&(key.tenant.clone(), key.key.clone())).map(Arc::make_mut);
        let Some(email) = found.filter(|email| holds && email.job == fence.job) else { return Ok(false) };
        email.record.state = to;
        email.moved_at = now;
        if let Some(note) = note {
            email.note = Some(check::plain(note, check::REASON_CHARS_MAX));
        }
        t.commit()?;
        Ok(true)
    }
}
