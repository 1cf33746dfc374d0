//! What stands where nothing is: why, and how something would come there.

use maud::{Markup, html};

/// Nothing is here. `commands` are what would change that.
pub fn empty(title: &str, text: impl maud::Render, commands: &[&str]) -> Markup {
    html! {
        div class="empty" {
            p class="empty-title" { (title) }
            p { (text) }
            @for command in commands { pre { code { (command) } } }
        }
    }
}
