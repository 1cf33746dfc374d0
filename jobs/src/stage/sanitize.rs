//! Stage `sanitize`: cleans every text of an item, however deeply nested. Refuses nothing.

use std::borrow::Cow;
use std::collections::BTreeSet;

use ammonia::Builder;
use gristmill_core::definition::{HtmlPolicy, SanitizeSpec};
use serde_json::Value;
use unicode_normalization::{UnicodeNormalization, is_nfc};

/// What is cleaned.
#[derive(Debug)]
pub struct Sanitize {
    spec: SanitizeSpec,
    fields: Option<BTreeSet<String>>,
    html: Option<Builder<'static>>,
}

impl Sanitize {
    /// Prepares the rules.
    pub fn compile(spec: &SanitizeSpec) -> Self {
        let html = spec.html.map(|policy| match policy {
            HtmlPolicy::Strip => Builder::empty(),
            HtmlPolicy::Safe => Builder::default(),
        });
        Self { fields: spec.fields.as_ref().map(|fields| fields.iter().cloned().collect()), html, spec: spec.clone() }
    }

    /// Cleans the item's texts.
    pub fn clean(&self, item: &mut Value) {
        match (item, &self.fields) {
            (Value::Object(object), Some(fields)) => {
                for (_, value) in object.iter_mut().filter(|(name, _)| fields.contains(name.as_str())) {
                    self.clean_all(value);
                }
            }
            (item, _) => self.clean_all(item),
        }
    }

    /// Whether it cleans the field of this name.
    pub(crate) fn cleans(&self, field: &str) -> bool {
        self.fields.as_ref().is_none_or(|fields| fields.contains(field))
    }

    fn clean_all(&self, value: &mut Value) {
        match value {
            Value::String(text) => {
                let clean = match self.clean_text(text) {
                    Cow::Borrowed(clean) if clean.len() == text.len() => return,
                    clean => clean.into_owned(),
                };
                *text = clean;
            }
            Value::Array(values) => values.iter_mut().for_each(|value| self.clean_all(value)),
            Value::Object(object) => object.values_mut().for_each(|value| self.clean_all(value)),
            Value::Null | Value::Bool(_) | Value::Number(_) => {}
        }
    }

    /// A text as it is when it is clean. Mark-up is removed first, because what it leaves may have white space at its
    /// ends.
    pub(crate) fn clean_text<'a>(&self, text: &'a str) -> Cow<'a, str> {
        let mut text = Cow::Borrowed(text);
        if let Some(html) = self.html.as_ref().filter(|_| text.contains(['<', '>', '&'])) {
            let clean = html.clean(&text).to_string();
            text = Cow::Owned(match self.spec.html {
                Some(HtmlPolicy::Strip) => unescaped(&clean),
                _ => clean,
            });
        }
        if self.spec.control && text.contains(is_harmful) {
            text = Cow::Owned(text.replace(is_harmful, ""));
        }
        if self.spec.nfc && !is_nfc(&text) {
            text = Cow::Owned(text.nfc().collect());
        }
        if self.spec.trim {
            text = match text {
                Cow::Borrowed(text) => Cow::Borrowed(text.trim()),
                Cow::Owned(text) if text.trim().len() == text.len() => Cow::Owned(text),
                Cow::Owned(text) => Cow::Owned(text.trim().to_owned()),
            };
        }
        text
    }
}

fn is_harmful(character: char) -> bool {
    character.is_control() && !matches!(character, '\t' | '\n' | '\r')
}

/// `strip` returns text, not mark-up: an ampersand is an ampersand again. What this restores can no more be a tag than
/// any other text that was `&lt;b&gt;` in the source.
fn unescaped(text: &str) -> String {
    text.replace("&lt;", "<").replace("&gt;", ">").replace("&nbsp;", "\u{a0}").replace("&amp;", "&")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn cleaned(spec: &SanitizeSpec, mut item: Value) -> Value {
        Sanitize::compile(spec).clean(&mut item);
        item
    }

    #[test]
    fn each_option_does_its_own_and_reaches_every_depth() {
        let all = SanitizeSpec { trim: true, nfc: true, control: true, html: Some(HtmlPolicy::Strip), fields: None };
        assert_eq!(
            cleaned(
                &all,
                json!({ "a": " Cafe\u{301}\u{0} ", "b": [{ "c": "<b>x</b> &amp; <script>y</script>" }], "n": 1 })
            ),
            json!({ "a": "Café", "b": [{ "c": "x &" }], "n": 1 })
        );
        let safe = SanitizeSpec { html: Some(HtmlPolicy::Safe), ..SanitizeSpec::default() };
        assert_eq!(
            cleaned(&safe, json!({ "a": "<b onclick='x()'>hi</b><script>y</script>" })),
            json!({ "a": "<b>hi</b>" })
        );
        let none = json!({ "a": " \u{0}<b> " });
        assert_eq!(cleaned(&SanitizeSpec::default(), none.clone()), none);
    }

    #[test]
    fn only_the_named_fields_are_touched() {
        let spec = SanitizeSpec { trim: true, fields: Some(vec!["a".to_owned()]), ..SanitizeSpec::default() };
        assert_eq!(cleaned(&spec, json!({ "a": " x ", "b": " y " })), json!({ "a": "x", "b": " y " }));
    }
}
