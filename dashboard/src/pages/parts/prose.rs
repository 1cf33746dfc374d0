//! Sentences of this program, in which a name or a command stands between backticks.

use maud::{Markup, html};

/// The sentence, with what is between backticks as code. One whose backticks are no pairs is left as it is.
pub fn prose(text: &str) -> Markup {
    let parts: Vec<&str> = text.split('`').collect();
    if parts.len().is_multiple_of(2) {
        return html! { (text) };
    }
    html! {
        @for (index, part) in parts.iter().enumerate() {
            @if index % 2 == 1 { code { (part) } } @else { (part) }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_between_backticks_is_code_and_everything_stays_text() {
        for (text, shown) in [
            ("run `gristmill db migrate`", "run <code>gristmill db migrate</code>"),
            ("`a` or `b`", "<code>a</code> or <code>b</code>"),
            ("nothing", "nothing"),
            ("a lonely ` and <b>", "a lonely ` and &lt;b&gt;"),
            ("`<script>`", "<code>&lt;script&gt;</code>"),
        ] {
            assert_eq!(prose(text).into_string(), shown);
        }
    }
}
