//! The keys that verify access tokens, as they were read from the store a moment ago.

use std::sync::Arc;
use std::time::Duration;

use gristmill_core::id::KeyId;
use gristmill_store::{Result, StoreHandle};
use tokio::sync::Mutex;
use tokio::time::Instant;

use super::jwt::{self, Claims, Refusal, audience, issuer};
use super::secret::Secret;

/// How often at most the keys are read because a token names one that is unknown: a flood of such tokens asks no more of
/// the store.
const AGAIN: Duration = Duration::from_secs(1);

/// Verifies access tokens of a server.
#[derive(Debug)]
pub(super) struct Verifying {
    store: StoreHandle,
    issuer: String,
    audience: String,
    /// For how long keys are taken as they were read.
    kept: Duration,
    read: Mutex<Option<Keys>>,
}

/// The keys of a moment.
#[derive(Debug, Clone)]
struct Keys {
    at: Instant,
    /// When what was known of callers was last forgotten in this process, as with a key that is withdrawn.
    generation: u64,
    all: Arc<Vec<(KeyId, Vec<u8>)>>,
}

impl Keys {
    fn key(&self, id: KeyId) -> Option<&[u8]> {
        self.all.iter().find(|(known, _)| *known == id).map(|(_, public)| public.as_slice())
    }
}

impl Verifying {
    pub(super) fn new(store: StoreHandle, url: &str, kept: Duration) -> Self {
        Self { store, issuer: issuer(url).to_owned(), audience: audience(url), kept, read: Mutex::default() }
    }

    /// What a token says that one of our keys has signed for us. `None` when it is no such token.
    pub(super) async fn claims(&self, token: &Secret, generation: u64) -> Result<Option<Claims>> {
        let Ok(id) = jwt::key_of(token.expose()) else { return Ok(None) };
        let keys = self.keys(id, generation).await?;
        let verified = match keys.key(id) {
            Some(public) => jwt::verify(token.expose(), public, (&self.issuer, &self.audience)),
            None => Err(Refusal::Key),
        };
        if let Err(refusal) = &verified {
            tracing::debug!(?refusal, "an access token is refused");
        }
        Ok(verified.ok())
    }

    /// The keys, read anew after a while, and when the one that is looked for is not among them. Who waits for others that
    /// read finds what they have read.
    async fn keys(&self, wanted: KeyId, generation: u64) -> Result<Keys> {
        let mut read = self.read.lock().await;
        if let Some(keys) = read.as_ref().filter(|keys| keys.generation == generation) {
            let fresh = if keys.key(wanted).is_some() { self.kept } else { AGAIN };
            if keys.at.elapsed() < fresh {
                return Ok(keys.clone());
            }
        }
        let at = Instant::now();
        let views = self.store.access_keys().await?;
        let all = views.into_iter().filter_map(|key| Some((key.id, hex::decode(&key.public).ok()?))).collect();
        let keys = Keys { at, generation, all: Arc::new(all) };
        *read = Some(keys.clone());
        Ok(keys)
    }
}
