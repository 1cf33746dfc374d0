//! Requests from outside that carry an idempotency key: each is carried out once, and answered again with the same.

use std::fmt::Debug;
use std::time::Duration;

use async_trait::async_trait;
use uuid::Uuid;

use crate::error::Result;

/// The most bytes of an idempotency key of a request.
pub const REQUEST_KEY_BYTES_MAX: usize = 255;

/// The most bytes of an answer that is kept; a longer one is not, and its request is known as answered all the same.
pub const ANSWER_BYTES_MAX: usize = 1024 * 1024;

/// Requests that carry an idempotency key.
#[async_trait]
pub trait Requests: Debug + Send + Sync + 'static {
    /// Begins a request under its key, unless one was begun under it that is not over yet. One whose process died is
    /// over when its lease ends, and begins anew. Also forgets some whose time to be kept is over.
    async fn begin_request(&self, request: &NewRequest) -> Result<BegunRequest>;

    /// Keeps the answer of a request, and returns whether it was still that attempt's to answer.
    async fn answer_request(&self, key: &RequestKey, attempt: Uuid, answer: &KeptAnswer) -> Result<bool>;

    /// Forgets a request that has changed nothing, so that it may be repeated under its key.
    async fn forget_request(&self, key: &RequestKey, attempt: Uuid) -> Result<()>;
}

/// Whose key it is: keys of different callers and tenants have nothing to do with each other.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct RequestKey {
    /// The tenant that was asked for.
    pub tenant: String,
    /// The caller, in a form of its own.
    pub caller: String,
    /// The key: 1 to [`REQUEST_KEY_BYTES_MAX`] bytes.
    pub key: String,
}

/// A request that begins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewRequest {
    /// Its key.
    pub key: RequestKey,
    /// This attempt at it.
    pub attempt: Uuid,
    /// The SHA-256 of all that it asks for, in hexadecimal.
    pub sha256: String,
    /// How long it may take: after that, another attempt may begin.
    pub lease: Duration,
    /// How long it is kept.
    pub keep: Duration,
}

/// What a request meets under its key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BegunRequest {
    /// Nothing: it is this attempt's to carry out.
    Begun,
    /// The same request, which is under way.
    UnderWay,
    /// The same request, which was answered.
    Answered(KeptAnswer),
    /// Another request.
    Different,
}

/// An answer that is given again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeptAnswer {
    /// Its status, 200 to 599.
    pub status: u16,
    /// Its document, as JSON; `None` when it was too long to be kept.
    pub document: Option<String>,
    /// Where what it has made can be seen.
    pub location: Option<String>,
}
