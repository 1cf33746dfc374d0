//! A login elsewhere that a person links to their own account, and unlinks: what it may open from then on is theirs to say.
//!
//! It begins with their password, and with a code of their second factor where they have one, and ends in the session that
//! has begun it. The browser keeps the seal of that session meanwhile: a code with the secret of the session for its key,
//! which another site cannot make. So a login of another person's is not slipped in, which would open the account to them.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use gristmill_core::audit::Action;
use gristmill_core::id::UserId;
use gristmill_store::accounts::{LoginView, NewLogin, SecretHash};
use ring::hmac;

use super::{BegunLogin, Kept, LOGIN_LIFETIME, LoginAnswer, admitted, checked, refused, sha256, subject};
use crate::accounts::error::Result;
use crate::accounts::factors::{Proof, spent};
use crate::accounts::secret::Secret;
use crate::accounts::verbs::Accounts;
use crate::order::Order;

/// What a person shows who links a login.
#[derive(Debug, Clone, PartialEq)]
pub struct LinkProof {
    /// Their password.
    pub proof: Proof,
    /// A code of their second factor, or a recovery code, where they have one.
    pub code: Option<Secret>,
    /// The session that asks.
    pub session: Secret,
}

/// A login elsewhere by which a person is known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KnownLogin {
    /// As it is stored.
    pub login: LoginView,
    /// The name of its provider, where the server has one of its issuer.
    pub provider: Option<String>,
    /// What the provider's button is called.
    pub title: Option<String>,
}

impl Kept {
    fn sealed_text(&self) -> String {
        let Self { provider, state, nonce, verifier, until, .. } = self;
        // No part holds this character: names have none, and the others are random letters.
        format!("link a login\n{provider}\n{state}\n{nonce}\n{verifier}\n{until}")
    }

    fn sealed_by(self, session: &Secret) -> Self {
        let key = hmac::Key::new(hmac::HMAC_SHA256, session.expose().as_bytes());
        let tag = hmac::sign(&key, self.sealed_text().as_bytes());
        Self { seal: Some(URL_SAFE_NO_PAD.encode(tag)), ..self }
    }

    fn is_sealed_by(&self, session: &Secret) -> bool {
        let key = hmac::Key::new(hmac::HMAC_SHA256, session.expose().as_bytes());
        let tag = self.seal.as_deref().and_then(|seal| URL_SAFE_NO_PAD.decode(seal).ok());
        tag.is_some_and(|tag| hmac::verify(&key, self.sealed_text().as_bytes(), &tag).is_ok())
    }
}

impl Accounts {
    /// Begins to link a login at a provider to the account of a person.
    ///
    /// # Errors
    ///
    /// `WrongPassword`, `SecondFactor`, `WrongCode`, `Wait` after too many tries, `Refused` when there is no such provider,
    /// `Away`, and store errors.
    pub async fn begin_link(&self, order: &Order, name: &str, proof: &LinkProof, now: i64) -> Result<BegunLogin> {
        let provider = self.provider(name)?;
        let LinkProof { proof, code, session } = proof;
        let (_, attempt) = self.prove(order, proof).await?;
        let second = self.second_of(proof.user, &attempt, code.as_ref()).await?;
        self.add(order, self.store().spend_second(proof.user, second)).await.map_err(spent)?;
        self.store().take_back_try(&attempt).await?;
        let kept = Kept::begun(name, "/account/logins", now)?.sealed_by(session);
        self.begin_at(provider, kept).await
    }

    /// Links the login with which a person comes back to their account. Returns whether it was not linked yet.
    ///
    /// # Errors
    ///
    /// `Refused` when what they come back with is not what this session began, or the provider does not vouch for it;
    /// `Denied` when it would not be let in; `Conflict` when it is another account's, or the account has another one of the
    /// issuer; `Away`, and other store errors.
    pub async fn finish_link(
        &self,
        order: &Order,
        name: &str,
        (user, session, answer): (UserId, &Secret, &LoginAnswer),
        now: i64,
    ) -> Result<bool> {
        let provider = self.provider(name)?;
        let kept = checked(name, &provider.settings.issuer, answer, now)?;
        if !kept.is_sealed_by(session) {
            return refused("your session has not begun to link it; begin anew on the page of your account");
        }
        let claims = self.claims(provider, &kept, answer, now).await?;
        // What would not be let in afterwards is not linked.
        admitted(&provider.settings, &claims)?;
        let login = NewLogin {
            state: sha256(&kept.state),
            state_lifetime: LOGIN_LIFETIME,
            issuer: provider.settings.issuer.clone(),
            subject: subject(&claims),
            user,
        };
        self.add(order, self.at(order, Action::LoginLink, user).link_login(&login)).await
    }

    /// The logins elsewhere by which a person is known.
    ///
    /// # Errors
    ///
    /// Store errors.
    pub async fn logins(&self, user: UserId) -> Result<Vec<KnownLogin>> {
        let found = self.store().logins_of(user).await?;
        Ok(found.into_iter().map(|login| self.known(login)).collect())
    }

    /// A login elsewhere with its provider, where the server has one of its issuer.
    pub fn known(&self, login: LoginView) -> KnownLogin {
        let named = self.providers.of_issuer(&login.issuer);
        let (provider, title) = named.map(|(name, title)| (name.to_owned(), title.to_owned())).unzip();
        KnownLogin { login, provider, title }
    }

    /// Unlinks the login of an issuer from a person's account. All their sessions end but the one that asks. Returns whether
    /// there was one.
    ///
    /// # Errors
    ///
    /// `Conflict` when it is the only way in, and other store errors.
    pub async fn unlink(&self, order: &Order, user: UserId, issuer: &str, keep: Option<SecretHash>) -> Result<bool> {
        self.change(order, self.at(order, Action::LoginUnlink, user).unlink_login(user, issuer, keep)).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_session_that_began_a_link_has_sealed_it_and_nothing_of_it_is_changed() {
        let (own, other) = (Secret::new("gms_own"), Secret::new("gms_other"));
        let begun = Kept::begun("work", "/account/logins", 0).expect("drawn");
        assert!(!begun.is_sealed_by(&own), "a login that opens a session links nothing");
        let sealed = begun.sealed_by(&own);
        assert!(sealed.is_sealed_by(&own) && !sealed.is_sealed_by(&other));
        let changed = |change: fn(&mut Kept)| {
            let mut kept = sealed.clone();
            change(&mut kept);
            kept.is_sealed_by(&own)
        };
        assert!(!changed(|kept| kept.provider.push('x')) && !changed(|kept| kept.state.push('x')));
        assert!(!changed(|kept| kept.nonce.push('x')) && !changed(|kept| kept.verifier.push('x')));
        assert!(!changed(|kept| kept.until += 1) && !changed(|kept| kept.seal = Some("x".to_owned())));
    }
}
