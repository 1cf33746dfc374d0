//! Who calls: the credentials that a request carries, and the caller that they stand for.
//!
//! * [`recognize`]: from a credential to a [`Principal`](gristmill_core::access::Principal).

pub mod recognize;

pub use recognize::{Credential, Nobody, Recognize, Secret, Unrecognized};
