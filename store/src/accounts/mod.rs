//! Who may use the API: users, tenants and their members, API tokens, sessions, links that may be used once.
//!
//! The store never sees a secret: tokens, sessions and links are known by the SHA-256 of theirs, passwords by the hash
//! that the service makes. Rights are judged in the transaction that they are used in, against what they are then.

mod factors;
mod federated;
mod keys;
mod links;
mod sessions;
mod tenants;
mod tokens;
mod users;

use std::fmt::Debug;
use std::sync::Arc;

use async_trait::async_trait;
use gristmill_core::Instant;
use gristmill_core::email_address::EmailAddress;
use gristmill_core::id::{KeyId, LinkId, SessionId, TokenId, UserId};

pub use factors::{ConfirmFactor, Factor, Second};
pub use federated::{Federated, FederatedAnswer, FederatedLogin, FederatedSession, LoginView, NewLogin};
pub use keys::{KeyView, NewKey, SigningKey};
pub use links::{
    InvitationView, LINK_OVER, Letter, LinkPurpose, LinkUse, LinkView, NewLink, NewPerson, Registration,
    RegistrationStart, UsedLink,
};
pub use sessions::{
    EndSessions, LoginStart, LoginTry, NewSession, Recognition, Recognized, RefreshSession, Refreshed, SecretHash,
    SessionKind, SessionView, WhichSessions,
};
pub use tenants::{NewTenant, Quotas, TenantChange, TenantState, TenantView};
pub use tokens::{NewToken, TOKEN_SCOPES_MAX, TokenView};
pub use users::{Appointer, MemberChange, MemberView, MembershipView, NewUser, UserChange, UserState, UserView};

use crate::error::Result;
use crate::{Dispatched, Page, StoreHandle, TenantUsage};

/// Accounts: users, tenants, members, tokens, sessions, links.
#[async_trait]
pub trait Accounts: Debug + Send + Sync + 'static {
    /// Creates a user, and their membership where one is given. [`StoreError::Conflict`](crate::StoreError::Conflict)
    /// when the address has an account, `NotFound` when the tenant does not exist.
    async fn create_user(&self, user: &NewUser) -> Result<UserView>;

    /// Returns users with their memberships, by address.
    async fn users(&self, page: &Page) -> Result<Vec<UserView>>;

    /// Returns one user. `None` when there is none.
    async fn user(&self, user: UserId) -> Result<Option<UserView>>;

    /// Returns the user with this address. `None` when there is none.
    async fn user_by_email(&self, email: &EmailAddress) -> Result<Option<UserView>>;

    /// Returns the hash of a user's password. `None` when the user does not exist, is not active or has none.
    async fn password_of(&self, user: UserId) -> Result<Option<String>>;

    /// Changes a user. A new password and a disabled account end the user's sessions, but for the one that is kept.
    /// `NotFound` when there is no such user, `Conflict` when a tenant would be left without an active owner.
    async fn change_user(&self, user: UserId, change: &UserChange) -> Result<UserView>;

    /// Replaces a password by another hash of the same one, provided that it is still the one that was verified. Ends
    /// nothing. Returns whether it was.
    async fn rehash_password(&self, user: UserId, verified: &str, hash: &str) -> Result<bool>;

    /// Removes a user with all memberships, tokens and sessions. Returns whether there was one. `Conflict` when a tenant
    /// would be left without an active owner.
    async fn remove_user(&self, user: UserId) -> Result<bool>;

    /// Creates a tenant, with its owner where one is given. `Conflict` when there is one of that name.
    async fn create_tenant(&self, tenant: &NewTenant) -> Result<TenantView>;

    /// Returns tenants by name.
    async fn tenant_list(&self, page: &Page) -> Result<Vec<TenantView>>;

    /// Returns one tenant. `None` when there is none.
    async fn tenant(&self, name: &str) -> Result<Option<TenantView>>;

    /// A handle of the same store whose transactions are held to the quotas of the tenants that they add jobs and batches
    /// to: `OverQuota` when that does not fit, however many ask at once. A tenant without a quota waits for no other
    /// transaction.
    fn metered(self: Arc<Self>) -> StoreHandle;

    /// Returns what a tenant uses of its quotas.
    async fn tenant_usage(&self, name: &str) -> Result<TenantUsage>;

    /// Suspends or resumes a tenant, or sets its quotas. Of a suspended tenant no member and no token is recognized; its
    /// work goes on. What is so already stays as it is. `NotFound` when there is no such tenant,
    /// `Conflict` when its quotas are not the ones that were seen.
    async fn change_tenant(&self, name: &str, change: &TenantChange) -> Result<TenantView>;

    /// Returns the members of a tenant, by address.
    async fn members(&self, tenant: &str, page: &Page) -> Result<Vec<MemberView>>;

    /// Gives a member another role, or removes them; the owner of the database may also add a user who is no member.
    /// Removal deletes the user's tokens for the tenant. Returns the role that was. `Denied` when the role, as it is or
    /// would be, is not for the one who asks to give, by their own role at this moment; `Conflict` when it is the last
    /// active owner; `NotFound` when the tenant has no such member.
    async fn set_member(&self, change: &MemberChange) -> Result<Option<gristmill_core::access::Role>>;

    /// Creates a link that may be used once, and enqueues its letter in the same transaction. It replaces those for the
    /// same address, tenant and purpose. Returns `None`, and does nothing, where the address has no account that it
    /// could be for, or has been sent such a letter a few minutes ago. `Denied` when the role of an invitation is not
    /// the inviter's to give, `Conflict` when the invited are members already, or when a first owner is to be made
    /// although there are users.
    async fn create_link(&self, link: &NewLink) -> Result<Option<(LinkId, Dispatched)>>;

    /// Counts a wish for an account, and makes a link for an address that has none; enqueues its letter in the same
    /// transaction. `Invalid` when the link is not of purpose [`LinkPurpose::Verify`] or has no letter.
    async fn register(&self, registration: &Registration) -> Result<RegistrationStart>;

    /// Returns what an unused link is for. `None` when it is unknown, used, replaced or over.
    async fn link(&self, hash: &SecretHash) -> Result<Option<LinkView>>;

    /// Uses a link. `NotFound`, and nothing happens, when it is unknown, used, replaced or over, for another purpose, or
    /// when the one who invited may not give that role any more.
    async fn use_link(&self, hash: &SecretHash, with: &LinkUse) -> Result<UsedLink>;

    /// Returns the open invitations of a tenant, newest first.
    async fn invitations(&self, tenant: &str, page: &Page) -> Result<Vec<InvitationView>>;

    /// Withdraws an invitation. Returns whether it was open.
    async fn withdraw_invitation(&self, tenant: &str, invitation: LinkId) -> Result<bool>;

    /// Counts a try to log in, and returns what its password is to be compared with; or until when to wait.
    async fn begin_login(&self, attempt: &LoginTry) -> Result<LoginStart>;

    /// Opens a session, provided that the user is active and has the password that was verified; takes the try back.
    /// `None` when that has changed meanwhile. `Denied`, and nothing happens, when the user has a second factor and shows
    /// nothing of it that was not used before.
    async fn finish_login(&self, session: &NewSession) -> Result<Option<SessionView>>;

    /// Opens a session for a person for whom an issuer vouches: of the account that is known by the subject, else of the one
    /// with the address that the issuer has verified, which is known by the subject from then on, else of a new one; and
    /// gives them their place in the provider's tenant. An account is taken by its address only where
    /// [`by_address`](gristmill_core::linking::by_address) allows it: otherwise the login is `Refused`, the state is spent, and
    /// the audit says so, once in 15 minutes for an account and an issuer. `Denied`, and nothing happens, when the state has
    /// come back before, there is no such account or it is not active.
    async fn federated_login(&self, login: &FederatedLogin) -> Result<FederatedAnswer>;

    /// Links a login elsewhere to an account, whatever its user is: they have asked for it and shown who they are. Returns
    /// whether it was not linked yet. `Denied` when the state has come back before, or the account is not active; `Conflict`
    /// when the subject is known as another account's, or the account by another subject of the issuer.
    async fn link_login(&self, login: &NewLogin) -> Result<bool>;

    /// Returns the logins elsewhere by which an account is known, by issuer.
    async fn logins_of(&self, user: UserId) -> Result<Vec<LoginView>>;

    /// Unlinks the login of an issuer from an account, and ends its sessions but for the one that is kept: it may have opened
    /// them. Returns whether there was one. `Conflict` when its user has no password and no other login.
    async fn unlink_login(&self, user: UserId, issuer: &str, keep: Option<SecretHash>) -> Result<bool>;

    /// Spends what a user shows of their second factor for something else than a login. `Denied`, and nothing happens, when
    /// they have one and it was shown nothing of it that was not used before.
    async fn spend_second(&self, user: UserId, second: Option<Second>) -> Result<()>;

    /// Takes a try back that was no try: nothing was compared that could have been guessed.
    async fn take_back_try(&self, attempt: &LoginTry) -> Result<()>;

    /// Returns the second factor of a user, confirmed or not. `None` when there is none.
    async fn factor(&self, user: UserId) -> Result<Option<Factor>>;

    /// Offers a second factor with this secret, in place of one that was not confirmed: at most 64 bytes. `Conflict` when
    /// there is a confirmed one.
    async fn offer_factor(&self, user: UserId, secret: &[u8]) -> Result<()>;

    /// Confirms a factor by its first code, keeps the hashes of its recovery codes, and ends the user's other sessions.
    /// Returns how many there were. `Conflict` when there is no such factor to confirm.
    async fn confirm_factor(&self, confirm: &ConfirmFactor) -> Result<u64>;

    /// Removes a factor by what is shown of it, which is spent; or, without that, with all sessions of the user. Returns
    /// whether there was one. `Denied` when what is shown was used already, or is none.
    async fn remove_factor(&self, user: UserId, with: Option<Second>) -> Result<bool>;

    /// Returns the caller whose session it is, in the tenant that it asks for, or in its own: `main` where it is a
    /// member there, otherwise the first by name. `None` when the session is unknown or over, or its user not active.
    async fn recognize_session(&self, hash: &SecretHash, tenant: Option<&str>) -> Result<Option<Recognition>>;

    /// Returns the caller whose token it is, as far as it is for the tenant that is asked for. `None` when the token is
    /// unknown, revoked or over, or its user not active.
    async fn recognize_token(&self, hash: &SecretHash, tenant: Option<&str>) -> Result<Option<Recognition>>;

    /// Returns the caller whose session by tokens it is, in the tenant that it asks for, or in its own, and the store's
    /// time. `None` when the session is unknown, over, another user's, or that of a browser, or its user not active.
    async fn recognize_access(
        &self,
        session: SessionId,
        user: UserId,
        tenant: Option<&str>,
    ) -> Result<Option<(Recognition, Instant)>>;

    /// Uses a refresh token, once: many at once get one successor, and all of them lose the session.
    async fn refresh_session(&self, refresh: &RefreshSession) -> Result<Refreshed>;

    /// Ends the session whose refresh token this is, by its owner's wish. Returns whether there was one.
    async fn end_refresh(&self, hash: &SecretHash) -> Result<bool>;

    /// Returns the key that signs. `None` when there is none.
    async fn signing_key(&self) -> Result<Option<SigningKey>>;

    /// Returns the keys by which tokens are verified at this moment, newest first.
    async fn access_keys(&self) -> Result<Vec<KeyView>>;

    /// Adds a key that signs from now on, in place of the one before it. Returns whether it was added: one that replaces
    /// none is not where another one signs.
    async fn add_key(&self, key: &NewKey) -> Result<bool>;

    /// Withdraws a key: by it nothing is verified any more. Returns whether it was there.
    async fn withdraw_key(&self, key: KeyId) -> Result<bool>;

    /// Notes that a session was used, at most once a minute, and prolongs it by `idle`, but never beyond its end.
    async fn touch_session(&self, hash: &SecretHash, idle: std::time::Duration) -> Result<()>;

    /// Notes that a token was used, at most once a minute.
    async fn touch_token(&self, token: TokenId) -> Result<()>;

    /// Returns a user's sessions that are not over, newest first.
    async fn sessions(&self, user: UserId, page: &Page) -> Result<Vec<SessionView>>;

    /// Returns the id of the session with this secret that is not over.
    async fn session_id(&self, hash: &SecretHash) -> Result<Option<SessionId>>;

    /// Ends sessions of a user. Returns how many there were.
    async fn end_sessions(&self, end: &EndSessions) -> Result<u64>;

    /// Creates a token of a member. `NotFound` when the user is no member of the tenant, `Invalid` when a scope is not
    /// allowed by their role, or the token would be over already.
    async fn create_token(&self, token: &NewToken) -> Result<TokenView>;

    /// Returns tokens of a tenant that are not revoked, newest first: all, or those of one user.
    async fn tokens(&self, tenant: &str, user: Option<UserId>, page: &Page) -> Result<Vec<TokenView>>;

    /// Revokes a token of a tenant, of anybody or of one user. Returns whether there was one that was not revoked.
    async fn revoke_token(&self, tenant: &str, token: TokenId, of: Option<UserId>) -> Result<bool>;

    /// Returns how many users there are, and the store's time.
    async fn count_users(&self) -> Result<(u64, Instant)>;
}
