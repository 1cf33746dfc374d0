//! Requests from outside that carry an idempotency key.

use async_trait::async_trait;
use uuid::Uuid;

use super::SqliteStore;
use super::sql::transact;
use crate::error::Result;
use crate::sql::requests;
use crate::{BegunRequest, KeptAnswer, NewRequest, RequestKey, Requests};

#[async_trait]
impl Requests for SqliteStore {
    async fn begin_request(&self, request: &NewRequest) -> Result<BegunRequest> {
        transact!(self, requests::begin, request)
    }

    async fn answer_request(&self, key: &RequestKey, attempt: Uuid, answer: &KeptAnswer) -> Result<bool> {
        transact!(self, requests::answer, &(key, attempt, answer))
    }

    async fn forget_request(&self, key: &RequestKey, attempt: Uuid) -> Result<()> {
        transact!(self, requests::forget, &(key, attempt))
    }
}
