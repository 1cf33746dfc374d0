//! The pages that there are: each with its path, its name and the permission that it asks for.

use gristmill_core::access::{Permission, Principal};

use crate::gate::Access;
use crate::gate::caller::authorize;

/// An entry of the navigation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Entry {
    /// Its path.
    pub path: &'static str,
    /// Its name.
    pub name: &'static str,
    /// The key that leads to it after `g`.
    pub key: char,
    /// Who sees it.
    pub access: Access,
}

const fn entry(path: &'static str, name: &'static str, key: char, permission: Permission) -> Entry {
    Entry { path, name, key, access: Access::Permitted(permission) }
}

/// An entry for owners of the installation alone.
const fn overseen(path: &'static str, name: &'static str, key: char, permission: Permission) -> Entry {
    Entry { path, name, key, access: Access::Installation(permission) }
}

/// An entry for everybody who is recognized.
const fn own(path: &'static str, name: &'static str, key: char) -> Entry {
    Entry { path, name, key, access: Access::Recognized }
}

/// The navigation, in its order. A test compares it with the routes: an entry whose page is not there, or asks for
/// something else, is a fault.
pub const NAV: &[Entry] = &[
    entry("/", "Overview", 'o', Permission::QueuesRead),
    entry("/batches", "Batches", 'b', Permission::BatchesRead),
    entry("/jobs", "Jobs", 'j', Permission::JobsRead),
    entry("/errors", "Errors", 'e', Permission::JobsRead),
    entry("/dead", "Dead letters", 'd', Permission::JobsRead),
    entry("/quarantine", "Quarantine", 'q', Permission::QuarantineRead),
    entry("/email", "Emails", 'm', Permission::EmailsRead),
    entry("/queues", "Queues", 'u', Permission::QueuesRead),
    entry("/history", "History", 'h', Permission::QueuesRead),
    entry("/schedules", "Schedules", 's', Permission::SchedulesRead),
    entry("/triggers", "Triggers", 't', Permission::SchedulesRead),
    entry("/events", "Events", 'v', Permission::EventsRead),
    entry("/workers", "Workers", 'w', Permission::WorkersRead),
    entry("/operations", "Operations", 'r', Permission::OperationsRead),
    entry("/people", "People", 'p', Permission::UsersRead),
    entry("/audit", "Audit", 'a', Permission::AuditRead),
    overseen("/tenants", "Tenants", 'n', Permission::UsersRead),
    overseen("/system", "System", 'y', Permission::SystemRead),
    own("/account", "Account", 'c'),
];

/// Whether there is a page in the navigation with that path.
pub fn exists(path: &str) -> bool {
    NAV.iter().any(|entry| entry.path == path)
}

/// What a caller may see of the navigation.
pub fn of(caller: &Principal) -> impl Iterator<Item = &'static Entry> {
    NAV.iter().filter(|entry| authorize(entry.access, Some(caller)).is_ok())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::super::routes;
    use super::*;

    #[test]
    fn every_entry_is_a_page_and_asks_for_what_that_asks_for() {
        let routes = routes();
        for entry in NAV {
            let found = routes.endpoints().find(|endpoint| endpoint.method == "GET" && endpoint.path == entry.path);
            let page = found.unwrap_or_else(|| panic!("there is no page {}", entry.path));
            assert_eq!(page.access, entry.access, "{}", entry.path);
        }
        let keys: BTreeSet<char> = NAV.iter().map(|entry| entry.key).collect();
        assert_eq!(keys.len(), NAV.len(), "each has a key of its own");
    }
}
