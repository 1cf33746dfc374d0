//! What a value may do to the text that it is put into, by the place where that text is used: it fills its place and
//! never becomes a part of what stands around it.

use serde_json::Value;

use super::RenderError;
use super::template::{MARK, Part, Scope, parts, printed};

/// The most bytes of one component of a path.
const COMPONENT_BYTES_MAX: usize = 255;

/// Where a text is used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    /// In JSON: a value is itself.
    Json,
    /// In a text of any length.
    Text,
    /// In one line, such as a subject or the value of a header.
    Line,
    /// In HTML: escaped.
    Html,
    /// In the path or the query of a URL: percent-encoded.
    Url,
    /// In one component of a path. `glob` says that the path may be a pattern.
    Path {
        /// Whether `*`, `?` and `[` have a meaning.
        glob: bool,
    },
    /// Nothing may be put in here.
    Never,
}

impl Place {
    /// The text with its expressions replaced.
    ///
    /// # Errors
    ///
    /// When the place has no room for an expression, or for a value.
    pub(super) fn fill(self, text: &str, scope: &Scope) -> Result<Value, RenderError> {
        if !text.contains(MARK) {
            return Ok(Value::from(text));
        }
        let filled = match self {
            Self::Json => match parts(text)?.as_slice() {
                [Part::Expression(expression)] => return scope.value(expression),
                _ => scope.fill(text, |value, _| Ok(printed(value)))?,
            },
            Self::Text => scope.fill(text, |value, expression| without(value, expression, |found| found == '\0'))?,
            Self::Line => line(text, scope)?,
            Self::Html => scope.fill(text, |value, _| Ok(escaped(&printed(value))))?,
            Self::Url => url(text, scope)?,
            Self::Path { glob } => path(text, glob, scope)?,
            Self::Never => {
                return Err(RenderError::Wrong(
                    "`{{ … }}` cannot be used here: a value would decide what is done, not what it is done with"
                        .to_owned(),
                ));
            }
        };
        Ok(Value::String(filled))
    }
}

/// The value as a text, unless it has a character that is not wanted.
fn without(value: &Value, expression: &str, unwanted: impl Fn(char) -> bool) -> Result<String, RenderError> {
    let text = printed(value);
    if text.chars().any(unwanted) {
        return Err(RenderError::Unfit(format!("`{expression}` has a character that cannot be used there")));
    }
    Ok(text)
}

fn line(text: &str, scope: &Scope) -> Result<String, RenderError> {
    // `env:NAME` is how a header names a variable of the worker: a value neither is nor becomes that.
    let named = text.starts_with("env:");
    let filled = scope.fill(text, |value, expression| without(value, expression, char::is_control))?;
    match (named, filled.starts_with("env:")) {
        (true, _) => Err(RenderError::Wrong("the name of a variable cannot come from `{{ … }}`".to_owned())),
        (false, true) => Err(RenderError::Unfit("a value that begins with `env:` cannot be used there".to_owned())),
        (false, false) => Ok(filled),
    }
}

fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            other => escaped.push(other),
        }
    }
    escaped
}

/// Where the authority of a URL ends: the first of the characters that may follow it.
fn authority_end(literal: &str) -> Option<usize> {
    let begin = literal.find("://")? + "://".len();
    literal[begin..].find(['/', '?', '#']).map(|at| begin + at)
}

fn url(text: &str, scope: &Scope) -> Result<String, RenderError> {
    let parts = parts(text)?;
    let end = match parts.first() {
        Some(Part::Literal(literal)) => authority_end(literal),
        Some(Part::Expression(_)) | None => None,
    };
    let Some(end) = end else {
        return Err(RenderError::Wrong(
            "scheme and host cannot come from `{{ … }}`; write them out, such as \
             `https://example.com/order/{{ event.body.order }}`"
                .to_owned(),
        ));
    };
    // A mark of its own around each value, to see afterwards what became of the segments of the path.
    let marked = scope.fill(text, |value, _| Ok(format!("\0{}\0", encoded(&printed(value)))))?;
    let path_end = marked.find(['?', '#']).unwrap_or(marked.len());
    for segment in marked[end.min(path_end)..path_end].split('/').filter(|segment| segment.contains('\0')) {
        let bare = segment.replace('\0', "").to_ascii_lowercase().replace("%2e", ".");
        if ["", ".", ".."].contains(&bare.as_str()) {
            return Err(RenderError::Unfit("a value is empty or means another path".to_owned()));
        }
    }
    Ok(marked.replace('\0', ""))
}

/// The text with everything but unreserved characters (RFC 3986) as `%XX`.
fn encoded(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            encoded.push_str(&format!("%{byte:02X}"));
        }
    }
    encoded
}

fn path(text: &str, glob: bool, scope: &Scope) -> Result<String, RenderError> {
    let unwanted = |found: char| found == '/' || found.is_control() || (glob && "*?[]".contains(found));
    let marked = scope.fill(text, |value, expression| Ok(format!("\0{}\0", without(value, expression, unwanted)?)))?;
    for component in marked.split('/').filter(|component| component.contains('\0')) {
        let bare = component.replace('\0', "");
        if ["", ".", "..", "-"].contains(&bare.as_str()) || bare.len() > COMPONENT_BYTES_MAX {
            return Err(RenderError::Unfit("a value is not the name of a file".to_owned()));
        }
    }
    Ok(marked.replace('\0', ""))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn filled(place: Place, text: &str, value: Value) -> Result<Value, RenderError> {
        let params = json!({ "event": { "body": { "x": value } } });
        place.fill(text, &Scope::of(&params, gristmill_core::schedule::Zone::UTC))
    }

    #[test]
    fn a_value_in_json_is_itself_and_in_a_text_prints_as_json() {
        for value in [json!(null), json!(true), json!(["a"]), json!({"b": 1}), json!(9_007_199_254_740_993_u64)] {
            assert_eq!(filled(Place::Json, "{{ event.body.x }}", value.clone()), Ok(value.clone()));
            let shown = format!("it is {value}");
            assert_eq!(filled(Place::Json, "it is {{ event.body.x }}", value), Ok(json!(shown)));
        }
    }

    #[test]
    fn a_value_never_leaves_its_place_in_a_url() {
        let at =
            |value: &str| filled(Place::Url, "https://h/a/{{ event.body.x }}/b?q={{ event.body.x }}", json!(value));
        assert_eq!(at("o 1/ä&b#?"), Ok(json!("https://h/a/o%201%2F%C3%A4%26b%23%3F/b?q=o%201%2F%C3%A4%26b%23%3F")));
        for value in ["..", ".", ""] {
            assert!(matches!(at(value), Err(RenderError::Unfit(_))), "{value}");
        }
        assert!(matches!(
            filled(Place::Url, "https://h/%2E{{ event.body.x }}", json!(".")),
            Err(RenderError::Unfit(_))
        ));
        assert_eq!(filled(Place::Url, "https://h?q={{ event.body.x }}", json!("..")), Ok(json!("https://h?q=..")));
        for text in [
            "{{ event.body.x }}",
            "https://{{ event.body.x }}/",
            "https://h{{ event.body.x }}/",
            "{{ event.body.x }}://h/",
            "https://u:{{ event.body.x }}@h/",
        ] {
            assert!(matches!(filled(Place::Url, text, json!("x")), Err(RenderError::Wrong(_))), "{text}");
        }
    }

    #[test]
    fn a_value_is_one_component_of_a_path() {
        let at = |text: &str, value: &str| filled(Place::Path { glob: true }, text, json!(value));
        assert_eq!(at("in/{{ event.body.x }}.csv", "a b"), Ok(json!("in/a b.csv")));
        for (text, value) in [
            ("in/{{ event.body.x }}.csv", "../a"),
            ("in/{{ event.body.x }}", ".."),
            ("in/.{{ event.body.x }}/a", "."),
            ("in/{{ event.body.x }}", ""),
            ("{{ event.body.x }}", "-"),
            ("in/{{ event.body.x }}", "a\0b"),
            ("in/{{ event.body.x }}", "*"),
            ("in/{{ event.body.x }}", &"x".repeat(256)),
        ] {
            assert!(matches!(at(text, value), Err(RenderError::Unfit(_))), "{text} {value}");
        }
    }

    #[test]
    fn a_value_begins_no_line_names_no_variable_and_opens_no_tag() {
        let line = |text: &str, value: &str| filled(Place::Line, text, json!(value));
        assert_eq!(line("Order {{ event.body.x }}", "7"), Ok(json!("Order 7")));
        for value in ["a\r\nBcc: x", "a\nb", "env:SECRET"] {
            assert!(matches!(line("{{ event.body.x }}", value), Err(RenderError::Unfit(_))), "{value}");
        }
        assert!(matches!(line("env:{{ event.body.x }}", "A"), Err(RenderError::Wrong(_))));
        let html = filled(Place::Html, "<p>{{ event.body.x }}</p>", json!("<b a='1'>&"));
        assert_eq!(html, Ok(json!("<p>&lt;b a=&#39;1&#39;&gt;&amp;</p>")));
        assert!(matches!(filled(Place::Never, "{{ event.body.x }}", json!("x")), Err(RenderError::Wrong(_))));
    }
}
