//! Who calls: the credentials that a request carries, and the caller that they stand for.
//!
//! * `people`: the users, tokens and sessions of the store.
//! * [`recognize`]: from a credential to a [`Principal`](gristmill_core::access::Principal).

mod people;
pub mod recognize;

pub use gristmill_service::accounts::Secret;
pub use recognize::{Credential, KnownCaller, Recognize, Unrecognized};
