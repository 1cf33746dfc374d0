//! Users, tenants, tokens, sessions and links.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use gristmill_core::Instant;
use gristmill_core::access::{Permission, Principal, Role, Subject};
use gristmill_core::id::{TokenId, UserId};
use gristmill_store::TenantUsage;
use gristmill_store::accounts::{KeyView, LoginView, SessionView, TenantView, TokenView};
use serde::{Deserialize, Serialize};

use crate::accounts::{ACCESS_LIFETIME, CreatedToken, IssuedTokens, KnownLogin};

/// A token that was just created, with its secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct CreatedTokenDocument {
    /// The token.
    pub token: TokenView,
    /// Its secret, which is shown this once.
    pub secret: String,
}

impl From<CreatedToken> for CreatedTokenDocument {
    fn from(created: CreatedToken) -> Self {
        Self { token: created.token, secret: created.secret.expose().to_owned() }
    }
}

/// A link that may be used once, to be handed over.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct LinkDocument {
    /// For whom; `null` for the first owner.
    pub email: Option<String>,
    /// Where it leads, its secret included.
    pub url: String,
    /// The secret by itself, for the API.
    pub secret: String,
}

/// A tenant, and what it uses of its quotas.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct TenantInUseDocument {
    /// What lists show of it; its fields are those of the document.
    #[serde(flatten)]
    pub tenant: TenantView,
    /// What it uses.
    pub usage: TenantUsage,
}

/// Whether logins ask for a second factor.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct SecondFactorDocument {
    /// Whether they do.
    pub enrolled: bool,
    /// How many recovery codes are left.
    pub recovery_left: u64,
}

/// A login elsewhere by which an account is known.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct LoginLinkDocument {
    /// The name of its provider; `null` where the server has none of this issuer any more.
    pub provider: Option<String>,
    /// What its button is called.
    pub title: Option<String>,
    /// The issuer, by which it is unlinked; also its key in lists.
    pub issuer: String,
    /// Who the person is there.
    pub subject: String,
    /// Since when it is linked.
    #[schema(value_type = chrono::DateTime<chrono::Utc>)]
    pub linked_at: Instant,
    /// When it was used last; when it was linked, where it never was.
    #[schema(value_type = chrono::DateTime<chrono::Utc>)]
    pub last_login_at: Instant,
}

impl From<KnownLogin> for LoginLinkDocument {
    fn from(known: KnownLogin) -> Self {
        let KnownLogin { login, provider, title } = known;
        let LoginView { issuer, subject, created_at, last_login_at } = login;
        Self { provider, title, issuer, subject, linked_at: created_at, last_login_at }
    }
}

/// The way to a provider, where a login is linked to an account: a browser goes there, with the cookie that the answer sets.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct BegunLinkDocument {
    /// The address to go to.
    pub location: String,
}

/// A second factor that is offered: it does nothing until it is confirmed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct OfferedFactorDocument {
    /// Its secret in base 32, for those who type it.
    pub secret: String,
    /// The same as an `otpauth://` address, for those who show it as a square of dots.
    pub uri: String,
}

/// The recovery codes of a second factor, which are shown this once.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct RecoveryCodesDocument {
    /// Each of them stands for a code, once.
    pub codes: Vec<String>,
}

/// An access token and a refresh token, which are shown this once.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct IssuedTokensDocument {
    /// What requests carry: `Authorization: Bearer …`.
    pub access_token: String,
    /// `Bearer`.
    pub token_type: String,
    /// How many seconds the access token is valid.
    pub expires_in: u64,
    /// What the next pair is asked for with, once.
    pub refresh_token: String,
    /// The session that they belong to.
    pub session: SessionView,
}

impl From<IssuedTokens> for IssuedTokensDocument {
    fn from(issued: IssuedTokens) -> Self {
        Self {
            access_token: issued.access.expose().to_owned(),
            token_type: "Bearer".to_owned(),
            expires_in: ACCESS_LIFETIME.as_secs(),
            refresh_token: issued.refresh.expose().to_owned(),
            session: issued.session,
        }
    }
}

/// The keys that verify access tokens, as RFC 7517 and RFC 8037 have them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct JsonWebKeysDocument {
    /// The keys, newest first.
    pub keys: Vec<JsonWebKeyDocument>,
}

/// One of them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct JsonWebKeyDocument {
    /// `OKP`.
    pub kty: String,
    /// `Ed25519`.
    pub crv: String,
    /// `EdDSA`.
    pub alg: String,
    /// `sig`.
    #[serde(rename = "use")]
    pub usage: String,
    /// Its id, which tokens name.
    pub kid: String,
    /// Its public half, in base 64 for addresses.
    pub x: String,
}

impl From<Vec<KeyView>> for JsonWebKeysDocument {
    fn from(keys: Vec<KeyView>) -> Self {
        let key = |key: KeyView| {
            let public = hex::decode(&key.public).unwrap_or_default();
            JsonWebKeyDocument {
                kty: "OKP".to_owned(),
                crv: "Ed25519".to_owned(),
                alg: "EdDSA".to_owned(),
                usage: "sig".to_owned(),
                kid: key.id.to_string(),
                x: URL_SAFE_NO_PAD.encode(public),
            }
        };
        Self { keys: keys.into_iter().map(key).collect() }
    }
}

/// The caller, as it was recognized.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct MeDocument {
    /// The user; `null` where no caller has to log in.
    pub user: Option<UserId>,
    /// The token, where the caller is a program.
    pub token: Option<TokenId>,
    /// The caller's name for people.
    pub name: String,
    /// The tenant that it asks for.
    pub tenant: String,
    /// Its role there.
    pub role: Role,
    /// Everything that it may ask for.
    pub permissions: Vec<Permission>,
    /// Whether it may also create, suspend and resume tenants.
    pub installation: bool,
}

impl From<&Principal> for MeDocument {
    fn from(principal: &Principal) -> Self {
        let (user, token) = match principal.subject {
            Subject::User(user) => (Some(user), None),
            Subject::Token { token, user } => (Some(user), Some(token)),
            Subject::Anyone => (None, None),
        };
        Self {
            user,
            token,
            name: principal.name.clone(),
            tenant: principal.tenant.clone(),
            role: principal.role,
            permissions: Permission::ALL.into_iter().filter(|permission| principal.may(*permission)).collect(),
            installation: principal.installation,
        }
    }
}
