//! Registration: people who make an account by themselves, where the settings say so.
//!
//! Nothing is kept of an address but a link that is mailed to it: name and password are chosen by that link, so that
//! no stranger prepares an account of another person's address, or has passwords hashed.

use gristmill_core::audit::Action;
use gristmill_core::duration;
use gristmill_core::email_address::EmailAddress;
use gristmill_core::login::{REGISTRATIONS, REGISTRATIONS_PER_ADDRESS};
use gristmill_dispatcher::Committed;
use gristmill_store::accounts::{LinkPurpose, LinkUse, NewLink, Registration, RegistrationStart, UsedLink};
use gristmill_store::{Dispatched, StoreError};
use serde_json::json;

use super::error::{AccountError, Result};
use super::invitations::link;
use super::secret::{Purpose, Secret};
use super::settings::{AccountSettings, Registering};
use super::verbs::Accounts;
use crate::order::Order;

/// What began, and what its commit left behind.
struct Begun(RegistrationStart);

impl Committed for Begun {
    fn left(&self) -> &[Dispatched] {
        match &self.0 {
            RegistrationStart::Begun(Some((_, dispatched))) => std::slice::from_ref(dispatched),
            RegistrationStart::Begun(None) | RegistrationStart::Wait { .. } => &[],
        }
    }
}

impl Accounts {
    /// Whether anybody may make an account.
    pub fn registers(&self) -> bool {
        self.settings.registration != Registering::Off
    }

    /// Mails a link to an address by which an account is made: whether it has one already, the answer does not show.
    /// `from` is the network that asks.
    ///
    /// # Errors
    ///
    /// `Denied` when registration is off, or not for such an address; `Wait` after too many wishes; other store errors.
    pub async fn register(&self, order: &Order, to: &EmailAddress, from: &str) -> Result<()> {
        let settings = &self.settings;
        open_to(settings, to)?;
        let secret = Secret::draw(Purpose::Link)?;
        let lifetime = settings.invitation.0;
        let about = json!({ "email": to, "server": self.server(), "lasts": duration::format(lifetime) });
        let member = (!settings.registration_tenant.is_empty())
            .then(|| (settings.registration_tenant.clone(), settings.registration_role));
        let letter = Some(self.letter(LinkPurpose::Verify, to, &secret, about));
        let link = NewLink { email: Some(to.clone()), member, lifetime, letter, ..link(LinkPurpose::Verify, &secret) };
        let (per_address, in_all) = (REGISTRATIONS_PER_ADDRESS, REGISTRATIONS);
        let registration = Registration { link, address: from.to_owned(), per_address, in_all };
        let store = self.at(order, Action::LinkCreate, to);
        let beginning = async { store.register(&registration).await.map(Begun) };
        match self.add(order, self.service.after(beginning)).await?.0 {
            RegistrationStart::Begun(_) => Ok(()),
            RegistrationStart::Wait { until, now } => Err(AccountError::wait(until, now)),
        }
    }

    /// Makes an account by a link that was mailed to its address.
    ///
    /// # Errors
    ///
    /// `NotFound` when the link does nothing, `Denied` when registration is off by now, `BadPassword`, and other store
    /// errors.
    pub async fn finish_registration(
        &self,
        order: &Order,
        link: &Secret,
        name: &str,
        password: &Secret,
    ) -> Result<UsedLink> {
        let email = self.must_be_open(link).await?.email.unwrap_or_default();
        open_to(&self.settings, &email.parse()?)?;
        let person = self.person(&email, name, password).await?;
        self.use_link(order, link, &LinkUse::Register(person)).await
    }

    /// What people know the server by: its host.
    fn server(&self) -> String {
        let url = &self.settings.url;
        let host = url.split_once("://").map_or(url.as_str(), |(_, rest)| rest);
        host.split('/').next().unwrap_or_default().to_owned()
    }
}

/// Refuses a registration that the settings do not allow.
fn open_to(settings: &AccountSettings, email: &EmailAddress) -> Result<()> {
    let denied = |what: String| Err(StoreError::Denied(what).into());
    if settings.registration == Registering::Off {
        return denied("nobody registers here; ask a member to invite you".to_owned());
    }
    let domain = email.as_str().rsplit('@').next().unwrap_or_default();
    let domains = &settings.registration_domains;
    if domains.is_empty() || domains.iter().any(|known| known.eq_ignore_ascii_case(domain)) {
        return Ok(());
    }
    denied(format!("no address of `{domain}` registers here; there are {}", domains.join(", ")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_addresses_of_the_domains_register_and_none_where_that_is_off() {
        let settings = |registration, domains: &[&str]| AccountSettings {
            registration,
            registration_domains: domains.iter().map(|domain| (*domain).to_owned()).collect(),
            ..AccountSettings::default()
        };
        let open =
            |settings: &AccountSettings, email: &str| open_to(settings, &email.parse().expect("an address")).is_ok();
        assert!(!open(&AccountSettings::default(), "ada@example.com"), "off unless said");
        assert!(!open(&settings(Registering::Off, &["example.com"]), "ada@example.com"));
        assert!(open(&settings(Registering::Open, &[]), "ada@anywhere.test"));
        let ours = settings(Registering::Open, &["Example.com"]);
        assert!(open(&ours, "ada@example.com"));
        for other in ["ada@sub.example.com", "ada@notexample.com", "ada@example.com.evil.test", "example.com@evil.test"]
        {
            assert!(!open(&ours, other), "{other}");
        }
    }
}
