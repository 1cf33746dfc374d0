//! Tenants: create, suspend, resume, quotas.

use gristmill_core::id::UserId;
use gristmill_store::accounts::{NewTenant, Quotas, TenantChange, TenantView};

use super::error::Result;
use super::verbs::Accounts;
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
        self.change(order, self.store().create_tenant(&tenant)).await
    }

    /// Suspends a tenant, with the order's reason: no member and no token of it is recognized any more. Its work goes on.
    ///
    /// # Errors
    ///
    /// `NotFound` when there is none, and other store errors.
    pub async fn suspend_tenant(&self, order: &Order, name: &str) -> Result<TenantView> {
        let change = TenantChange::Suspend { reason: order.reason.clone() };
        self.change(order, self.store().change_tenant(name, &change)).await
    }

    /// Lets a tenant be used again.
    ///
    /// # Errors
    ///
    /// `NotFound` when there is none, and other store errors.
    pub async fn resume_tenant(&self, order: &Order, name: &str) -> Result<TenantView> {
        self.change(order, self.store().change_tenant(name, &TenantChange::Resume)).await
    }
}
