//! Instants: absolute as they are served, in UTC or the zone that the person has chosen; relative to now by the script,
//! which keeps the absolute one in the title.

use chrono::{DateTime, SecondsFormat, Utc};
use maud::{Markup, html};

use crate::gate::zone;

/// What stands for no zone of one's own.
pub const UTC: &str = "UTC";

/// The zone in which instants are shown.
pub fn zone_name() -> &'static str {
    zone::chosen().map_or(UTC, |zone| zone.name())
}

/// An instant as a text, in the zone that the person has chosen.
pub fn shown(at: DateTime<Utc>) -> String {
    match zone::chosen() {
        Some(zone) => at.with_timezone(&zone).format("%Y-%m-%d %H:%M:%S %Z").to_string(),
        None => at.format("%Y-%m-%d %H:%M:%S UTC").to_string(),
    }
}

/// An instant.
pub fn instant(at: DateTime<Utc>) -> Markup {
    let exact = at.to_rfc3339_opts(SecondsFormat::Millis, true);
    let shown = shown(at);
    html! { time datetime=(exact) title=(shown) { (shown) } }
}

/// An instant that may not be there.
pub fn maybe(at: Option<DateTime<Utc>>) -> Markup {
    html! { @if let Some(at) = at { (instant(at)) } @else { (super::number::none()) } }
}

/// How long ago an instant was, or how long it is until then, when it was read; the script goes on counting.
pub fn since(at: DateTime<Utc>) -> Markup {
    let exact = at.to_rfc3339_opts(SecondsFormat::Millis, true);
    let shown = shown(at);
    html! { time class="since" datetime=(exact) title=(shown) { (shown) } }
}
