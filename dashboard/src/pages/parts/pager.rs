//! The way to the next page of a list, by the key of its last row: a list that grows meanwhile shows no row twice.

use maud::{Markup, html};

use crate::pages::view::View;

/// The ways on from a page of a list, and back to its beginning. `next` is the key at which the next page begins.
pub fn pager(view: &View, rows: usize, next: Option<&str>) -> Markup {
    let begins = view.with("after", None);
    let is_first = begins == view.address();
    html! {
        nav class="pager" aria-label="Parts of the list" {
            span class="muted" { (super::number::counted(rows as u64, "row", "rows")) " here" }
            @if !is_first { a class="button" href=(begins) { "Newest" } }
            @if let Some(next) = next { a class="button" rel="next" href=(view.with("after", Some(next))) { "Older" } }
        }
    }
}
