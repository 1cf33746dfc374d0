//! One provider: its own description, its keys, and what is asked of it.

use std::time::Duration;

use reqwest::redirect::Policy;
use reqwest::{Client, RequestBuilder};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio::sync::Mutex;
use tokio::time::Instant;
use url::Url;
use url::form_urlencoded::{Serializer, byte_serialize};

use super::jose::{self, Expected, Jwks, Refusal};
use super::settings::{OidcSettings, is_safe};
use crate::accounts::error::{AccountError, Result};
use crate::accounts::secret::Secret;

/// How long a request to a provider may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// The most bytes of an answer.
const BYTES_MAX: usize = 1024 * 1024;

/// How long a description and keys are kept.
const KEPT: Duration = Duration::from_secs(3_600);

/// How often at most keys are read because a token names one that is unknown.
const AGAIN: Duration = Duration::from_secs(10);

/// A provider.
#[derive(Debug)]
pub(super) struct Provider {
    pub(super) settings: OidcSettings,
    secret: Option<Secret>,
    client: Client,
    read: Mutex<Option<Read>>,
}

/// What was read of a provider.
#[derive(Debug, Clone)]
struct Read {
    at: Instant,
    description: Description,
    keys: Jwks,
    keys_at: Instant,
}

/// What a provider says of itself (OpenID Connect Discovery).
#[derive(Debug, Clone, Deserialize)]
pub(super) struct Description {
    issuer: String,
    pub(super) authorization_endpoint: Url,
    token_endpoint: Url,
    jwks_uri: Url,
    #[serde(default)]
    token_endpoint_auth_methods_supported: Vec<String>,
}

/// What it answers for a code.
#[derive(Deserialize)]
struct Tokens {
    id_token: String,
}

impl Provider {
    /// A provider, of which nothing is asked yet.
    pub(super) fn new(settings: OidcSettings) -> std::result::Result<Self, String> {
        let (env, file) = (settings.client_secret_env.as_deref(), settings.client_secret_file.as_deref());
        let secret = gristmill_jobs::secret::read("client_secret", env, file)?.map(Secret::new);
        gristmill_jobs::one_tls_provider();
        let client = Client::builder()
            .redirect(Policy::none())
            .timeout(PATIENCE)
            .user_agent(concat!("gristmill/", env!("CARGO_PKG_VERSION")))
            .build()
            .map_err(|error| error.to_string())?;
        Ok(Self { settings, secret, client, read: Mutex::default() })
    }

    /// What the provider says of itself.
    pub(super) async fn description(&self) -> Result<Description> {
        Ok(self.read(None).await?.description)
    }

    /// The ID token for a code.
    pub(super) async fn redeem(&self, code: &str, verifier: &str, redirect: &str) -> Result<String> {
        let description = self.description().await?;
        let tokens: Tokens = answer(self.redemption(&description, code, verifier, redirect)).await?;
        Ok(tokens.id_token)
    }

    /// The request that asks for it.
    fn redemption(&self, description: &Description, code: &str, verifier: &str, redirect: &str) -> RequestBuilder {
        let mut form = Serializer::new(String::new());
        form.append_pair("grant_type", "authorization_code").append_pair("code", code);
        form.append_pair("redirect_uri", redirect).append_pair("code_verifier", verifier);
        let mut request = self.client.post(description.token_endpoint.clone());
        match &self.secret {
            Some(secret) if description.takes("client_secret_basic") => {
                // RFC 6749: both are encoded as in a form before they are a name and a password.
                let encoded = |text: &str| byte_serialize(text.as_bytes()).collect::<String>();
                request = request.basic_auth(encoded(&self.settings.client_id), Some(encoded(secret.expose())));
            }
            secret => {
                form.append_pair("client_id", &self.settings.client_id);
                if let Some(secret) = secret {
                    form.append_pair("client_secret", secret.expose());
                }
            }
        }
        request.header("content-type", "application/x-www-form-urlencoded").body(form.finish())
    }

    /// What an ID token says, verified with the keys of the provider. Keys are read again for a key that is not known.
    pub(super) async fn verify(&self, token: &str, nonce: &str, now: i64) -> Result<Value> {
        let expected = |issuer| Expected { issuer, client_id: &self.settings.client_id, nonce, now };
        let read = self.read(None).await?;
        let issuer = read.description.issuer.as_str();
        let found = match jose::verify(token, &read.keys, expected(issuer)) {
            Err(Refusal::Key) => jose::verify(token, &self.read(Some(read.keys_at)).await?.keys, expected(issuer)),
            found => found,
        };
        found.map_err(|refusal| {
            tracing::info!(issuer, %refusal, "an ID token is refused");
            AccountError::Refused(format!("its ID token is refused: {refusal}"))
        })
    }

    /// What is known of the provider. With the keys of an instant that lacked one, they are read again.
    async fn read(&self, lacking: Option<Instant>) -> Result<Read> {
        let mut known = self.read.lock().await;
        if let Some(read) = known.as_mut().filter(|read| read.at.elapsed() < KEPT) {
            let again = lacking.is_some_and(|at| at == read.keys_at && at.elapsed() >= AGAIN);
            if again || read.keys_at.elapsed() >= KEPT {
                read.keys = self.keys(&read.description).await?;
                read.keys_at = Instant::now();
            }
            return Ok(read.clone());
        }
        let description = self.discover().await?;
        let keys = self.keys(&description).await?;
        let read = Read { at: Instant::now(), description, keys, keys_at: Instant::now() };
        *known = Some(read.clone());
        Ok(read)
    }

    async fn discover(&self) -> Result<Description> {
        let issuer = &self.settings.issuer;
        let place = format!("{}/.well-known/openid-configuration", issuer.trim_end_matches('/'));
        let description: Description = answer(self.client.get(place)).await?;
        if description.issuer != *issuer {
            return Err(AccountError::Away("it calls itself by another name than the configuration does".to_owned()));
        }
        let Description { authorization_endpoint, token_endpoint, jwks_uri, .. } = &description;
        if ![authorization_endpoint, token_endpoint, jwks_uri].into_iter().all(is_safe) {
            return Err(AccountError::Away("it names an address without TLS".to_owned()));
        }
        Ok(description)
    }

    async fn keys(&self, description: &Description) -> Result<Jwks> {
        answer(self.client.get(description.jwks_uri.clone())).await
    }
}

impl Description {
    /// Whether a client may show its secret in this way. Where nothing is said, this one is meant.
    fn takes(&self, method: &str) -> bool {
        let supported = &self.token_endpoint_auth_methods_supported;
        supported.is_empty() || supported.iter().any(|known| known == method)
    }
}

/// The JSON that a request is answered with.
async fn answer<T: DeserializeOwned>(request: RequestBuilder) -> Result<T> {
    let away = |error: reqwest::Error| AccountError::Away(error.without_url().to_string());
    let mut response = request.header("accept", "application/json").send().await.map_err(away)?;
    let (status, mut body) = (response.status(), Vec::new());
    while let Some(piece) = response.chunk().await.map_err(away)? {
        if body.len() + piece.len() > BYTES_MAX {
            return Err(AccountError::Away("its answer is too long".to_owned()));
        }
        body.extend_from_slice(&piece);
    }
    if status.is_client_error() {
        return Err(AccountError::Refused(format!("it answers {}", status.as_u16())));
    }
    if !status.is_success() {
        return Err(AccountError::Away(format!("it answers {}", status.as_u16())));
    }
    serde_json::from_slice(&body).map_err(|_| AccountError::Away("its answer cannot be read".to_owned()))
}
