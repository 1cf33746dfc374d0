//! Parts of a page.

use maud::{Markup, html};

use super::icon::{Icon, icon};
use super::state::Tone;

/// The head of a page: its title, what it is about, and what can be done.
pub fn head(title: impl maud::Render, about: impl maud::Render, acts: Markup) -> Markup {
    html! {
        div class="head" {
            div { h1 { (title) } p class="about" { (about) } }
            div class="acts" { (acts) }
        }
    }
}

/// A part with a heading.
pub fn panel(id: &str, heading: &str, inner: Markup) -> Markup {
    html! {
        section class="panel" id=(id) aria-labelledby={ (id) "-heading" } {
            h2 id={ (id) "-heading" } { (heading) }
            (inner)
        }
    }
}

/// A part that may not have been read in time: it says so, and the rest of the page stands.
pub fn late_panel<T>(id: &str, heading: &str, read: Option<T>, inner: impl FnOnce(T) -> Markup) -> Markup {
    panel(
        id,
        heading,
        match read {
            Some(read) => inner(read),
            None => {
                html! { p class="muted" { "This could not be read within a second. The rest of the page is as of now." } }
            }
        },
    )
}

/// A remark about the whole page, by its shape and its tone.
pub fn note(tone: Tone, shape: Icon, text: Markup) -> Markup {
    html! { p class={ "note " (tone.class()) } { (icon(shape)) span { (text) } } }
}

/// A number with its name: `href` leads to what is counted.
pub fn tile(name: &str, value: impl maud::Render, note: impl maud::Render, class: &str, href: Option<&str>) -> Markup {
    let inner = html! {
        span class="tile-name" { (name) }
        span class="tile-value" { (value) }
        span class="tile-note" { (note) }
    };
    html! {
        @if let Some(href) = href { a class={ "tile " (class) } href=(href) { (inner) } }
        @else { div class={ "tile " (class) } { (inner) } }
    }
}
