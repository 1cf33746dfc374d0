//! Whether a change of a member's role is allowed, by the role of the one who asks for it.

use crate::access::Role;

/// Who changes a membership.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Changer {
    /// The owner of the database, or the installation itself: may do everything.
    Installation,
    /// A member with this role, for another one.
    Member(Role),
    /// A member with this role, for themselves.
    Themselves(Role),
}

/// Why a change is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// The role, as it is or as it would be, is not the changer's to give or take.
    #[error("`{changer}` may not give or take the role `{role}`; ask an owner of the tenant")]
    NotTheirs {
        /// The role of the one who asks.
        changer: Role,
        /// The role that is meant.
        role: Role,
    },
    /// The tenant would be left without an owner who can log in.
    #[error("it is the last owner of the tenant; appoint another owner first")]
    LastOwner,
}

/// Judges a change from one role to another; `None` is no member. `other_owners` is how many owners the tenant has
/// besides, of those who may log in.
///
/// # Errors
///
/// Why it is refused.
pub fn judge(changer: Changer, from: Option<Role>, to: Option<Role>, other_owners: u64) -> Result<(), Refused> {
    match changer {
        Changer::Installation => {}
        // Everybody may leave.
        Changer::Themselves(_) if to.is_none() => {}
        Changer::Member(own) | Changer::Themselves(own) => {
            if let Some(role) = [from, to].into_iter().flatten().find(|role| !own.may_appoint(*role)) {
                return Err(Refused::NotTheirs { changer: own, role });
            }
        }
    }
    if from == Some(Role::Owner) && to != Some(Role::Owner) && other_owners == 0 {
        return Err(Refused::LastOwner);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every role, and none.
    fn places() -> impl Iterator<Item = Option<Role>> {
        Role::ALL.into_iter().map(Some).chain([None])
    }

    #[test]
    fn nobody_raises_anybody_above_themselves() {
        for own in Role::ALL {
            for (from, to) in places().flat_map(|from| places().map(move |to| (from, to))) {
                let allowed = judge(Changer::Member(own), from, to, 5).is_ok();
                let expected = [from, to].into_iter().flatten().all(|role| own.may_appoint(role));
                assert_eq!(allowed, expected, "{own}: {from:?} to {to:?}");
                let themselves = judge(Changer::Themselves(own), Some(own), to, 5).is_ok();
                assert_eq!(
                    themselves,
                    to.is_none_or(|to| own.may_appoint(own) && own.may_appoint(to)),
                    "{own} to {to:?}"
                );
            }
        }
    }

    #[test]
    fn the_last_owner_stays_whoever_asks() {
        for changer in [Changer::Installation, Changer::Member(Role::Owner), Changer::Themselves(Role::Owner)] {
            for to in places().filter(|to| *to != Some(Role::Owner)) {
                assert_eq!(judge(changer, Some(Role::Owner), to, 0), Err(Refused::LastOwner));
                assert_eq!(judge(changer, Some(Role::Owner), to, 1), Ok(()));
            }
            assert_eq!(judge(changer, Some(Role::Owner), Some(Role::Owner), 0), Ok(()));
        }
    }
}
