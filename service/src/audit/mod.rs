//! The audit beyond single entries: it is verified, its heads are signed, its oldest entries are archived and removed.
//!
//! * [`AuditSettings`]: `[audit]`. [`SigningKey`]: the key that signs heads.
//! * [`sign_heads`]: the duty of a day. [`heads_of`]: heads that were kept outside the database.
//! * [`verify()`]: follows a chain over archive and store, and says what does not fit.
//! * [`prune()`]: archives and removes what is kept for long enough.

mod archived;
mod heads;
mod key;
mod prune;
mod settings;
mod verify;

pub use archived::archived_tenants;
pub use heads::{heads_of, sign_heads};
pub use key::{SigningKey, fits};
pub use prune::prune;
pub use settings::AuditSettings;
pub use verify::{Verified, VerifyOptions, verify};
