//! Emails: what they say, how they are built, and how they are handed over.
//!
//! * [`measures`]: a batch's result as tables for people.
//! * [`template`]: subject, text and HTML from a template and its data.
//! * [`message`]: the bytes of a message, the same at every attempt.
//! * `header`: header lines that hold any text and stay short.
//! * [`transport`]: SMTP, a folder, or memory.
//! * [`delivery`]: what became of a message.

pub mod delivery;
mod header;
pub mod measures;
pub mod message;
mod smtp;
pub mod template;
pub mod transport;

pub use delivery::{Delivered, NotDelivered};
pub use message::{Composed, Draft};
pub use template::{Rendered, Templates};
pub use transport::Transport;
