//! The whole table of roles and permissions, and what it must never allow.

use std::fmt::Write as _;

use gristmill_core::access::{Permission, Principal, Role, Subject};
use gristmill_core::id::UserId;
use uuid::Uuid;

fn principal(role: Role, scopes: Option<Vec<Permission>>) -> Principal {
    let subject = Subject::User(UserId(Uuid::nil()));
    Principal {
        subject,
        name: "ada@example.org".to_owned(),
        tenant: "main".to_owned(),
        role,
        scopes,
        installation: false,
    }
}

#[test]
fn the_whole_table_of_roles_and_permissions_is_as_agreed() {
    let mut table = format!("{:<20}", "permission");
    for role in Role::ALL {
        write!(table, " {role:<8}").expect("a string takes everything");
    }
    for permission in Permission::ALL {
        write!(table, "\n{permission:<20}").expect("a string takes everything");
        for role in Role::ALL {
            write!(table, " {:<8}", if role.allows(permission) { "yes" } else { "-" })
                .expect("a string takes everything");
        }
    }
    let table: Vec<&str> = table.lines().map(str::trim_end).collect();
    insta::assert_snapshot!(table.join("\n"));
}

#[test]
fn those_who_only_look_change_nothing() {
    for permission in Permission::ALL {
        let changes = !permission.as_str().ends_with(":read");
        for role in [Role::Viewer, Role::Auditor] {
            assert!(!(changes && role.allows(permission)), "{role} may {permission}");
        }
    }
}

#[test]
fn a_higher_role_may_all_that_the_one_below_it_may() {
    for permission in Permission::ALL {
        for (lower, higher) in [
            (Role::Viewer, Role::Operator),
            (Role::Operator, Role::Admin),
            (Role::Admin, Role::Owner),
            (Role::Auditor, Role::Admin),
        ] {
            assert!(
                !lower.allows(permission) || higher.allows(permission),
                "{higher} may not {permission}, {lower} may"
            );
        }
    }
}

#[test]
fn no_role_appoints_one_above_itself() {
    for role in Role::ALL {
        for other in Role::ALL.into_iter().filter(|other| role.may_appoint(*other)) {
            assert!(role.allows(Permission::UsersChange), "{role} appoints {other} and may not change members");
            let beyond = Permission::ALL.into_iter().find(|each| other.allows(*each) && !role.allows(*each));
            assert_eq!(beyond, None, "{role} appoints {other}, who may more");
        }
    }
}

#[test]
fn a_scope_takes_away_and_never_adds() {
    let all = principal(Role::Viewer, Some(Permission::ALL.to_vec()));
    let none = principal(Role::Owner, Some(Vec::new()));
    for permission in Permission::ALL {
        assert_eq!(all.may(permission), Role::Viewer.allows(permission), "{permission}");
        assert!(!none.may(permission), "{permission}");
        assert!(principal(Role::Owner, Some(vec![permission])).may(permission), "{permission}");
    }
}
