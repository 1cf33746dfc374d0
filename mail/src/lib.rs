//! Letters: what they are made of, how they are handed over, and what the other side's answer means.
//!
//! * [`classify`]: what an answer of a mail server means for a recipient: one pure decision table.
//! * [`compose`]: the bytes of a message, the same at every attempt, and safe against smuggled headers.
//! * [`dkim`]: signatures of a domain over a message, and their verification (RFC 6376, RFC 8463).
//! * [`dsn`]: what servers report later: bounces (RFC 3464) and complaints (RFC 5965).
//! * [`signed`]: addresses and links that come back from strangers with our signature.
//! * [`transport`]: one message over SMTP, recipient by recipient.
//!
//! The room knows nothing of jobs, stores and settings: who calls it says what to send, and writes down what became of
//! it.

pub mod classify;
pub mod compose;
pub mod dkim;
pub mod dsn;
pub mod signed;
pub mod transport;

pub use lettre::Address;
pub use lettre::message::Mailbox;
