//! Small pictures. Each stands beside a word, or has one for those who do not see it.

use maud::{Markup, html};

/// A picture.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Icon {
    /// A tick: it is done.
    Done,
    /// A cross: it failed for good.
    Dead,
    /// A triangle: it needs a person.
    Warning,
    /// A ring with a part of it filled: it runs.
    Running,
    /// An empty ring: it waits.
    Waiting,
    /// A clock: its time comes.
    Clock,
    /// An arrow in a circle: it is tried again.
    Again,
    /// Two bars: it is paused.
    Paused,
    /// A ring with a bar: it was called off.
    Cancelled,
    /// A box: it is set aside.
    Aside,
    /// Two lines that meet: what is merged.
    Merge,
    /// A sun.
    Sun,
    /// A moon.
    Moon,
    /// A screen.
    Screen,
}

impl Icon {
    /// Its lines, on a field of 16 by 16.
    fn path(self) -> &'static str {
        match self {
            Self::Done => "M3 8.5l3.2 3.2L13 4.8",
            Self::Dead => "M4 4l8 8M12 4l-8 8",
            Self::Warning => "M8 2.2l6.3 11.3H1.7zM8 6.4v3.3M8 11.6v.2",
            Self::Running => "M8 2a6 6 0 1 1-6 6M8 5v3l2.2 1.4",
            Self::Waiting => "M8 2.5a5.5 5.5 0 1 0 0 11a5.5 5.5 0 1 0 0-11",
            Self::Clock => "M8 2.5a5.5 5.5 0 1 0 0 11a5.5 5.5 0 1 0 0-11M8 5v3.2l2.3 1.6",
            Self::Again => "M13 8a5 5 0 1 1-1.6-3.7M13 2.6V5h-2.4",
            Self::Paused => "M5.5 3.5v9M10.5 3.5v9",
            Self::Cancelled => "M8 2.5a5.5 5.5 0 1 0 0 11a5.5 5.5 0 1 0 0-11M4.3 11.7l7.4-7.4",
            Self::Aside => "M3 3h10v10H3zM6 6.2h4M6 9.8h4",
            Self::Merge => "M3 3.5c0 4.5 5 4.5 5 9M13 3.5c0 4.5-5 4.5-5 9",
            Self::Sun => {
                "M8 5a3 3 0 1 0 0 6a3 3 0 1 0 0-6M8 1.3v1.4M8 13.3v1.4M1.3 8h1.4M13.3 8h1.4M3.3 3.3l1 1M11.7 11.7l1 1M12.7 3.3l-1 1M4.3 11.7l-1 1"
            }
            Self::Moon => "M13.2 9.7A5.6 5.6 0 0 1 6.3 2.8a5.6 5.6 0 1 0 6.9 6.9z",
            Self::Screen => "M2 3h12v8H2zM6 13.5h4M8 11v2.5",
        }
    }
}

/// A picture, for the eye alone.
pub fn icon(icon: Icon) -> Markup {
    html! { svg class="icon" viewBox="0 0 16 16" aria-hidden="true" focusable="false" { path d=(icon.path()) {} } }
}
