//! Instants: absolute as they are served, relative to now by the script, which keeps the absolute one in the title.

use chrono::{DateTime, SecondsFormat, Utc};
use maud::{Markup, html};

/// An instant.
pub fn instant(at: DateTime<Utc>) -> Markup {
    let exact = at.to_rfc3339_opts(SecondsFormat::Millis, true);
    let shown = at.format("%Y-%m-%d %H:%M:%S UTC").to_string();
    html! { time datetime=(exact) title=(shown) { (shown) } }
}

/// An instant that may not be there.
pub fn maybe(at: Option<DateTime<Utc>>) -> Markup {
    html! { @if let Some(at) = at { (instant(at)) } @else { (super::number::none()) } }
}

/// How long ago an instant was, or how long it is until then, when it was read; the script goes on counting.
pub fn since(at: DateTime<Utc>) -> Markup {
    let exact = at.to_rfc3339_opts(SecondsFormat::Millis, true);
    let shown = at.format("%Y-%m-%d %H:%M:%S UTC").to_string();
    html! { time class="since" datetime=(exact) title=(shown) { (shown) } }
}
