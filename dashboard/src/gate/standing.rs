//! Whether a caller who stays for long is still who it was.

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::http::{HeaderMap, Method};
use gristmill_core::access::Principal;

use super::authenticate::{caller, credential};
use super::csrf;
use super::describe::{Argument, Endpoint};
use super::error::{ApiError, Result};
use super::info::encrypted;
use super::state::Api;
use crate::auth::Credential;

/// The headers with which a caller came, and what it takes to recognize it again.
#[derive(Debug, Clone)]
pub struct Standing {
    headers: HeaderMap,
    encrypted: bool,
    api: Api,
}

impl Standing {
    /// The headers.
    pub fn headers(&self) -> &HeaderMap {
        &self.headers
    }

    /// The caller as it is now.
    ///
    /// # Errors
    ///
    /// As for a new request: 401 for a session or a token that was revoked or has expired, 403 for a member who is one
    /// no longer, 503 when the store cannot say.
    pub async fn principal(&self) -> Result<Principal> {
        let credential = credential(&self.headers, self.encrypted)?;
        caller(&self.api, &self.headers, credential.as_ref()).await.map(|known| known.principal)
    }

    /// Checks that no other site has opened a connection over which changes can be asked for. A browser opens one for any
    /// page, with the cookies, and lets the page read what comes.
    ///
    /// # Errors
    ///
    /// 403.
    pub fn check_site(&self) -> Result<()> {
        match credential(&self.headers, self.encrypted)? {
            Some(Credential::Bearer(_)) => Ok(()),
            other => csrf::check(&Method::POST, &self.headers, other.is_some()),
        }
    }
}

impl FromRequestParts<Api> for Standing {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, api: &Api) -> Result<Self> {
        Ok(Self { headers: parts.headers.clone(), encrypted: encrypted(parts), api: api.clone() })
    }
}

impl Argument for Standing {
    fn describe(_: &mut Endpoint) {}
}
