//! Tenants: create, suspend, resume, quotas and what is used of them.

use gristmill_core::audit::Action;
use gristmill_core::id::UserId;
use gristmill_store::accounts::{NewTenant, Quotas, TenantChange, TenantView};
use gristmill_store::{Result as StoreResult, StoreError};

use super::error::Result;
use super::verbs::Accounts;
use crate::documents::TenantInUseDocument;
use crate::order::Order;

impl Accounts {
    /// Creates a tenant, with its first owner where one is given.
    ///
    /// # Errors
    ///
    /// `Conflict` when there is one of that name, `Invalid` when that is no name, and other store errors.
    pub async fn create_tenant(
        &self,
        order: &Order,
        name: &str,
        quotas: Quotas,
        owner: Option<UserId>,
    ) -> Result<TenantView> {
        let tenant = NewTenant { name: name.to_owned(), quotas, owner };
        self.change(order, self.at(order, Action::TenantCreate, name).create_tenant(&tenant)).await
    }

    /// Suspends a tenant, with the order's reason: no member and no token of it is recognized any more. Its work goes on.
    ///
    /// # Errors
    ///
    /// `NotFound` when there is none, and other store errors.
    pub async fn suspend_tenant(&self, order: &Order, name: &str) -> Result<TenantView> {
        let change = TenantChange::Suspend { reason: order.reason.clone() };
        self.change(order, self.at(order, Action::TenantSuspend, name).change_tenant(name, &change)).await
    }

    /// Sets what a tenant may have at most, provided that its quotas are still the ones that were `seen`, where those are
    /// given. What it has already stays, even where that is more.
    ///
    /// # Errors
    ///
    /// `NotFound` when there is none, `Conflict` when the quotas were changed meanwhile, and other store errors.
    pub async fn set_quotas(
        &self,
        order: &Order,
        name: &str,
        quotas: Quotas,
        seen: Option<Quotas>,
    ) -> Result<TenantView> {
        let change = TenantChange::Quotas { quotas, seen };
        self.change(order, self.at(order, Action::TenantQuotas, name).change_tenant(name, &change)).await
    }

    /// A tenant, and what it uses of its quotas.
    ///
    /// # Errors
    ///
    /// `NotFound` when there is none, and other store errors.
    pub async fn tenant_in_use(&self, name: &str) -> StoreResult<TenantInUseDocument> {
        let missing = || StoreError::NotFound(format!("there is no tenant `{name}`"));
        let tenant = self.store().tenant(name).await?.ok_or_else(missing)?;
        Ok(TenantInUseDocument { tenant, usage: self.store().tenant_usage(name).await? })
    }

    /// Lets a tenant be used again.
    ///
    /// # Errors
    ///
    /// `NotFound` when there is none, and other store errors.
    pub async fn resume_tenant(&self, order: &Order, name: &str) -> Result<TenantView> {
        let store = self.at(order, Action::TenantResume, name);
        self.change(order, store.change_tenant(name, &TenantChange::Resume)).await
    }
}
