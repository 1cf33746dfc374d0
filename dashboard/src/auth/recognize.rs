//! From a credential to the caller that it stands for.

use std::fmt;

use async_trait::async_trait;
use gristmill_core::access::Principal;
use gristmill_service::accounts::Secret;
use gristmill_store::StoreError;

/// What a request carries to say who sends it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Credential {
    /// `Authorization: Bearer …`: an API token or an access token.
    Bearer(Secret),
    /// The cookie of a session.
    Session(Secret),
}

/// A caller that has been recognized.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KnownCaller {
    /// Who it is, and what it may do.
    pub principal: Principal,
    /// How many requests in a minute its tenant may send, where that is limited.
    pub requests_per_minute: Option<u32>,
}

/// Why a caller is not recognized.
#[derive(Debug, thiserror::Error)]
pub enum Unrecognized {
    /// The credential is unknown, forged, expired or revoked: which of them, the caller does not learn.
    #[error("the credential is not valid")]
    Invalid,
    /// It is valid, and its owner is no member of the tenant that is asked for.
    #[error("the caller is no member of this tenant")]
    NotMember,
    /// The user or the tenant is suspended.
    #[error("the user or the tenant is suspended")]
    Suspended,
    /// The store cannot say.
    #[error(transparent)]
    Away(#[from] StoreError),
}

/// Recognizes callers.
#[async_trait]
pub trait Recognize: fmt::Debug + Send + Sync {
    /// Returns the caller that a credential stands for, in the tenant that it asks for, or in its own.
    ///
    /// # Errors
    ///
    /// [`Unrecognized`].
    async fn recognize(&self, credential: &Credential, tenant: Option<&str>) -> Result<KnownCaller, Unrecognized>;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_never_shown() {
        let shown = format!("{:?}", Credential::Bearer(Secret::new("hunter2")));
        assert!(!shown.contains("hunter2"), "{shown}");
    }
}
