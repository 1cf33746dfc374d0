//! Logins elsewhere: OpenID Connect by authorization codes, each with PKCE, a state and a nonce of its own.
//!
//! * [`settings`]: a provider in the configuration. [`provider`]: what is asked of it. [`jose`]: its ID tokens, verified.
//! * [`linking`]: a login that a person links to their own account.
//!
//! What a login began with is kept by the browser alone, in a cookie that no script reads and no other site's forms send;
//! and a state comes back once, which the store sees to. Accounts are known by issuer and subject. An address of mail counts
//! only where the issuer says that it has verified it.

mod jose;
mod linking;
mod provider;
pub(super) mod providers;
mod settings;

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use gristmill_core::access::Role;
use gristmill_core::audit::Action;
use gristmill_core::email_address::EmailAddress;
use gristmill_core::id::{SessionId, UserId};
use gristmill_store::accounts::{FederatedAnswer, FederatedLogin, FederatedSession};
use ring::digest::{SHA256, digest};
use ring::rand::{SecureRandom, SystemRandom};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use url::Url;
use uuid::Uuid;

pub use self::linking::{KnownLogin, LinkProof};
use self::provider::Provider;
pub use self::providers::Providers;
pub use self::settings::OidcSettings;
use super::error::{AccountError, Result};
use super::secret::{Purpose, Secret};
use super::sessions::LoggedIn;
use super::verbs::Accounts;
use crate::order::Order;

/// How long a login elsewhere may take.
pub const LOGIN_LIFETIME: Duration = Duration::from_secs(600);

/// How many bytes a state, a nonce and a verifier have, before they are written as text.
const RANDOM_BYTES: usize = 32;

/// The most bytes of what a browser keeps of a login.
const KEPT_BYTES_MAX: usize = 8 * 1024;

/// What a browser keeps of a login until it comes back.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Kept {
    provider: String,
    state: String,
    nonce: String,
    verifier: String,
    next: String,
    /// Until when, in seconds since 1970.
    until: i64,
    /// Of a login that is to be linked to an account: the seal of the session that has asked for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    seal: Option<String>,
}

impl Kept {
    fn begun(provider: &str, next: &str, now: i64) -> Result<Self> {
        let lifetime = i64::try_from(LOGIN_LIFETIME.as_secs()).unwrap_or_default();
        let (provider, next) = (provider.to_owned(), next.to_owned());
        let until = now.saturating_add(lifetime);
        Ok(Self { provider, state: random()?, nonce: random()?, verifier: random()?, next, until, seal: None })
    }

    fn written(&self) -> Result<String> {
        let text = serde_json::to_vec(self).map_err(|error| AccountError::Internal(error.to_string().into()))?;
        Ok(URL_SAFE_NO_PAD.encode(text))
    }

    fn read(text: &str) -> Option<Self> {
        let bytes = Some(text).filter(|text| text.len() <= KEPT_BYTES_MAX).map(|text| URL_SAFE_NO_PAD.decode(text))?;
        serde_json::from_slice(&bytes.ok()?).ok()
    }
}

/// A login elsewhere that begins.
#[derive(Debug, Clone, PartialEq)]
pub struct BegunLogin {
    /// Where the browser goes.
    pub location: String,
    /// What it keeps until it comes back, for no script to read.
    pub kept: Secret,
}

/// What a browser comes back with.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct LoginAnswer {
    /// What it has kept.
    pub kept: Option<Secret>,
    /// The state, as the provider gives it back.
    pub state: Option<String>,
    /// The code.
    pub code: Option<Secret>,
    /// The issuer, where the provider says it (RFC 9207).
    pub issuer: Option<String>,
    /// Why there is no code, in the provider's word.
    pub error: Option<String>,
}

/// Who comes back.
#[derive(Debug, Clone, PartialEq)]
pub struct Visitor {
    /// From where: an address, or the network that is one caller's.
    pub address: String,
    /// With which program, as it says.
    pub agent: Option<String>,
    /// The session that the program had before.
    pub replaces: Option<Secret>,
}

impl LoginAnswer {
    /// Whether it began as one that is to be linked to an account: it is taken where the session is known that has asked for it.
    pub fn is_link(&self) -> bool {
        self.kept.as_ref().and_then(|kept| Kept::read(kept.expose())).is_some_and(|kept| kept.seal.is_some())
    }
}

fn refused<T>(why: &str) -> Result<T> {
    Err(AccountError::Refused(why.to_owned()))
}

fn denied(why: &str) -> AccountError {
    AccountError::Store(gristmill_store::StoreError::Denied(why.to_owned()))
}

fn random() -> Result<String> {
    let mut bytes = [0; RANDOM_BYTES];
    let failed = |_| AccountError::Internal("the system gives no random numbers".into());
    SystemRandom::new().fill(&mut bytes).map_err(failed)?;
    Ok(URL_SAFE_NO_PAD.encode(bytes))
}

fn sha256(text: &str) -> [u8; 32] {
    let mut hash = [0; 32];
    hash.copy_from_slice(digest(&SHA256, text.as_bytes()).as_ref());
    hash
}

impl Accounts {
    /// The providers by which people log in.
    pub fn providers(&self) -> &Providers {
        &self.providers
    }

    fn provider(&self, name: &str) -> Result<&Provider> {
        match self.providers.get(name) {
            Some(provider) => Ok(provider),
            None => refused("there is no login of this name"),
        }
    }

    /// Where a provider sends a browser back to.
    fn back(&self, name: &str) -> String {
        format!("{}/login/back/{name}", self.settings.url.trim_end_matches('/'))
    }

    /// Begins a login at a provider. `next` is where the person goes after it.
    ///
    /// # Errors
    ///
    /// `Refused` when there is no such provider, `Away` when it does not say where logins are.
    pub async fn begin_elsewhere(&self, name: &str, next: &str, now: i64) -> Result<BegunLogin> {
        self.begin_at(self.provider(name)?, Kept::begun(name, next, now)?).await
    }

    async fn begin_at(&self, provider: &Provider, kept: Kept) -> Result<BegunLogin> {
        let mut location = provider.description().await?.authorization_endpoint;
        let scopes: Vec<&str> =
            ["openid"].into_iter().chain(provider.settings.scopes.iter().map(String::as_str)).collect();
        location
            .query_pairs_mut()
            .append_pair("response_type", "code")
            .append_pair("client_id", &provider.settings.client_id)
            .append_pair("redirect_uri", &self.back(&kept.provider))
            .append_pair("scope", &scopes.join(" "))
            .append_pair("state", &kept.state)
            .append_pair("nonce", &kept.nonce)
            .append_pair("code_challenge", &URL_SAFE_NO_PAD.encode(sha256(&kept.verifier)))
            .append_pair("code_challenge_method", "S256");
        Ok(BegunLogin { location: Url::into(location), kept: Secret::new(kept.written()?) })
    }

    /// Opens a session for a person who comes back from a provider. Returns it, and where they wanted to go.
    ///
    /// # Errors
    ///
    /// `Refused` when what they come back with is not what this login began with, or the provider does not vouch for them;
    /// `Denied` when they have no account here, or one that this login may not take; `Away`, and other store errors.
    pub async fn finish_elsewhere(
        &self,
        order: &Order,
        name: &str,
        (answer, visitor): (&LoginAnswer, &Visitor),
        now: i64,
    ) -> Result<(LoggedIn, String)> {
        let provider = self.provider(name)?;
        let kept = checked(name, &provider.settings.issuer, answer, now)?;
        if kept.seal.is_some() {
            return refused("it began to be linked to an account, and opens none");
        }
        let claims = self.claims(provider, &kept, answer, now).await?;
        let secret = Secret::draw(Purpose::Session)?;
        let login = self.login(provider, &claims, (&kept.state, &secret), visitor)?;
        let store = self.at(order, Action::SessionOpen, name);
        let session = match self.change(order, store.federated_login(&login)).await? {
            FederatedAnswer::Opened(opened) => opened.session,
            FederatedAnswer::Refused(why) => return Err(denied(why.advice())),
        };
        if let Some(old) = &visitor.replaces {
            let which = gristmill_store::accounts::WhichSessions::WithSecret(old.hash());
            self.end_sessions(order, session.user, which).await?;
        }
        Ok((LoggedIn { session, secret, lifetime: self.settings.session.0 }, kept.next))
    }

    /// What the provider says of the person who comes back.
    async fn claims(&self, provider: &Provider, kept: &Kept, answer: &LoginAnswer, now: i64) -> Result<Value> {
        let Some(code) = &answer.code else { return refused("it came back without a code") };
        let token = provider.redeem(code.expose(), &kept.verifier, &self.back(&kept.provider)).await?;
        provider.verify(&token, &kept.nonce, now).await
    }

    /// What the store is asked for.
    fn login(
        &self,
        provider: &Provider,
        claims: &Value,
        (state, secret): (&str, &Secret),
        visitor: &Visitor,
    ) -> Result<FederatedLogin> {
        let settings = &provider.settings;
        let (role, email) = admitted(settings, claims)?;
        let text = |name: &str| claims.get(name).and_then(Value::as_str).map(str::trim).filter(|text| !text.is_empty());
        let named = text("name").or(email.as_ref().map(EmailAddress::as_str)).unwrap_or("unnamed");
        let name: String = named.chars().filter(|c| !c.is_control()).take(200).collect();
        Ok(FederatedLogin {
            state: sha256(state),
            state_lifetime: LOGIN_LIFETIME,
            issuer: settings.issuer.clone(),
            subject: subject(claims),
            email,
            tenant: settings.tenant.clone(),
            links: settings.link,
            makes: settings.create.then(|| (UserId(Uuid::now_v7()), name)),
            role,
            session: FederatedSession {
                id: SessionId(Uuid::now_v7()),
                hash: secret.hash(),
                address: visitor.address.clone(),
                agent: visitor.agent.clone(),
                lifetime: self.settings.session.0,
                idle: self.settings.session_idle.0,
            },
        })
    }
}

/// Their role, and their address where it is verified, of people whom the provider lets in here.
fn admitted(settings: &OidcSettings, claims: &Value) -> Result<(Option<Role>, Option<EmailAddress>)> {
    let (role, email) = (settings.role_of(claims).map_err(denied)?, verified_email(claims));
    if !settings.domains.is_empty() {
        let domain = email.as_ref().and_then(|email| email.as_str().rsplit('@').next());
        let ours = |domain: &str| settings.domains.iter().any(|known| known.eq_ignore_ascii_case(domain));
        if !domain.is_some_and(ours) {
            return Err(denied("no verified address of your account elsewhere is of a domain that logs in here"));
        }
    }
    Ok((role, email))
}

/// Who it is, to the letter: one with a blank at its end is another person.
fn subject(claims: &Value) -> String {
    claims.get("sub").and_then(Value::as_str).unwrap_or_default().to_owned()
}

/// What a login began with, if what comes back belongs to it.
fn checked(name: &str, issuer: &str, answer: &LoginAnswer, now: i64) -> Result<Kept> {
    let kept = answer.kept.as_ref().and_then(|kept| Kept::read(kept.expose()));
    let Some(kept) = kept.filter(|kept| kept.provider == name) else {
        return refused("this browser has begun no such login, or long ago; begin anew");
    };
    // By their hashes: how long it takes says nothing of how alike they are.
    let same = answer.state.as_deref().is_some_and(|state| sha256(state) == sha256(&kept.state));
    if !same || kept.state.is_empty() {
        return refused("it is not the login that this browser has begun; begin anew");
    }
    if kept.until <= now {
        return refused("it took too long; begin anew");
    }
    if answer.issuer.as_deref().is_some_and(|said| said != issuer) {
        return refused("it comes from another provider than it began with");
    }
    match answer.error.as_deref() {
        None => Ok(kept),
        Some("access_denied") => refused("it was called off there"),
        Some(_) => refused("the provider has refused it"),
    }
}

/// The address that the provider says it has verified. Some write the word for the truth.
fn verified_email(claims: &Value) -> Option<EmailAddress> {
    let verified = match claims.get("email_verified") {
        Some(Value::Bool(verified)) => *verified,
        Some(Value::String(word)) => word == "true",
        _ => false,
    };
    claims.get("email").and_then(Value::as_str).filter(|_| verified)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn kept() -> Kept {
        let text = |text: &str| text.to_owned();
        Kept {
            provider: text("work"),
            state: text("s-1"),
            nonce: text("n-1"),
            verifier: text("v-1"),
            next: text("/jobs"),
            until: 1_000,
            seal: None,
        }
    }

    fn answer() -> LoginAnswer {
        LoginAnswer {
            kept: Some(Secret::new(kept().written().expect("written"))),
            state: Some("s-1".to_owned()),
            code: Some(Secret::new("c-1")),
            ..LoginAnswer::default()
        }
    }

    #[test]
    fn only_the_browser_that_began_a_login_ends_it_in_time() {
        let check =
            |answer: &LoginAnswer, now| checked("work", "https://idp", answer, now).map_err(|error| error.to_string());
        assert_eq!(check(&answer(), 999), Ok(kept()));
        assert!(check(&answer(), 1_000).expect_err("late").contains("too long"));
        for (wrong, said) in [
            (LoginAnswer { kept: None, ..answer() }, "begun no such login"),
            (LoginAnswer { kept: Some(Secret::new("e30")), ..answer() }, "begun no such login"),
            (LoginAnswer { state: None, ..answer() }, "not the login"),
            (LoginAnswer { state: Some("s-2".to_owned()), ..answer() }, "not the login"),
            (LoginAnswer { issuer: Some("https://other".to_owned()), ..answer() }, "another provider"),
            (LoginAnswer { error: Some("access_denied".to_owned()), ..answer() }, "called off"),
            (LoginAnswer { error: Some("<script>".to_owned()), ..answer() }, "has refused it"),
        ] {
            assert!(check(&wrong, 0).expect_err(said).contains(said), "{said}");
        }
        let other = checked("other", "https://idp", &answer(), 0).expect_err("begun at another provider");
        assert!(other.to_string().contains("begun no such login"));
        let same = LoginAnswer { issuer: Some("https://idp".to_owned()), ..answer() };
        assert_eq!(check(&same, 0), Ok(kept()));
    }

    #[test]
    fn an_address_counts_only_where_it_is_verified() {
        let email =
            |verified: Value| verified_email(&json!({ "email": "Ada@Example.com", "email_verified": verified }));
        assert_eq!(email(json!(true)).map(|email| email.to_string()).as_deref(), Some("ada@example.com"));
        assert!(email(json!("true")).is_some());
        for odd in [json!(false), json!("false"), json!(1), json!(null), json!("yes")] {
            assert!(email(odd.clone()).is_none(), "{odd}");
        }
        assert!(verified_email(&json!({ "email": "ada@example.com" })).is_none());
        assert!(verified_email(&json!({ "email": "no address", "email_verified": true })).is_none());
    }
}
