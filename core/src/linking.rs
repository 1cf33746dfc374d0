//! Whether a login elsewhere takes the account that has its verified address, where the account's own user has not linked it.
//!
//! A provider of logins belongs to one tenant. It says which addresses it has verified, so that its operator could log in
//! with any address. Therefore an address opens only an account that is nothing outside the provider's tenant, and that owns
//! nothing: what such an account may do is what the provider gives to its own people anyway.

use crate::access::Role;

crate::words! {
    /// Why a login elsewhere does not take the account that has its address.
    pub enum NotLinked {
        /// The provider takes no account by its address (`link = false`).
        Off = "off",
        /// The account owns a tenant or the installation.
        Owner = "owner",
        /// The account is a member of another tenant than the provider's.
        Elsewhere = "elsewhere",
        /// The account is no member of the provider's tenant.
        NoMember = "no_member",
        /// The account is known by another subject of the issuer.
        Known = "known",
    }
}

impl NotLinked {
    /// What the person reads, who may be a stranger: nothing of what the account is, and what to do instead.
    pub fn advice(self) -> &'static str {
        match self {
            Self::Known => {
                "the account with this address is known by another login of this issuer; log in with that one, or with the \
                 account's password, and unlink the other one on the page of your account"
            }
            Self::Off | Self::Owner | Self::Elsewhere | Self::NoMember => {
                "the account with this address is not known by this login, which may not take it by the address alone; log in \
                 with the account's password, and link this login on the page of your account"
            }
        }
    }
}

/// What an account is: whether it owns the installation, and its role in each tenant of which it is a member.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Places<'a> {
    /// Whether it owns the installation.
    pub installation: bool,
    /// Its tenants and roles, in any order.
    pub roles: &'a [(String, Role)],
}

/// Judges whether a provider of a tenant takes an account by its address.
///
/// # Errors
///
/// Why it does not.
pub fn by_address(tenant: &str, account: Places<'_>) -> Result<(), NotLinked> {
    let Places { installation, roles } = account;
    if installation || roles.iter().any(|(_, role)| *role == Role::Owner) {
        Err(NotLinked::Owner)
    } else if roles.iter().any(|(other, _)| other != tenant) {
        Err(NotLinked::Elsewhere)
    } else if roles.is_empty() {
        Err(NotLinked::NoMember)
    } else {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judged(installation: bool, roles: &[(&str, Role)]) -> Result<(), NotLinked> {
        let roles: Vec<_> = roles.iter().map(|(tenant, role)| ((*tenant).to_owned(), *role)).collect();
        by_address("north", Places { installation, roles: &roles })
    }

    #[test]
    fn a_provider_takes_by_its_address_only_who_is_nothing_outside_its_tenant() {
        for role in Role::ALL {
            let owns = role == Role::Owner;
            assert_eq!(judged(false, &[("north", role)]), if owns { Err(NotLinked::Owner) } else { Ok(()) }, "{role}");
            let elsewhere = if owns { NotLinked::Owner } else { NotLinked::Elsewhere };
            assert_eq!(judged(false, &[("south", role)]), Err(elsewhere), "{role}");
            assert_eq!(judged(false, &[("north", Role::Viewer), ("south", role)]), Err(elsewhere), "{role}");
            assert_eq!(judged(true, &[("north", role)]), Err(NotLinked::Owner), "{role}");
        }
        assert_eq!(judged(false, &[]), Err(NotLinked::NoMember));
        assert_eq!(judged(true, &[]), Err(NotLinked::Owner));
        assert_eq!(
            judged(false, &[("North", Role::Viewer)]),
            Err(NotLinked::Elsewhere),
            "names are as they are written"
        );
    }

    #[test]
    fn what_a_stranger_reads_says_nothing_of_the_account() {
        let [off, owner, elsewhere, none] =
            [NotLinked::Off, NotLinked::Owner, NotLinked::Elsewhere, NotLinked::NoMember].map(NotLinked::advice);
        assert!(off == owner && owner == elsewhere && elsewhere == none && off.contains("password"));
    }
}
