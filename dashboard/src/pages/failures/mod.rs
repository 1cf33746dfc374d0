//! What failed: dead letters, one by one and by their errors, and the errors of all that is dead or tried again.
//!
//! * [`dead`]: dead letters.
//! * [`errors`]: errors by fingerprint.
//! * [`groups`]: which jobs have the same error.

mod dead;
mod errors;
mod groups;

use crate::gate::Routes;

pub(super) fn routes() -> Routes {
    dead::routes().and(errors::routes())
}
