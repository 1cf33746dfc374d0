//! API tokens: create, revoke.

use std::time::Duration;

use gristmill_core::access::Permission;
use gristmill_core::audit::Action;
use gristmill_core::id::{TokenId, UserId};
use gristmill_store::accounts::{NewToken, TokenView};
use uuid::Uuid;

use super::error::Result;
use super::secret::{Purpose, Secret};
use super::verbs::Accounts;
use crate::order::Order;

/// A token that is asked for.
#[derive(Debug, Clone, PartialEq)]
pub struct TokenRequest {
    /// What it is called.
    pub name: String,
    /// What it is limited to; `None` for all that its user may do.
    pub scopes: Option<Vec<Permission>>,
    /// For how long it lasts; `None` until it is revoked.
    pub lifetime: Option<Duration>,
}

/// A token, and its secret, which is shown this once.
#[derive(Debug, Clone, PartialEq)]
pub struct CreatedToken {
    /// The token.
    pub token: TokenView,
    /// Its secret.
    pub secret: Secret,
}

impl Accounts {
    /// Creates a token of a member of the order's tenant.
    ///
    /// # Errors
    ///
    /// `NotFound` when the user is no member, `Invalid` when their role does not allow a scope, and other store errors.
    pub async fn create_token(&self, order: &Order, user: UserId, request: &TokenRequest) -> Result<CreatedToken> {
        let secret = Secret::draw(Purpose::Token)?;
        let new = NewToken {
            id: TokenId(Uuid::now_v7()),
            hash: secret.hash(),
            prefix: secret.shown(),
            user,
            tenant: order.tenant.clone(),
            name: request.name.clone(),
            scopes: request.scopes.clone(),
            lifetime: request.lifetime,
        };
        let token = self.add(order, self.at(order, Action::TokenCreate, &new.name).create_token(&new)).await?;
        Ok(CreatedToken { token, secret })
    }

    /// Revokes a token of the order's tenant: of anybody, or of one user. It is not recognized any more at once in this
    /// process, and within [`KEPT`](super::recognize::KEPT) in others. Returns whether there was one.
    ///
    /// # Errors
    ///
    /// Store errors.
    pub async fn revoke_token(&self, order: &Order, token: TokenId, of: Option<UserId>) -> Result<bool> {
        let store = self.at(order, Action::TokenRevoke, token);
        self.change(order, store.revoke_token(&order.tenant, token, of)).await
    }
}
