//! Members of a tenant: their roles, and their removal.

use gristmill_core::access::Role;
use gristmill_core::audit::Action;
use gristmill_core::email_address::EmailAddress;
use gristmill_core::id::UserId;
use gristmill_store::accounts::{Appointer, MemberChange};

use super::error::Result;
use super::verbs::Accounts;
use crate::order::Order;

/// A user to be added or invited.
#[derive(Debug, Clone, PartialEq)]
pub struct NewMember {
    /// Their address.
    pub email: EmailAddress,
    /// What they are called.
    pub name: String,
    /// Their role in the tenant of the order; `None` for no membership.
    pub role: Option<Role>,
}

impl Accounts {
    /// Gives a member of the order's tenant another role; the owner of the database may also add a user. Returns the role
    /// that was.
    ///
    /// # Errors
    ///
    /// `Denied`, `Conflict` for the last owner, `NotFound`, and other store errors.
    pub async fn set_role(&self, order: &Order, by: Appointer, user: UserId, role: Role) -> Result<Option<Role>> {
        self.set_member(order, by, user, Some(role)).await
    }

    /// Removes a member from the order's tenant, with their tokens for it. Returns the role that was.
    ///
    /// # Errors
    ///
    /// `Denied`, `Conflict` for the last owner, `NotFound`, and other store errors.
    pub async fn remove_member(&self, order: &Order, by: Appointer, user: UserId) -> Result<Option<Role>> {
        self.set_member(order, by, user, None).await
    }

    async fn set_member(&self, order: &Order, by: Appointer, user: UserId, role: Option<Role>) -> Result<Option<Role>> {
        let change = MemberChange { tenant: order.tenant.clone(), user, role, by };
        let action = if role.is_some() { Action::MemberSet } else { Action::MemberRemove };
        self.change(order, self.at(order, action, user).set_member(&change)).await
    }
}
