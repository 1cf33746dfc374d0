//! Users, tenants, members, tokens, sessions, links.
//!
//! Whatever may leave a tenant without an owner, or depends on a member's role, locks the row of the tenant first; of
//! several tenants in the order of their names.

pub(crate) mod factors;
pub(crate) mod federated;
mod judged;
pub(crate) mod keys;
pub(crate) mod links;
pub(crate) mod login;
mod noted;
mod person;
pub(crate) mod refresh;
pub(crate) mod sessions;
pub(crate) mod tenants;
pub(crate) mod tokens;
pub(crate) mod use_link;
pub(crate) mod users;
