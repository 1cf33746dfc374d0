//! Users, tenants, members, tokens, sessions, links.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use gristmill_core::Instant;
use gristmill_core::access::Role;
use gristmill_core::email_address::EmailAddress;
use gristmill_core::id::{KeyId, LinkId, SessionId, TokenId, UserId};

use super::PostgresStore;
use super::connect::{look, transact};
use super::fault::Outcome;
use super::work::Work;
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
impl Accounts for PostgresStore {
    async fn create_user(&self, user: &NewUser) -> Result<UserView> {
        transact!(self, users::create, user).await
    }

    async fn users(&self, page: &Page) -> Result<Vec<UserView>> {
        look!(self, users::list, page)
    }

    async fn user(&self, user: UserId) -> Result<Option<UserView>> {
        look!(self, users::one, user)
    }

    async fn user_by_email(&self, email: &EmailAddress) -> Result<Option<UserView>> {
        look!(self, users::by_email, email)
    }

    async fn password_of(&self, user: UserId) -> Result<Option<String>> {
        look!(self, users::password_of, user)
    }

    async fn change_user(&self, user: UserId, change: &UserChange) -> Result<UserView> {
        transact!(self, users::change, (user, change)).await
    }

    async fn rehash_password(&self, user: UserId, verified: &str, hash: &str) -> Result<bool> {
        transact!(self, users::rehash, (user, verified, hash)).await
    }

    async fn remove_user(&self, user: UserId) -> Result<bool> {
        transact!(self, users::remove, user).await
    }

    async fn create_tenant(&self, tenant: &NewTenant) -> Result<TenantView> {
        transact!(self, tenants::create, tenant).await
    }

    async fn tenant_list(&self, page: &Page) -> Result<Vec<TenantView>> {
        look!(self, tenants::list, page)
    }

    async fn tenant(&self, name: &str) -> Result<Option<TenantView>> {
        look!(self, tenants::one, name)
    }

    async fn change_tenant(&self, name: &str, change: &TenantChange) -> Result<TenantView> {
        transact!(self, tenants::change, (name, change)).await
    }

    fn metered(self: Arc<Self>) -> StoreHandle {
        Arc::new(PostgresStore::metered(&self))
    }

    async fn tenant_usage(&self, name: &str) -> Result<TenantUsage> {
        look!(self, quota::usage, name)
    }

    async fn members(&self, tenant: &str, page: &Page) -> Result<Vec<MemberView>> {
        look!(self, users::members, tenant, page)
    }

    async fn set_member(&self, change: &MemberChange) -> Result<Option<Role>> {
        transact!(self, users::set_member, change).await
    }

    async fn create_link(&self, link: &NewLink) -> Result<Option<(LinkId, Dispatched)>> {
        transact!(self, create_link, link).await
    }

    async fn register(&self, registration: &Registration) -> Result<RegistrationStart> {
        transact!(self, register, registration).await
    }

    async fn link(&self, hash: &SecretHash) -> Result<Option<LinkView>> {
        look!(self, links::look, hash)
    }

    async fn use_link(&self, hash: &SecretHash, with: &LinkUse) -> Result<UsedLink> {
        transact!(self, use_link::use_link, (hash, with)).await
    }

    async fn invitations(&self, tenant: &str, page: &Page) -> Result<Vec<InvitationView>> {
        look!(self, links::invitations, tenant, page)
    }

    async fn withdraw_invitation(&self, tenant: &str, invitation: LinkId) -> Result<bool> {
        transact!(self, links::withdraw, (tenant, invitation)).await
    }

    async fn begin_login(&self, attempt: &LoginTry) -> Result<LoginStart> {
        transact!(self, login::begin, attempt).await
    }

    async fn finish_login(&self, session: &NewSession) -> Result<Option<SessionView>> {
        transact!(self, login::finish, session).await
    }

    async fn federated_login(&self, login: &FederatedLogin) -> Result<FederatedAnswer> {
        transact!(self, federated::log_in, login).await
    }

    async fn link_login(&self, login: &NewLogin) -> Result<bool> {
        transact!(self, federated::link, login).await
    }

    async fn logins_of(&self, user: UserId) -> Result<Vec<LoginView>> {
        look!(self, federated::of, user)
    }

    async fn unlink_login(&self, user: UserId, issuer: &str, keep: Option<SecretHash>) -> Result<bool> {
        transact!(self, federated::unlink, (user, issuer, keep)).await
    }

    async fn spend_second(&self, user: UserId, second: Option<Second>) -> Result<()> {
        transact!(self, factors::spend_for, (user, second)).await
    }

    async fn take_back_try(&self, attempt: &LoginTry) -> Result<()> {
        transact!(self, login::take_back, attempt).await
    }

    async fn factor(&self, user: UserId) -> Result<Option<Factor>> {
        look!(self, factors::one, user)
    }

    async fn offer_factor(&self, user: UserId, secret: &[u8]) -> Result<()> {
        transact!(self, factors::offer, (user, secret)).await
    }

    async fn confirm_factor(&self, confirm: &ConfirmFactor) -> Result<u64> {
        transact!(self, factors::confirm, confirm).await
    }

    async fn remove_factor(&self, user: UserId, with: Option<Second>) -> Result<bool> {
        transact!(self, factors::remove, (user, with)).await
    }

    async fn recognize_session(&self, hash: &SecretHash, tenant: Option<&str>) -> Result<Option<Recognition>> {
        look!(self, sessions::recognize, hash, tenant)
    }

    async fn recognize_token(&self, hash: &SecretHash, tenant: Option<&str>) -> Result<Option<Recognition>> {
        look!(self, tokens::recognize, hash, tenant)
    }

    async fn recognize_access(
        &self,
        session: SessionId,
        user: UserId,
        tenant: Option<&str>,
    ) -> Result<Option<(Recognition, Instant)>> {
        look!(self, sessions::recognize_access, session, user, tenant)
    }

    async fn refresh_session(&self, refresh: &RefreshSession) -> Result<Refreshed> {
        transact!(self, refresh::refresh, refresh).await
    }

    async fn end_refresh(&self, hash: &SecretHash) -> Result<bool> {
        transact!(self, refresh::end, hash).await
    }

    async fn signing_key(&self) -> Result<Option<SigningKey>> {
        look!(self, keys::signing)
    }

    async fn access_keys(&self) -> Result<Vec<KeyView>> {
        look!(self, keys::list)
    }

    async fn add_key(&self, key: &NewKey) -> Result<bool> {
        transact!(self, keys::add, key).await
    }

    async fn withdraw_key(&self, key: KeyId) -> Result<bool> {
        transact!(self, keys::withdraw, key).await
    }

    async fn touch_session(&self, hash: &SecretHash, idle: Duration) -> Result<()> {
        transact!(self, sessions::touch, (hash, idle)).await
    }

    async fn touch_token(&self, token: TokenId) -> Result<()> {
        transact!(self, tokens::touch, token).await
    }

    async fn sessions(&self, user: UserId, page: &Page) -> Result<Vec<SessionView>> {
        look!(self, sessions::list, user, page)
    }

    async fn session_id(&self, hash: &SecretHash) -> Result<Option<SessionId>> {
        look!(self, sessions::with_secret, hash)
    }

    async fn end_sessions(&self, end: &EndSessions) -> Result<u64> {
        transact!(self, sessions::end, end).await
    }

    async fn create_token(&self, token: &NewToken) -> Result<TokenView> {
        transact!(self, tokens::create, token).await
    }

    async fn tokens(&self, tenant: &str, user: Option<UserId>, page: &Page) -> Result<Vec<TokenView>> {
        look!(self, tokens::list, tenant, user, page)
    }

    async fn revoke_token(&self, tenant: &str, token: TokenId, of: Option<UserId>) -> Result<bool> {
        transact!(self, tokens::revoke, (tenant, token, of)).await
    }

    async fn count_users(&self) -> Result<(u64, Instant)> {
        look!(self, users::count)
    }
}

async fn register(work: &mut Work<'_>, registration: &Registration) -> Outcome<RegistrationStart> {
    match links::register(work, registration).await? {
        Err((until, now)) => Ok(RegistrationStart::Wait { until, now }),
        Ok(made) => {
            let dispatched = work.close().await?;
            Ok(RegistrationStart::Begun(made.then_some((registration.link.id, dispatched))))
        }
    }
}

async fn create_link(work: &mut Work<'_>, link: &NewLink) -> Outcome<Option<(LinkId, Dispatched)>> {
    let created = links::create(work, link).await?;
    let dispatched = work.close().await?;
    Ok(created.then_some((link.id, dispatched)))
}
