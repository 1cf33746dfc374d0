//! The pages that there are: each with its path, its name and the permission that it asks for.

use gristmill_core::access::{Permission, Principal};

/// An entry of the navigation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Entry {
    /// Its path.
    pub path: &'static str,
    /// Its name.
    pub name: &'static str,
    /// The key that leads to it after `g`.
    pub key: char,
    /// What a caller needs to see it.
    pub permission: Permission,
}

const fn entry(path: &'static str, name: &'static str, key: char, permission: Permission) -> Entry {
    Entry { path, name, key, permission }
}

/// The navigation, in its order. A test compares it with the routes: an entry whose page is not there, or asks for
/// something else, is a fault.
pub const NAV: &[Entry] =
    &[entry("/", "Overview", 'o', Permission::QueuesRead), entry("/batches", "Batches", 'b', Permission::BatchesRead)];

/// Whether there is a page in the navigation with that path.
pub fn exists(path: &str) -> bool {
    NAV.iter().any(|entry| entry.path == path)
}

/// What a caller may see of the navigation.
pub fn of(caller: &Principal) -> impl Iterator<Item = &'static Entry> {
    NAV.iter().filter(|entry| caller.may(entry.permission))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::super::routes;
    use super::*;
    use crate::gate::Access;

    #[test]
    fn every_entry_is_a_page_and_asks_for_what_that_asks_for() {
        let routes = routes();
        for entry in NAV {
            let found = routes.endpoints().find(|endpoint| endpoint.method == "GET" && endpoint.path == entry.path);
            let page = found.unwrap_or_else(|| panic!("there is no page {}", entry.path));
            assert_eq!(page.access, Access::Permitted(entry.permission), "{}", entry.path);
        }
        let keys: BTreeSet<char> = NAV.iter().map(|entry| entry.key).collect();
        assert_eq!(keys.len(), NAV.len(), "each has a key of its own");
    }
}
