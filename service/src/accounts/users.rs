//! Users: create, rename, passwords, disable, remove.

use gristmill_core::audit::Action;
use gristmill_core::email_address::EmailAddress;
use gristmill_core::id::UserId;
use gristmill_store::accounts::{NewUser, SecretHash, UserChange, UserState, UserView};
use gristmill_store::{Result as StoreResult, StoreError};
use uuid::Uuid;

use super::error::{AccountError, Result};
use super::members::NewMember;
use super::password::check_hash;
use super::secret::Secret;
use super::verbs::Accounts;
use crate::order::Order;

impl Accounts {
    /// Creates a user, for the owner of the database. Without a password they choose one by a link.
    ///
    /// # Errors
    ///
    /// `Conflict` when the address has an account, `NotFound` when there is no such tenant, `BadPassword`.
    pub async fn add_user(
        &self,
        order: &Order,
        member: &NewMember,
        password: Option<&Secret>,
        installation: bool,
    ) -> Result<UserView> {
        let password = match password {
            None => None,
            Some(password) => Some(self.passwords.hash(password, &[member.email.as_str(), &member.name]).await?),
        };
        self.add_hashed(order, member, password, installation).await
    }

    /// The same with the hash of a password that another program has made. It is replaced at the first login.
    ///
    /// # Errors
    ///
    /// As [`Accounts::add_user`]; `BadHash` when passwords cannot be compared with that hash.
    pub async fn import_user(
        &self,
        order: &Order,
        member: &NewMember,
        hash: &Secret,
        installation: bool,
    ) -> Result<UserView> {
        check_hash(hash.expose()).map_err(AccountError::BadHash)?;
        self.add_hashed(order, member, Some(hash.expose().to_owned()), installation).await
    }

    async fn add_hashed(
        &self,
        order: &Order,
        member: &NewMember,
        password: Option<String>,
        installation: bool,
    ) -> Result<UserView> {
        let NewMember { email, name, role } = member;
        let user = NewUser {
            id: UserId(Uuid::now_v7()),
            email: email.clone(),
            name: name.clone(),
            password,
            state: UserState::Active,
            installation,
            member: role.map(|role| (order.tenant.clone(), role)),
        };
        self.change(order, self.at(order, Action::UserCreate, email).create_user(&user)).await
    }

    /// The user with an address.
    ///
    /// # Errors
    ///
    /// `NotFound` when there is none, and other store errors.
    pub async fn user(&self, email: &EmailAddress) -> StoreResult<UserView> {
        let missing = || StoreError::NotFound(format!("there is no user `{email}`"));
        self.store().user_by_email(email).await?.ok_or_else(missing)
    }

    /// Gives a user another name.
    ///
    /// # Errors
    ///
    /// Store errors: `Invalid` when it is no name.
    pub async fn rename_user(&self, order: &Order, user: UserId, name: &str) -> Result<UserView> {
        let store = self.at(order, Action::UserChange, user);
        self.change(order, store.change_user(user, &UserChange::Name(name.to_owned()))).await
    }

    /// Lets a user log in, or not: then their sessions end at once, and their tokens are not recognized.
    ///
    /// # Errors
    ///
    /// `Conflict` when a tenant would be left without an owner, and other store errors.
    pub async fn switch_user(&self, order: &Order, user: UserId, active: bool) -> Result<UserView> {
        let state = if active { UserState::Active } else { UserState::Disabled };
        let action = if active { Action::UserEnable } else { Action::UserDisable };
        self.change(order, self.at(order, action, user).change_user(user, &UserChange::State(state))).await
    }

    /// Lets a user create and suspend tenants, or not.
    ///
    /// # Errors
    ///
    /// Store errors.
    pub async fn set_installation(&self, order: &Order, user: UserId, installation: bool) -> Result<UserView> {
        let store = self.at(order, Action::UserChange, user);
        self.change(order, store.change_user(user, &UserChange::Installation(installation))).await
    }

    /// Gives a user another password, for the owner of the database. All their sessions end.
    ///
    /// # Errors
    ///
    /// `BadPassword`, and store errors.
    pub async fn set_password(&self, order: &Order, user: &UserView, password: &Secret) -> Result<UserView> {
        let hash = self.passwords.hash(password, &[&user.email, &user.name]).await?;
        let change = UserChange::Password { hash, verified: None, keep: None };
        self.change(order, self.at(order, Action::UserPassword, &user.email).change_user(user.id, &change)).await
    }

    /// Changes a user's own password, which they show. All their sessions end but for the one that asks.
    ///
    /// # Errors
    ///
    /// `WrongPassword`, `BadPassword`, `Conflict` when it was changed meanwhile, and other store errors.
    pub async fn change_password(
        &self,
        order: &Order,
        user: UserId,
        old: &Secret,
        new: &Secret,
        keep: Option<SecretHash>,
    ) -> Result<UserView> {
        let verified = self.store().password_of(user).await?;
        if !self.passwords.compare(old, verified.as_deref()).await?.matches {
            return Err(AccountError::WrongPassword);
        }
        let missing = || StoreError::NotFound("there is no such user".to_owned());
        let about = self.store().user(user).await?.ok_or_else(missing)?;
        let hash = self.passwords.hash(new, &[&about.email, &about.name]).await?;
        let change = UserChange::Password { hash, verified, keep };
        self.change(order, self.at(order, Action::UserPassword, &about.email).change_user(user, &change)).await
    }

    /// Removes a user with all memberships, tokens and sessions. Returns whether there was one.
    ///
    /// # Errors
    ///
    /// `Conflict` when a tenant would be left without an owner, and other store errors.
    pub async fn remove_user(&self, order: &Order, user: UserId) -> Result<bool> {
        self.change(order, self.at(order, Action::UserRemove, user).remove_user(user)).await
    }
}
