//! Emails of jobs: what they say, and where they go. How they are built and handed over is the room `mail/`.
//!
//! * [`hold`]: a mailing of which too many recipients bounce is paused.
//! * [`made`]: the message and the recipients of a payload.
//! * [`measures`]: a batch's result as tables for people.
//! * `sandbox`: answers as addresses ask for them, and sends nothing.
//! * [`template`]: subject, text and HTML from a template and its data.
//! * [`transport`]: SMTP, a folder, or memory, as `[mail]` says.

pub mod hold;
pub mod made;
pub mod measures;
mod sandbox;
mod server;
pub mod template;
pub mod transport;

pub use template::{Rendered, Templates};
pub use transport::{Letter, Transport};
