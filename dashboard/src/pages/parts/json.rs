//! JSON, as it is, with its beginning alone when it is long.

use maud::{Markup, html};
use serde_json::Value;

/// The most characters that are shown.
const CHARS_MAX: usize = 64 * 1024;

/// A value. What is cut off can be had from the API.
pub fn json(id: &str, value: &Value) -> Markup {
    let text = serde_json::to_string_pretty(value).unwrap_or_else(|error| format!("cannot be written: {error}"));
    let end = text.char_indices().nth(CHARS_MAX).map(|(at, _)| at);
    html! {
        pre class="json" id=(id) tabindex="0" { code { (&text[..end.unwrap_or(text.len())]) } }
        @if end.is_some() { p class="muted" { "This is the beginning; the API has all of it." } }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_is_long_is_cut_and_what_is_hostile_stays_text() {
        let html = json("x", &json!({ "a": "</code><script>" })).into_string();
        assert!(!html.contains("<script>") && html.contains("&lt;script&gt;"), "{html}");
        let long = json("x", &json!("ä".repeat(100_000))).into_string();
        assert!(long.len() < 140_000 && long.contains("the API has all of it"));
    }
}
