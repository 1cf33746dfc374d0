//! Notifications: what people read in a chat or are paged by, and what other programs watch.
//!
//! A channel is one `[notify.NAME]`: a service, its address and its secrets. A job of kind `notify` names a channel and
//! what happened; everything between the two is pure:
//!
//! * [`settings`]: what a channel is, and whether it makes sense.
//! * [`notice`]: what is said, made from an event; [`severity`]: how much it matters.
//! * [`words`]: a channel's own templates.
//! * [`services`]: the HTTP [`request`] by which a service takes it; [`chat`], [`incident`] and [`generic`] know the services.
//! * [`answer`]: what a service's answer means.

pub mod answer;
mod chat;
mod generic;
mod incident;
pub mod notice;
pub mod request;
pub mod services;
pub mod settings;
pub mod severity;
pub mod words;

pub use notice::Notice;
pub use request::{Request, Secrets};
pub use settings::{ChannelKind, ChannelSettings, NotifySettings};
pub use severity::Severity;
