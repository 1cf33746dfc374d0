//! Links to what has an id: short to the eye, whole in the title.

use gristmill_core::id::{BatchId, JobId};
use maud::{Markup, html};

/// The beginning and the end of an id: those of jobs that were enqueued together begin alike.
pub fn short(id: &str) -> String {
    match (id.get(..8), id.get(id.len().saturating_sub(4)..)) {
        (Some(first), Some(last)) if id.len() > 14 => format!("{first}…{last}"),
        _ => id.to_owned(),
    }
}

/// A job.
pub fn job(id: JobId) -> Markup {
    to(&format!("/jobs/{id}"), &id.to_string())
}

/// A batch.
pub fn batch(id: BatchId) -> Markup {
    to(&format!("/batches/{id}"), &id.to_string())
}

/// Anything else that has an id and a page.
pub fn to(href: &str, id: &str) -> Markup {
    html! { a class="mono id" href=(href) title=(id) { (short(id)) } }
}

/// A text that may be long: cut where it is shown, whole in the title.
pub fn cut(text: &str, most: usize) -> Markup {
    let shown: String = text.chars().take(most).collect();
    if shown.len() == text.len() {
        return html! { (text) };
    }
    let whole: String = text.chars().take(2_000).collect();
    html! { span title=(whole) { (shown) "…" } }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_known_by_both_of_its_ends() {
        assert_eq!(short("0198f9c1-7d3a-7e55-8d6b-0a1b2c3d4e5f"), "0198f9c1…4e5f");
        assert_eq!(short("mail"), "mail");
        assert_eq!(short("ééééééééééééééé"), "éééé…éé", "cut at characters where the bytes allow it");
        assert_eq!(cut("<b>", 9).into_string(), "&lt;b&gt;");
        assert!(cut("abcdef", 3).into_string().contains("abc…"));
    }
}
