//! What the tests of all rooms share, one of each. It knows no room, so that it can judge all of them.
//!
//! Everything here is for tests alone, and panics where a test could not go on.
//!
//! * [`mod@cargo`]: cargo, called by a test that cargo runs.
//! * [`random`]: numbers that follow from a seed.
//! * [`proxy`]: a TCP proxy that delays, holds back, cuts and refuses connections.
//! * [`mod@postfix`]: Postfix as a peer, its sink and a whole server.
//! * [`smtp`]: a mail server that keeps what it receives and misbehaves as a test says.
//! * [`http`]: an HTTP service that answers as a test says and keeps what it was asked.
//! * [`oidc`]: a provider of OpenID Connect that signs what a test says of a person.
//! * [`tls`]: certificates for servers, and the authority that signs them.

pub mod cargo;
mod frames;
pub mod http;
pub mod oidc;
pub mod postfix;
pub mod proxy;
pub mod random;
pub mod smtp;
pub mod tls;

pub use cargo::cargo;
pub use http::FakeHttp;
pub use proxy::Proxy;
pub use random::Random;
pub use smtp::FakeSmtp;
