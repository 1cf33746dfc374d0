//! Links that may be used once: invitations, a new password, the first owner.

use gristmill_core::access::Role;
use gristmill_core::audit::Action;
use gristmill_core::duration;
use gristmill_core::email_address::EmailAddress;
use gristmill_core::id::{DEFAULT_TENANT, LinkId, UserId};
use gristmill_dispatcher::Committed;
use gristmill_store::accounts::{Appointer, LINK_OVER, LinkPurpose, LinkUse, LinkView, NewLink, NewPerson, UsedLink};
use gristmill_store::{Dispatched, Result as StoreResult, StoreError};
use serde_json::json;
use uuid::Uuid;

use super::error::Result;
use super::secret::{Purpose, Secret};
use super::verbs::Accounts;
use crate::order::Order;

/// A link that was made, and what its commit left behind.
struct Made(Option<(LinkId, Dispatched)>);

impl Committed for Made {
    fn left(&self) -> &[Dispatched] {
        self.0.as_ref().map_or(&[], |(_, dispatched)| std::slice::from_ref(dispatched))
    }
}

impl Accounts {
    /// Invites the owner of an address to the order's tenant by a mail, which is enqueued in the same transaction. It
    /// replaces earlier invitations of the same address to the same tenant.
    ///
    /// # Errors
    ///
    /// `Denied` when the role is not the inviter's to give, `Conflict` when they are a member, and other store errors.
    pub async fn invite(&self, order: &Order, by: Appointer, to: &EmailAddress, role: Role) -> Result<LinkId> {
        let secret = Secret::draw(Purpose::Link)?;
        let lifetime = self.settings.invitation.0;
        let about = json!({
            "tenant": order.tenant,
            "role": role,
            "by": order.actor.to_string(),
            "lasts": duration::format(lifetime),
        });
        let link = NewLink {
            email: Some(to.clone()),
            member: Some((order.tenant.clone(), role)),
            by,
            lifetime,
            letter: Some(self.letter(LinkPurpose::Invite, to, &secret, about)),
            ..link(LinkPurpose::Invite, &secret)
        };
        self.create_link(order, &link).await?;
        Ok(link.id)
    }

    /// Withdraws an invitation to the order's tenant. Returns whether it was open.
    ///
    /// # Errors
    ///
    /// Store errors.
    pub async fn withdraw_invitation(&self, order: &Order, invitation: LinkId) -> Result<bool> {
        let store = self.at(order, Action::InvitationWithdraw, invitation);
        self.change(order, store.withdraw_invitation(&order.tenant, invitation)).await
    }

    /// Sends a link to choose a password to an address, if it has an account: whether it has, the answer does not show.
    /// One mail in some minutes.
    ///
    /// # Errors
    ///
    /// Store errors.
    pub async fn send_reset(&self, order: &Order, to: &EmailAddress) -> Result<()> {
        let secret = Secret::draw(Purpose::Link)?;
        let about = json!({ "email": to, "lasts": duration::format(self.settings.reset.0) });
        let letter = Some(self.letter(LinkPurpose::Reset, to, &secret, about));
        let link = NewLink { email: Some(to.clone()), letter, ..self.reset_link(&secret) };
        self.create_link(order, &link).await.map(drop)
    }

    /// Makes a link to choose a password, to be handed over by the owner of the database.
    ///
    /// # Errors
    ///
    /// `NotFound` when the address has no active account, and other store errors.
    pub async fn reset_link_for(&self, order: &Order, email: &EmailAddress) -> Result<Secret> {
        let secret = Secret::draw(Purpose::Link)?;
        let link = NewLink { email: Some(email.clone()), ..self.reset_link(&secret) };
        if self.create_link(order, &link).await? {
            return Ok(secret);
        }
        let what = format!("`{email}` has no account that may log in; add it with `gristmill user add`");
        Err(StoreError::NotFound(what).into())
    }

    /// Makes the link by which the first user is made, who owns the installation. It replaces earlier ones.
    ///
    /// # Errors
    ///
    /// `Conflict` when there are users, and other store errors.
    pub async fn first_owner_link(&self, order: &Order) -> Result<Secret> {
        let secret = Secret::draw(Purpose::Link)?;
        let member = Some((DEFAULT_TENANT.to_owned(), Role::Owner));
        let lifetime = self.settings.invitation.0;
        let link = NewLink { member, lifetime, ..link(LinkPurpose::FirstOwner, &secret) };
        self.create_link(order, &link).await?;
        Ok(secret)
    }

    /// What an unused link is for. `None` when it does nothing.
    ///
    /// # Errors
    ///
    /// Store errors.
    pub async fn link(&self, secret: &Secret) -> StoreResult<Option<LinkView>> {
        self.store().link(&secret.hash()).await
    }

    /// Makes the first user by a link.
    ///
    /// # Errors
    ///
    /// `NotFound` when the link does nothing, `BadPassword`, and other store errors.
    pub async fn make_first_owner(
        &self,
        order: &Order,
        link: &Secret,
        email: &EmailAddress,
        name: &str,
        password: &Secret,
    ) -> Result<UsedLink> {
        self.must_be_open(link).await?;
        let person = self.person(email.as_str(), name, password).await?;
        self.use_link(order, link, &LinkUse::FirstOwner { email: email.clone(), person }).await
    }

    /// Accepts an invitation; with a name and a password where its address has no account.
    ///
    /// # Errors
    ///
    /// `NotFound` when the link does nothing, `Invalid` when an account is needed and not described, `BadPassword`, and
    /// other store errors.
    pub async fn accept(&self, order: &Order, link: &Secret, person: Option<(&str, &Secret)>) -> Result<UsedLink> {
        self.must_be_open(link).await?;
        let person = match person {
            None => None,
            Some((name, password)) => Some(self.person("", name, password).await?),
        };
        self.use_link(order, link, &LinkUse::Accept(person)).await
    }

    /// Chooses a password by a link. All sessions of the user end.
    ///
    /// # Errors
    ///
    /// `NotFound` when the link does nothing, `BadPassword`, and other store errors.
    pub async fn reset_password(&self, order: &Order, link: &Secret, password: &Secret) -> Result<UsedLink> {
        self.must_be_open(link).await?;
        let password = self.passwords.hash(password, &[]).await?;
        self.use_link(order, link, &LinkUse::Reset { password }).await
    }

    /// Refuses a link that does nothing before a password is hashed for it: that is work which strangers could ask for.
    pub(super) async fn must_be_open(&self, link: &Secret) -> Result<LinkView> {
        let over = || StoreError::NotFound(LINK_OVER.to_owned());
        Ok(self.link(link).await?.ok_or_else(over)?)
    }

    pub(super) async fn person(&self, email: &str, name: &str, password: &Secret) -> Result<NewPerson> {
        let password = self.passwords.hash(password, &[email, name]).await?;
        Ok(NewPerson { id: UserId(Uuid::now_v7()), name: name.to_owned(), password })
    }

    pub(super) async fn use_link(&self, order: &Order, link: &Secret, with: &LinkUse) -> Result<UsedLink> {
        let action = if with.purpose() == LinkPurpose::Invite { Action::InvitationAccept } else { Action::LinkUse };
        let store = self.at(order, action, with.purpose());
        self.change(order, store.use_link(&link.hash(), with)).await
    }

    /// Makes a link and publishes its mail. Returns whether it was for anybody.
    async fn create_link(&self, order: &Order, link: &NewLink) -> Result<bool> {
        let action = if link.purpose == LinkPurpose::Invite { Action::InvitationCreate } else { Action::LinkCreate };
        let store = self.at(order, action, link.purpose);
        let making = async { store.create_link(link).await.map(Made) };
        Ok(self.add(order, self.service.after(making)).await?.0.is_some())
    }

    fn reset_link(&self, secret: &Secret) -> NewLink {
        NewLink { lifetime: self.settings.reset.0, ..link(LinkPurpose::Reset, secret) }
    }
}

/// A link of the owner of the database, without anybody whom it is for.
pub(super) fn link(purpose: LinkPurpose, secret: &Secret) -> NewLink {
    NewLink {
        id: LinkId(Uuid::now_v7()),
        hash: secret.hash(),
        purpose,
        email: None,
        member: None,
        by: Appointer::Installation,
        lifetime: std::time::Duration::ZERO,
        letter: None,
    }
}
