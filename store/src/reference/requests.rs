//! Requests from outside that carry an idempotency key.

use async_trait::async_trait;
use uuid::Uuid;

use super::ReferenceStore;
use super::state::KeptRequest;
use super::transition::Transition;
use crate::error::Result;
use crate::{ANSWER_BYTES_MAX, BegunRequest, KeptAnswer, NewRequest, RequestKey, Requests};

#[async_trait]
impl Requests for ReferenceStore {
    async fn begin_request(&self, request: &NewRequest) -> Result<BegunRequest> {
        let mut t = Transition::begin(self);
        let now = t.now;
        t.state.requests.retain(|_, kept| kept.keep_until > now);
        let fresh = KeptRequest {
            attempt: request.attempt,
            sha256: request.sha256.clone(),
            lease_until: now + request.lease,
            keep_until: now + request.keep,
            answer: None,
        };
        let met = match t.state.requests.get_mut(&request.key) {
            None => {
                t.state.requests.insert(request.key.clone(), fresh);
                BegunRequest::Begun
            }
            Some(kept) if kept.sha256 != request.sha256 => BegunRequest::Different,
            Some(KeptRequest { answer: Some(answer), .. }) => BegunRequest::Answered(answer.clone()),
            Some(kept) if kept.lease_until > now => BegunRequest::UnderWay,
            Some(kept) => {
                *kept = KeptRequest { keep_until: kept.keep_until, ..fresh };
                BegunRequest::Begun
            }
        };
        t.commit()?;
        Ok(met)
    }

    async fn answer_request(&self, key: &RequestKey, attempt: Uuid, answer: &KeptAnswer) -> Result<bool> {
        let mut t = Transition::begin(self);
        let own = t.state.requests.get_mut(key).filter(|kept| kept.attempt == attempt && kept.answer.is_none());
        let own = own.map(|kept| {
            let document = answer.document.clone().filter(|document| document.len() <= ANSWER_BYTES_MAX);
            kept.answer = Some(KeptAnswer { document, ..answer.clone() });
        });
        t.commit()?;
        Ok(own.is_some())
    }

    async fn forget_request(&self, key: &RequestKey, attempt: Uuid) -> Result<()> {
        let mut t = Transition::begin(self);
        let own = |kept: &KeptRequest| kept.attempt == attempt && kept.answer.is_none();
        if t.state.requests.get(key).is_some_and(own) {
            t.state.requests.remove(key);
        }
        t.commit()?;
        Ok(())
    }
}
