//! A row of cells, small enough for a table: where in its input a batch is.

use maud::{Markup, html};

use super::heat::Look;

/// A row of cells of the same width.
pub fn strip(label: &str, looks: &[Look]) -> Markup {
    let width = looks.len().max(1) * 10;
    html! {
        svg class="bar" viewBox={ "0 0 " (width) " 10" } preserveAspectRatio="none" role="img" aria-label=(label) {
            title { (label) }
            rect class="bar-rest" width=(width) height="10" {}
            @for (at, look) in looks.iter().enumerate().filter(|(_, look)| **look != Look::Waiting) {
                rect class=(look.class()) x=(at * 10) width="9" height="10" {}
            }
        }
    }
}
