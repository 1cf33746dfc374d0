//! Emails of jobs: what they say, and where they go. How they are built and handed over is the room `mail/`.
//!
//! * [`hold`]: a mailing of which too many recipients bounce is paused.
//! * [`made`]: the message and the recipients of a payload.
//! * [`measures`]: a batch's result as tables for people.
//! * `domains`: how fast recipients' domains may be sent to.
//! * [`relays`]: which server takes a message.
//! * `sandbox`: answers as addresses ask for them, and sends nothing.
//! * [`template`]: subject, text and HTML from a template and its data.
//! * [`transport`]: SMTP, a folder, or memory, as `[mail]` says.

mod domains;
pub mod hold;
pub mod made;
pub mod measures;
pub mod relays;
mod sandbox;
mod server;
pub mod template;
pub mod transport;

pub use template::{Rendered, Templates};
pub use transport::{Letter, Transport};
