//! The messages of a chunk in the model: enqueued when it is completed.

use std::sync::Arc;

use gristmill_core::letter::RecipientState;

use super::transition::Transition;
use super::{email, insert};
use crate::check;
use crate::error::Result;
use crate::sql::mailing::suppressed_for;
use crate::{NewEmail, NewMessages};

/// Enqueues the messages of a chunk.
pub(super) fn enqueue(t: &mut Transition<'_>, new: &NewMessages) -> Result<()> {
    check::messages(new)?;
    let mut jobs = Vec::new();
    for message in &new.messages {
        let key = (message.job.tenant.clone(), message.job.id.to_string());
        if t.state.emails.contains_key(&key) {
            continue;
        }
        let reason = ["", new.stream.as_str()]
            .iter()
            .filter_map(|stream| {
                let entry = (key.0.clone(), message.recipient.address_hash, (*stream).to_owned());
                t.state.suppressions.get(&entry).filter(|entry| entry.stands(t.now)).map(|entry| entry.reason)
            })
            .min_by_key(|reason| reason.as_str());
        let email = NewEmail {
            job: message.job.id,
            batch: Some(new.batch),
            stream: new.stream.clone(),
            message_id: message.message_id.clone(),
            sender: String::new(),
            subject: String::new(),
            template: message.template.clone(),
            content: Ok(Vec::new()),
            recipients: vec![message.recipient.clone()],
        };
        let mut made = email::made(&email, t.now)?;
        (made.content, made.record.sender, made.record.frozen) = (None, None, false);
        (made.view.sender, made.view.subject, made.view.size, made.view.sha256) = (None, None, None, None);
        made.record.variant = Some(message.variant.clone());
        if let Some(reason) = reason {
            let one = &mut made.record.recipients[0];
            (one.state, one.note) = (RecipientState::Suppressed, Some(suppressed_for(reason)));
            email::sum(&mut made, t.now);
        } else {
            jobs.push(message.job.clone());
        }
        t.state.emails.insert(key, Arc::new(made));
    }
    insert::new_jobs(t, &jobs)?;
    Ok(())
}
