//! From a secret to the caller.
//!
//! What was recognized is kept in memory for [`KEPT`], so that a store is not asked for each request. A change of accounts
//! in this process makes all of it void at once; one in another process, too, where the servers share a Redis, and
//! otherwise when that time is over. What is not recognized is not kept.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use gristmill_core::access::Subject;
use gristmill_store::accounts::{Recognition, SecretHash};
use gristmill_store::{Result, StoreHandle};
use moka::future::Cache;

use super::jwt::{self, Claims};
use super::secret::{Purpose, Secret};
use super::verifying::Verifying;
use crate::shared::Shared;

/// For how long at most a caller is recognized without the store being asked: by then a change that another process has
/// made is in force here.
pub const KEPT: Duration = Duration::from_secs(5);

/// How many callers are kept at most.
const CALLERS_MAX: u64 = 10_000;

/// A caller that was recognized, by the generation in which it was, its secret and the tenant that it asked for.
type Key = (u64, SecretHash, Option<String>);

/// Recognizes callers. Clones share what is kept.
#[derive(Clone)]
pub struct Recognizer {
    store: StoreHandle,
    kept: Cache<Key, Recognition>,
    /// Rises with each change. What was asked of the store before a change is kept under an older number, which no
    /// request looks for any more, however late the answer comes.
    generation: Arc<AtomicU64>,
    idle: Duration,
    verifying: Arc<Verifying>,
    /// What other servers say, and what they said last.
    shared: Shared,
    word: Arc<Mutex<String>>,
}

impl std::fmt::Debug for Recognizer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Recognizer").field("kept", &self.kept.entry_count()).finish_non_exhaustive()
    }
}

impl Recognizer {
    /// Recognizes callers of a store, whose sessions end after `idle` without use, and of a server at an address, for
    /// which access tokens are.
    pub fn new(store: StoreHandle, idle: Duration, url: &str) -> Self {
        let kept = Cache::builder().max_capacity(CALLERS_MAX).time_to_live(KEPT).build();
        let verifying = Arc::new(Verifying::new(store.clone(), url, KEPT));
        let (shared, word) = (Shared::default(), Arc::default());
        Self { store, kept, generation: Arc::default(), idle, verifying, shared, word }
    }

    /// The same, beside other servers.
    pub(super) fn sharing(self, shared: Shared) -> Self {
        Self { shared, ..self }
    }

    /// The caller with this API token or access token, in the tenant that it asks for or in its own. `None` when it is not
    /// valid.
    ///
    /// # Errors
    ///
    /// Store errors.
    pub async fn token(&self, secret: &Secret, tenant: Option<&str>) -> Result<Option<Recognition>> {
        if jwt::is_one(secret.expose()) {
            return self.access(secret, tenant).await;
        }
        self.recognize(Purpose::Token, secret, tenant).await
    }

    /// The caller with this session, in the tenant that it asks for or in its own. `None` when it is not valid.
    ///
    /// # Errors
    ///
    /// Store errors.
    pub async fn session(&self, secret: &Secret, tenant: Option<&str>) -> Result<Option<Recognition>> {
        self.recognize(Purpose::Session, secret, tenant).await
    }

    /// Makes everything void that is kept, here and at other servers that share a Redis: whatever was revoked is so at
    /// once.
    pub async fn forget(&self) {
        self.generation.fetch_add(1, Ordering::SeqCst);
        self.shared.change_word().await;
    }

    /// The generation of what is kept. It is another one when another server has made what is kept void.
    async fn generation(&self) -> u64 {
        if let Some(word) = self.shared.word().await {
            let mut last = self.word.lock().unwrap_or_else(PoisonError::into_inner);
            if *last != word {
                *last = word;
                self.generation.fetch_add(1, Ordering::SeqCst);
            }
        }
        self.generation.load(Ordering::SeqCst)
    }

    /// Whose access token it is: that it is ours shows by its signature, and that its session goes on by the store.
    async fn access(&self, secret: &Secret, tenant: Option<&str>) -> Result<Option<Recognition>> {
        let generation = self.generation().await;
        let key = (generation, secret.hash(), tenant.map(str::to_owned));
        if let Some(kept) = self.kept.get(&key).await {
            return Ok(Some(kept));
        }
        let Some(claims) = self.verifying.claims(secret, generation).await? else { return Ok(None) };
        let Claims { sid, sub, .. } = claims;
        let Some((recognition, now)) = self.store.recognize_access(sid, sub, tenant).await? else { return Ok(None) };
        if claims.timely(now).is_err() {
            return Ok(None);
        }
        // One that is over before it would be forgotten is not kept.
        if matches!(recognition, Recognition::Known(_)) && claims.left(now).to_std().is_ok_and(|left| left > KEPT) {
            self.kept.insert(key, recognition.clone()).await;
        }
        Ok(Some(recognition))
    }

    async fn recognize(&self, by: Purpose, secret: &Secret, tenant: Option<&str>) -> Result<Option<Recognition>> {
        if !secret.is_for(by) {
            return Ok(None);
        }
        let hash = secret.hash();
        let key = (self.generation().await, hash, tenant.map(str::to_owned));
        if let Some(kept) = self.kept.get(&key).await {
            return Ok(Some(kept));
        }
        let found = match by {
            Purpose::Token => self.store.recognize_token(&hash, tenant).await?,
            Purpose::Session => self.store.recognize_session(&hash, tenant).await?,
            Purpose::Link | Purpose::Refresh => None,
        };
        let Some(recognition) = found else { return Ok(None) };
        if let Recognition::Known(recognized) = &recognition {
            if recognized.stale {
                self.touch(recognized.principal.subject, &hash).await;
            }
            self.kept.insert(key, recognition.clone()).await;
        }
        Ok(Some(recognition))
    }

    /// Notes the use. It is no reason to refuse a caller when that fails.
    async fn touch(&self, subject: Subject, hash: &SecretHash) {
        let touched = match subject {
            Subject::Token { token, .. } => self.store.touch_token(token).await,
            Subject::User(_) => self.store.touch_session(hash, self.idle).await,
            Subject::Anyone => Ok(()),
        };
        if let Err(error) = touched {
            tracing::warn!(%error, "the use of a token or a session could not be noted");
        }
    }
}
