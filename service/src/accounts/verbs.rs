//! What the verbs over accounts are built on.

use std::fmt::Display;

use gristmill_core::audit::Action;
use gristmill_core::email_address::EmailAddress;
use gristmill_store::accounts::{Letter, LinkPurpose};
use gristmill_store::{Result as StoreResult, StoreError, StoreHandle};
use serde_json::Value;

use super::error::Result;
use super::letters::{address, letter};
use super::oidc::providers::Providers;
use super::password::Passwords;
use super::recognize::Recognizer;
use super::secret::Secret;
use super::settings::AccountSettings;
use crate::Service;
use crate::order::Order;
use crate::shared::Shared;

/// The verbs over accounts. Clones share turns for passwords and what is kept of callers.
#[derive(Debug, Clone)]
pub struct Accounts {
    pub(super) service: Service,
    pub(super) passwords: Passwords,
    pub(super) settings: AccountSettings,
    recognizer: Recognizer,
    shared: Shared,
    pub(super) providers: Providers,
}

impl Accounts {
    /// Creates the verbs.
    pub fn new(service: Service, passwords: Passwords, settings: AccountSettings) -> Self {
        let recognizer = Recognizer::new(service.store().clone(), settings.session_idle.0, &settings.url);
        Self { service, passwords, settings, recognizer, shared: Shared::default(), providers: Providers::default() }
    }

    /// The same beside other servers: what one revokes is so at once at all of them.
    #[must_use]
    pub fn sharing(self, shared: Shared) -> Self {
        Self { recognizer: self.recognizer.sharing(shared.clone()), shared, ..self }
    }

    /// The same with logins elsewhere.
    #[must_use]
    pub fn with_providers(self, providers: Providers) -> Self {
        Self { providers, ..self }
    }

    /// What is shared with other servers.
    pub fn shared(&self) -> &Shared {
        &self.shared
    }

    /// Who recognizes callers: whatever these verbs revoke is so at once there.
    pub fn recognizer(&self) -> &Recognizer {
        &self.recognizer
    }

    /// The settings.
    pub fn settings(&self) -> &AccountSettings {
        &self.settings
    }

    /// The store, for views.
    pub fn store(&self) -> &StoreHandle {
        self.service.store()
    }

    /// Where a link leads.
    pub fn address_of(&self, secret: &Secret) -> String {
        address(&self.settings.url, secret)
    }

    /// The mail with a link.
    pub(super) fn letter(&self, purpose: LinkPurpose, to: &EmailAddress, secret: &Secret, about: Value) -> Letter {
        letter(&self.settings, purpose, to, &self.address_of(secret), about)
    }

    /// The store for one transition of an order, which leaves an entry in the audit. Where the chain and the target are
    /// only known in the transaction, the store puts them in.
    pub(super) fn at(&self, order: &Order, action: Action, target: impl Display) -> StoreHandle {
        order.at(self.store(), action, target)
    }

    /// Every change of accounts: one transition of the store. Afterwards no caller is recognized by what was known
    /// before, also where the result of the commit is unknown.
    pub(super) async fn change<T>(&self, order: &Order, transition: impl Future<Output = StoreResult<T>>) -> Result<T> {
        let done = self.add(order, transition).await;
        self.recognizer.forget().await;
        done
    }

    /// A change that only adds something: what is known of callers stays true.
    pub(super) async fn add<T>(&self, order: &Order, transition: impl Future<Output = StoreResult<T>>) -> Result<T> {
        if order.dry_run {
            let what = "accounts have no rehearsal; ask without a dry run";
            return Err(StoreError::Invalid(what.to_owned()).into());
        }
        Ok(transition.await?)
    }
}
