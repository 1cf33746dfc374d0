//! No accounts: the model is of the work and of what moves it. That of an account is one guarded statement each, written
//! once over both databases, and there is nothing that a model of it could say in other words.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use gristmill_core::Instant;
use gristmill_core::access::Role;
use gristmill_core::email_address::EmailAddress;
use gristmill_core::id::{KeyId, LinkId, SessionId, TokenId, UserId};

use super::ReferenceStore;
use crate::accounts::{
    Accounts, ConfirmFactor, EndSessions, Factor, FederatedAnswer, FederatedLogin, InvitationView, KeyView, LinkUse,
    LinkView, LoginStart, LoginTry, LoginView, MemberChange, MemberView, NewKey, NewLink, NewLogin, NewSession,
    NewTenant, NewToken, NewUser, Recognition, RefreshSession, Refreshed, Registration, RegistrationStart, Second,
    SecretHash, SessionView, SigningKey, TenantChange, TenantView, TokenView, UsedLink, UserChange, UserView,
};
use crate::error::{Result, StoreError};
use crate::{Dispatched, Page, StoreHandle, TenantUsage};

#[async_trait]
impl Accounts for ReferenceStore {
    async fn create_user(&self, _: &NewUser) -> Result<UserView> {
        Err(none())
    }

    async fn users(&self, _: &Page) -> Result<Vec<UserView>> {
        Err(none())
    }

    async fn user(&self, _: UserId) -> Result<Option<UserView>> {
        Err(none())
    }

    async fn user_by_email(&self, _: &EmailAddress) -> Result<Option<UserView>> {
        Err(none())
    }

    async fn password_of(&self, _: UserId) -> Result<Option<String>> {
        Err(none())
    }

    async fn change_user(&self, _: UserId, _: &UserChange) -> Result<UserView> {
        Err(none())
    }

    async fn rehash_password(&self, _: UserId, _: &str, _: &str) -> Result<bool> {
        Err(none())
    }

    async fn remove_user(&self, _: UserId) -> Result<bool> {
        Err(none())
    }

    async fn create_tenant(&self, _: &NewTenant) -> Result<TenantView> {
        Err(none())
    }

    async fn tenant_list(&self, _: &Page) -> Result<Vec<TenantView>> {
        Err(none())
    }

    async fn tenant(&self, _: &str) -> Result<Option<TenantView>> {
        Err(none())
    }

    async fn change_tenant(&self, _: &str, _: &TenantChange) -> Result<TenantView> {
        Err(none())
    }

    fn metered(self: Arc<Self>) -> StoreHandle {
        self
    }

    async fn tenant_usage(&self, _: &str) -> Result<TenantUsage> {
        Err(none())
    }

    async fn members(&self, _: &str, _: &Page) -> Result<Vec<MemberView>> {
        Err(none())
    }

    async fn set_member(&self, _: &MemberChange) -> Result<Option<Role>> {
        Err(none())
    }

    async fn create_link(&self, _: &NewLink) -> Result<Option<(LinkId, Dispatched)>> {
        Err(none())
    }

    async fn register(&self, _: &Registration) -> Result<RegistrationStart> {
        Err(none())
    }

    async fn link(&self, _: &SecretHash) -> Result<Option<LinkView>> {
        Err(none())
    }

    async fn use_link(&self, _: &SecretHash, _: &LinkUse) -> Result<UsedLink> {
        Err(none())
    }

    async fn invitations(&self, _: &str, _: &Page) -> Result<Vec<InvitationView>> {
        Err(none())
    }

    async fn withdraw_invitation(&self, _: &str, _: LinkId) -> Result<bool> {
        Err(none())
    }

    async fn begin_login(&self, _: &LoginTry) -> Result<LoginStart> {
        Err(none())
    }

    async fn finish_login(&self, _: &NewSession) -> Result<Option<SessionView>> {
        Err(none())
    }

    async fn federated_login(&self, _: &FederatedLogin) -> Result<FederatedAnswer> {
        Err(none())
    }

    async fn link_login(&self, _: &NewLogin) -> Result<bool> {
        Err(none())
    }

    async fn logins_of(&self, _: UserId) -> Result<Vec<LoginView>> {
        Err(none())
    }

    async fn unlink_login(&self, _: UserId, _: &str, _: Option<SecretHash>) -> Result<bool> {
        Err(none())
    }

    async fn spend_second(&self, _: UserId, _: Option<Second>) -> Result<()> {
        Err(none())
    }

    async fn take_back_try(&self, _: &LoginTry) -> Result<()> {
        Err(none())
    }

    async fn factor(&self, _: UserId) -> Result<Option<Factor>> {
        Err(none())
    }

    async fn offer_factor(&self, _: UserId, _: &[u8]) -> Result<()> {
        Err(none())
    }

    async fn confirm_factor(&self, _: &ConfirmFactor) -> Result<u64> {
        Err(none())
    }

    async fn remove_factor(&self, _: UserId, _: Option<Second>) -> Result<bool> {
        Err(none())
    }

    async fn recognize_session(&self, _: &SecretHash, _: Option<&str>) -> Result<Option<Recognition>> {
        Err(none())
    }

    async fn recognize_token(&self, _: &SecretHash, _: Option<&str>) -> Result<Option<Recognition>> {
        Err(none())
    }

    async fn recognize_access(
        &self,
        _: SessionId,
        _: UserId,
        _: Option<&str>,
    ) -> Result<Option<(Recognition, Instant)>> {
        Err(none())
    }

    async fn refresh_session(&self, _: &RefreshSession) -> Result<Refreshed> {
        Err(none())
    }

    async fn end_refresh(&self, _: &SecretHash) -> Result<bool> {
        Err(none())
    }

    async fn signing_key(&self) -> Result<Option<SigningKey>> {
        Err(none())
    }

    async fn access_keys(&self) -> Result<Vec<KeyView>> {
        Err(none())
    }

    async fn add_key(&self, _: &NewKey) -> Result<bool> {
        Err(none())
    }

    async fn withdraw_key(&self, _: KeyId) -> Result<bool> {
        Err(none())
    }

    async fn touch_session(&self, _: &SecretHash, _: Duration) -> Result<()> {
        Err(none())
    }

    async fn touch_token(&self, _: TokenId) -> Result<()> {
        Err(none())
    }

    async fn sessions(&self, _: UserId, _: &Page) -> Result<Vec<SessionView>> {
        Err(none())
    }

    async fn session_id(&self, _: &SecretHash) -> Result<Option<SessionId>> {
        Err(none())
    }

    async fn end_sessions(&self, _: &EndSessions) -> Result<u64> {
        Err(none())
    }

    async fn create_token(&self, _: &NewToken) -> Result<TokenView> {
        Err(none())
    }

    async fn tokens(&self, _: &str, _: Option<UserId>, _: &Page) -> Result<Vec<TokenView>> {
        Err(none())
    }

    async fn revoke_token(&self, _: &str, _: TokenId, _: Option<UserId>) -> Result<bool> {
        Err(none())
    }

    async fn count_users(&self) -> Result<(u64, Instant)> {
        Err(none())
    }
}

fn none() -> StoreError {
    StoreError::Invalid("the model has no accounts".to_owned())
}
