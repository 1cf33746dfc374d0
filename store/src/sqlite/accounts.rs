//! Users, tenants, members, tokens, sessions, links.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use gristmill_core::Instant;
use gristmill_core::access::Role;
use gristmill_core::email_address::EmailAddress;
use gristmill_core::id::{KeyId, LinkId, SessionId, TokenId, UserId};

use super::SqliteStore;
use super::sql::{Reading, transact};
use super::transition::Transition;
use crate::accounts::{
    Accounts, ConfirmFactor, EndSessions, Factor, FederatedAnswer, FederatedLogin, InvitationView, KeyView, LinkUse,
    LinkView, LoginStart, LoginTry, LoginView, MemberChange, MemberView, NewKey, NewLink, NewLogin, NewSession,
    NewTenant, NewToken, NewUser, Recognition, RefreshSession, Refreshed, Registration, RegistrationStart, Second,
    SecretHash, SessionView, SigningKey, TenantChange, TenantView, TokenView, UsedLink, UserChange, UserView,
};
use crate::error::Result;
use crate::sql::accounts::{
    factors, federated, keys, links, login, refresh, sessions, tenants, tokens, use_link, users,
};
use crate::sql::quota;
use crate::{Dispatched, Page, StoreHandle, TenantUsage};

#[async_trait]
impl Accounts for SqliteStore {
    async fn create_user(&self, user: &NewUser) -> Result<UserView> {
        transact!(self, users::create, user)
    }

    async fn users(&self, page: &Page) -> Result<Vec<UserView>> {
        users::list(&mut Reading(&self.readers), page).await
    }

    async fn user(&self, user: UserId) -> Result<Option<UserView>> {
        users::one(&mut Reading(&self.readers), user).await
    }

    async fn user_by_email(&self, email: &EmailAddress) -> Result<Option<UserView>> {
        users::by_email(&mut Reading(&self.readers), email).await
    }

    async fn password_of(&self, user: UserId) -> Result<Option<String>> {
        users::password_of(&mut Reading(&self.readers), user).await
    }

    async fn change_user(&self, user: UserId, change: &UserChange) -> Result<UserView> {
        transact!(self, users::change, &(user, change))
    }

    async fn rehash_password(&self, user: UserId, verified: &str, hash: &str) -> Result<bool> {
        transact!(self, users::rehash, &(user, verified, hash))
    }

    async fn remove_user(&self, user: UserId) -> Result<bool> {
        transact!(self, users::remove, &user)
    }

    async fn create_tenant(&self, tenant: &NewTenant) -> Result<TenantView> {
        transact!(self, tenants::create, tenant)
    }

    async fn tenant_list(&self, page: &Page) -> Result<Vec<TenantView>> {
        tenants::list(&mut Reading(&self.readers), page).await
    }

    async fn tenant(&self, name: &str) -> Result<Option<TenantView>> {
        tenants::one(&mut Reading(&self.readers), name).await
    }

    async fn change_tenant(&self, name: &str, change: &TenantChange) -> Result<TenantView> {
        transact!(self, tenants::change, &(name, change))
    }

    fn metered(self: Arc<Self>) -> StoreHandle {
        Arc::new(SqliteStore::metered(&self))
    }

    async fn tenant_usage(&self, name: &str) -> Result<TenantUsage> {
        quota::usage(&mut Reading(&self.readers), name).await
    }

    async fn members(&self, tenant: &str, page: &Page) -> Result<Vec<MemberView>> {
        users::members(&mut Reading(&self.readers), tenant, page).await
    }

    async fn set_member(&self, change: &MemberChange) -> Result<Option<Role>> {
        transact!(self, users::set_member, change)
    }

    async fn create_link(&self, link: &NewLink) -> Result<Option<(LinkId, Dispatched)>> {
        let mut t = Transition::begin(self).await?;
        let created = links::create(&mut t, link).await?;
        let dispatched = t.commit().await?.dispatched;
        Ok(created.then_some((link.id, dispatched)))
    }

    async fn register(&self, registration: &Registration) -> Result<RegistrationStart> {
        let mut t = Transition::begin(self).await?;
        let begun = links::register(&mut t, registration).await?;
        let dispatched = t.commit().await?.dispatched;
        Ok(match begun {
            Err((until, now)) => RegistrationStart::Wait { until, now },
            Ok(made) => RegistrationStart::Begun(made.then_some((registration.link.id, dispatched))),
        })
    }

    async fn link(&self, hash: &SecretHash) -> Result<Option<LinkView>> {
        links::look(&mut Reading(&self.readers), hash).await
    }

    async fn use_link(&self, hash: &SecretHash, with: &LinkUse) -> Result<UsedLink> {
        transact!(self, use_link::use_link, &(hash, with))
    }

    async fn invitations(&self, tenant: &str, page: &Page) -> Result<Vec<InvitationView>> {
        links::invitations(&mut Reading(&self.readers), tenant, page).await
    }

    async fn withdraw_invitation(&self, tenant: &str, invitation: LinkId) -> Result<bool> {
        transact!(self, links::withdraw, &(tenant, invitation))
    }

    async fn begin_login(&self, attempt: &LoginTry) -> Result<LoginStart> {
        transact!(self, login::begin, attempt)
    }

    async fn finish_login(&self, session: &NewSession) -> Result<Option<SessionView>> {
        transact!(self, login::finish, session)
    }

    async fn federated_login(&self, login: &FederatedLogin) -> Result<FederatedAnswer> {
        transact!(self, federated::log_in, login)
    }

    async fn link_login(&self, login: &NewLogin) -> Result<bool> {
        transact!(self, federated::link, login)
    }

    async fn logins_of(&self, user: UserId) -> Result<Vec<LoginView>> {
        federated::of(&mut Reading(&self.readers), user).await
    }

    async fn unlink_login(&self, user: UserId, issuer: &str, keep: Option<SecretHash>) -> Result<bool> {
        transact!(self, federated::unlink, &(user, issuer, keep))
    }

    async fn spend_second(&self, user: UserId, second: Option<Second>) -> Result<()> {
        transact!(self, factors::spend_for, &(user, second))
    }

    async fn take_back_try(&self, attempt: &LoginTry) -> Result<()> {
        transact!(self, login::take_back, attempt)
    }

    async fn factor(&self, user: UserId) -> Result<Option<Factor>> {
        factors::one(&mut Reading(&self.readers), user).await
    }

    async fn offer_factor(&self, user: UserId, secret: &[u8]) -> Result<()> {
        transact!(self, factors::offer, &(user, secret))
    }

    async fn confirm_factor(&self, confirm: &ConfirmFactor) -> Result<u64> {
        transact!(self, factors::confirm, confirm)
    }

    async fn remove_factor(&self, user: UserId, with: Option<Second>) -> Result<bool> {
        transact!(self, factors::remove, &(user, with))
    }

    async fn recognize_session(&self, hash: &SecretHash, tenant: Option<&str>) -> Result<Option<Recognition>> {
        sessions::recognize(&mut Reading(&self.readers), hash, tenant).await
    }

    async fn recognize_token(&self, hash: &SecretHash, tenant: Option<&str>) -> Result<Option<Recognition>> {
        tokens::recognize(&mut Reading(&self.readers), hash, tenant).await
    }

    async fn recognize_access(
        &self,
        session: SessionId,
        user: UserId,
        tenant: Option<&str>,
    ) -> Result<Option<(Recognition, Instant)>> {
        sessions::recognize_access(&mut Reading(&self.readers), session, user, tenant).await
    }

    async fn refresh_session(&self, refresh: &RefreshSession) -> Result<Refreshed> {
        transact!(self, refresh::refresh, refresh)
    }

    async fn end_refresh(&self, hash: &SecretHash) -> Result<bool> {
        transact!(self, refresh::end, hash)
    }

    async fn signing_key(&self) -> Result<Option<SigningKey>> {
        keys::signing(&mut Reading(&self.readers)).await
    }

    async fn access_keys(&self) -> Result<Vec<KeyView>> {
        keys::list(&mut Reading(&self.readers)).await
    }

    async fn add_key(&self, key: &NewKey) -> Result<bool> {
        transact!(self, keys::add, key)
    }

    async fn withdraw_key(&self, key: KeyId) -> Result<bool> {
        transact!(self, keys::withdraw, &key)
    }

    async fn touch_session(&self, hash: &SecretHash, idle: Duration) -> Result<()> {
        transact!(self, sessions::touch, &(hash, idle))
    }

    async fn touch_token(&self, token: TokenId) -> Result<()> {
        transact!(self, tokens::touch, &token)
    }

    async fn sessions(&self, user: UserId, page: &Page) -> Result<Vec<SessionView>> {
        sessions::list(&mut Reading(&self.readers), user, page).await
    }

    async fn session_id(&self, hash: &SecretHash) -> Result<Option<SessionId>> {
        sessions::with_secret(&mut Reading(&self.readers), hash).await
    }

    async fn end_sessions(&self, end: &EndSessions) -> Result<u64> {
        transact!(self, sessions::end, end)
    }

    async fn create_token(&self, token: &NewToken) -> Result<TokenView> {
        transact!(self, tokens::create, token)
    }

    async fn tokens(&self, tenant: &str, user: Option<UserId>, page: &Page) -> Result<Vec<TokenView>> {
        tokens::list(&mut Reading(&self.readers), tenant, user, page).await
    }

    async fn revoke_token(&self, tenant: &str, token: TokenId, of: Option<UserId>) -> Result<bool> {
        transact!(self, tokens::revoke, &(tenant, token, of))
    }

    async fn count_users(&self) -> Result<(u64, Instant)> {
        users::count(&mut Reading(&self.readers)).await
    }
}
