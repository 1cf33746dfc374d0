//! Access tokens: issued for a password, good for a quarter of an hour, renewed by a refresh token that is another one
//! each time; and the keys that sign them.

use std::time::Duration;

use gristmill_core::audit::Action;
use gristmill_core::id::KeyId;
use gristmill_store::StoreError;
use gristmill_store::accounts::{KeyView, NewKey, RefreshSession, Refreshed, SessionKind, SessionView, SigningKey};
use ring::rand::SystemRandom;
use ring::signature::{Ed25519KeyPair, KeyPair};
use uuid::Uuid;

use super::error::{AccountError, Result};
use super::jwt::{self, ACCESS_LIFETIME, Claims, audience, issuer};
use super::sealing::{open, seal};
use super::secret::{Purpose, Secret};
use super::sessions::Login;
use super::verbs::Accounts;
use crate::order::Order;

/// What is given to a program that has logged in: both secrets are shown this once.
#[derive(Debug, Clone, PartialEq)]
pub struct IssuedTokens {
    /// The session that they belong to.
    pub session: SessionView,
    /// What requests carry, for [`ACCESS_LIFETIME`].
    pub access: Secret,
    /// What the next pair is asked for with, once.
    pub refresh: Secret,
}

impl Accounts {
    /// Opens a session that is known by tokens. Whether the account exists shows neither in the answer nor in the time that
    /// it takes.
    ///
    /// # Errors
    ///
    /// As [`Accounts::log_in`].
    pub async fn issue_tokens(&self, order: &Order, login: &Login) -> Result<IssuedTokens> {
        // Before the session, so that none is left behind when there is no key.
        let key = self.signing(order).await?;
        let (session, refresh) = self.open_session(order, login, SessionKind::Tokens).await?;
        let access = self.signed(&key, &session)?;
        Ok(IssuedTokens { session, access, refresh })
    }

    /// Goes on with a session by its refresh token, which is spent. One that was spent before ends the session: another
    /// program has its successor.
    ///
    /// # Errors
    ///
    /// `BadRefresh` when it is unknown, over or spent, and store errors.
    pub async fn refresh_tokens(&self, order: &Order, refresh: &Secret) -> Result<IssuedTokens> {
        if !refresh.is_for(Purpose::Refresh) {
            return Err(AccountError::BadRefresh);
        }
        let key = self.signing(order).await?;
        let next = Secret::draw(Purpose::Refresh)?;
        let idle = self.settings.session_idle.0.max(ACCESS_LIFETIME);
        let wish = RefreshSession { spent: refresh.hash(), next: next.hash(), idle };
        match self.add(order, self.at(order, Action::SessionRefresh, "a refresh token").refresh_session(&wish)).await? {
            Refreshed::Renewed(session) => {
                let access = self.signed(&key, &session)?;
                Ok(IssuedTokens { session, access, refresh: next })
            }
            Refreshed::Reused => {
                self.recognizer().forget().await;
                Err(AccountError::BadRefresh)
            }
            Refreshed::Unknown => Err(AccountError::BadRefresh),
        }
    }

    /// Ends the session of a refresh token: its access token is refused at once in this process, and within
    /// [`KEPT`](super::recognize::KEPT) in others. Returns whether there was one.
    ///
    /// # Errors
    ///
    /// Store errors.
    pub async fn revoke_refresh(&self, order: &Order, refresh: &Secret) -> Result<bool> {
        if !refresh.is_for(Purpose::Refresh) {
            return Ok(false);
        }
        self.change(order, self.at(order, Action::SessionEnd, "a refresh token").end_refresh(&refresh.hash())).await
    }

    /// The keys by which tokens are verified, newest first.
    ///
    /// # Errors
    ///
    /// Store errors.
    pub async fn access_keys(&self) -> Result<Vec<KeyView>> {
        Ok(self.store().access_keys().await?)
    }

    /// Has a new key sign from now on. The one before it verifies until what it has signed is over.
    ///
    /// # Errors
    ///
    /// `Conflict` when another key began to sign at this moment, and other store errors.
    pub async fn rotate_key(&self, order: &Order) -> Result<KeyId> {
        // What a server signs at this moment was begun with the key before, and is over no later than this.
        let key = self.new_key(Some(ACCESS_LIFETIME + Duration::from_secs(60)))?;
        self.change(order, self.at(order, Action::KeyRotate, key.id).add_key(&key)).await?;
        Ok(key.id)
    }

    /// Withdraws a key: what it has signed is refused, at once in this process, and within
    /// [`KEPT`](super::recognize::KEPT) in others. Where it was the one that signs, the next login makes another. Returns
    /// whether it was there.
    ///
    /// # Errors
    ///
    /// Store errors.
    pub async fn withdraw_key(&self, order: &Order, key: KeyId) -> Result<bool> {
        self.change(order, self.at(order, Action::KeyWithdraw, key).withdraw_key(key)).await
    }

    /// The key that signs; it is made when there is none.
    async fn signing(&self, order: &Order) -> Result<SigningKey> {
        if let Some(key) = self.store().signing_key().await? {
            return Ok(key);
        }
        let key = self.new_key(None)?;
        self.add(order, self.at(order, Action::KeyRotate, key.id).add_key(&key)).await?;
        let missing = || StoreError::Conflict("the key that signs was withdrawn at this moment; try again".to_owned());
        Ok(self.store().signing_key().await?.ok_or_else(missing)?)
    }

    fn new_key(&self, replaces: Option<Duration>) -> Result<NewKey> {
        let failed = |_| AccountError::Internal("the system gives no random numbers".into());
        let pair = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).map_err(failed)?;
        let id = KeyId(Uuid::now_v7());
        let public = read(pair.as_ref())?.public_key().as_ref().to_vec();
        let secret = seal(&self.settings.key_file, id.0, pair.as_ref())?;
        Ok(NewKey { id, public, secret, replaces })
    }

    fn signed(&self, key: &SigningKey, session: &SessionView) -> Result<Secret> {
        let pair = read(&open(&self.settings.key_file, key.id.0, &key.secret)?)?;
        let lifetime = i64::try_from(ACCESS_LIFETIME.as_secs()).unwrap_or_default();
        // The last use is what has just happened: it is later than the reading of the key, by the same clock.
        let issued = session.last_seen_at.timestamp();
        let claims = Claims {
            iss: issuer(&self.settings.url).to_owned(),
            aud: audience(&self.settings.url),
            sub: session.user,
            sid: session.id,
            iat: issued,
            nbf: issued,
            exp: issued.saturating_add(lifetime).min(session.expires_at.timestamp()),
            jti: Uuid::now_v7(),
        };
        let failed = |_| AccountError::Internal("the claims of a token cannot be written".into());
        jwt::sign(key.id, &pair, &claims).map_err(failed)
    }
}

fn read(pkcs8: &[u8]) -> Result<Ed25519KeyPair> {
    Ed25519KeyPair::from_pkcs8(pkcs8).map_err(|_| AccountError::Internal("a key that signs cannot be read".into()))
}
