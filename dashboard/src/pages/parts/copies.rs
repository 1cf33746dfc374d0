//! What a page shows, as a command and over the API: what can be seen can be had by a program.

use maud::{Markup, html};

use crate::gate::text::encoded;

/// The same as a command, and over the API. Both can be copied.
pub fn copies(command: &str, path: &str) -> Markup {
    let request = format!("curl -s \"$GRISTMILL_URL{path}\" -H \"Authorization: Bearer $TOKEN\"");
    html! {
        details class="copies" id="copies" {
            summary { "As a command, over the API" }
            (copy("copy-command", "Command", command))
            (copy("copy-api", "API", &request))
        }
    }
}

/// A text that can be copied.
pub fn copy(id: &str, name: &str, text: &str) -> Markup {
    html! {
        div class="copy" {
            span class="copy-name" { (name) }
            code id=(id) { (text) }
            button type="button" class="quiet script" data-copy=(id) { "Copy" }
        }
    }
}

/// A word for the shell: in quotes where it needs them.
pub fn shell(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:=,@%+".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', "'\\''"))
    }
}

/// A path with a query, of the pairs that have a value.
pub fn path(path: &str, pairs: &[(&str, Option<&str>)]) -> String {
    let pairs = pairs.iter().filter_map(|(name, value)| Some(format!("{name}={}", encoded((*value)?))));
    let query: Vec<String> = pairs.collect();
    if query.is_empty() { path.to_owned() } else { format!("{path}?{}", query.join("&")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_stays_one_word_in_a_shell() {
        for (word, shown) in
            [("retail", "retail"), ("a b", "'a b'"), ("", "''"), ("it's", "'it'\\''s'"), ("$(x)", "'$(x)'")]
        {
            assert_eq!(shell(word), shown);
        }
        assert_eq!(path("/api/v1/batches", &[("name", Some("a&b")), ("state", None)]), "/api/v1/batches?name=a%26b");
    }
}
