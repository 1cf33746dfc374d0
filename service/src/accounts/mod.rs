//! People and programs: how they get accounts, tokens and sessions, and how they are recognized. docs/people.md says
//! what is promised.
//!
//! * [`Accounts`]: the verbs. Each that changes something takes an order and makes one transition of the store.
//! * [`Recognizer`]: from a secret to the caller, kept for [`recognize::KEPT`] at most.
//! * [`Passwords`]: argon2id, off the threads that serve. [`totp`]: codes of a second factor.
//! * [`IssuedTokens`]: access tokens, which are JWTs, and the refresh tokens behind them.
//! * [`Providers`]: logins elsewhere, by OpenID Connect.
//! * [`Secret`]: what must not be shown.

mod access;
mod error;
mod factors;
mod invitations;
mod jwt;
mod letters;
mod members;
mod oidc;
mod password;
pub mod recognize;
mod registrations;
mod sealing;
mod secret;
mod sessions;
mod settings;
mod tenants;
mod tokens;
pub mod totp;
mod users;
mod verbs;
mod verifying;

pub use access::IssuedTokens;
pub use error::{AccountError, Result};
pub use factors::{OfferedFactor, Proof, RECOVERY_CODES};
pub use jwt::ACCESS_LIFETIME;
pub use letters::MAIL_TENANT;
pub use members::NewMember;
pub use oidc::{BegunLogin, KnownLogin, LOGIN_LIFETIME, LinkProof, LoginAnswer, OidcSettings, Providers, Visitor};
pub use password::{PASSWORD_CHARS_MAX, PASSWORD_CHARS_MIN, Passwords, check_hash};
pub use recognize::Recognizer;
pub use secret::{Purpose, Secret};
pub use sessions::{LoggedIn, Login};
pub use settings::{AccountSettings, Registering};
pub use tokens::{CreatedToken, TokenRequest};
pub use verbs::Accounts;
