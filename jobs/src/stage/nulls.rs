//! Stage `nulls`: texts that stand for null, such as `NA` and `-`, become null. Refuses nothing: whether a field may be
//! null is for `parse` to say.

use std::collections::BTreeMap;

use gristmill_core::definition::ParseSpec;
use serde_json::Value;

use super::field;

/// The most words of one list.
const WORDS_MAX: usize = 100;

/// Which texts are null.
#[derive(Debug, Clone)]
pub struct Nulls {
    words: Vec<String>,
    /// The fields that have words of their own.
    fields: BTreeMap<String, Vec<String>>,
}

impl Nulls {
    /// Checks the words of a batch and of its fields. `None`: there are none.
    ///
    /// # Errors
    ///
    /// The key under the batch whose words make no sense, and what would.
    pub fn compile(words: &[String], specs: &BTreeMap<String, ParseSpec>) -> Result<Option<Self>, (String, String)> {
        check(words).map_err(|problem| ("nulls".to_owned(), problem))?;
        let mut fields = BTreeMap::new();
        for (field, spec) in specs {
            let rule = spec.rule();
            let Some(own) = rule.nulls else { continue };
            let wrong = |problem| (format!("parse.{field}.nulls"), problem);
            check(&own).map_err(wrong)?;
            if !own.is_empty() && !rule.optional {
                return Err(wrong(
                    "names words for null, and the field may not be null; write `optional = true` beside it".to_owned(),
                ));
            }
            fields.insert(field.clone(), own);
        }
        let any = !words.is_empty() || fields.values().any(|own| !own.is_empty());
        Ok(any.then(|| Self { words: words.to_vec(), fields }))
    }

    /// Makes null what stands for it.
    pub fn apply(&self, item: &mut Value) {
        let own: Vec<(&String, Value)> = self
            .fields
            .iter()
            .filter_map(|(name, words)| {
                let mut value = field::get(item, name)?.clone();
                replace(&mut value, words);
                Some((name, value))
            })
            .collect();
        replace(item, &self.words);
        for (name, value) in own {
            field::set(item, name, value);
        }
    }

    /// The words that stand for null in a field of this name.
    pub(crate) fn of(&self, field: &str) -> &[String] {
        self.fields.get(field).unwrap_or(&self.words)
    }
}

/// Whether a text is one of the words.
pub(crate) fn is_null(text: &str, words: &[String]) -> bool {
    let text = text.trim();
    words.iter().any(|word| word == text)
}

fn replace(value: &mut Value, words: &[String]) {
    match value {
        Value::String(text) if is_null(text, words) => *value = Value::Null,
        Value::Array(values) => values.iter_mut().for_each(|value| replace(value, words)),
        Value::Object(object) => object.values_mut().for_each(|value| replace(value, words)),
        _ => {}
    }
}

fn check(words: &[String]) -> Result<(), String> {
    if words.len() > WORDS_MAX {
        return Err(format!("names {} words; at most {WORDS_MAX} are compared", words.len()));
    }
    for (place, word) in words.iter().enumerate() {
        if word.trim() != word {
            let right = word.trim();
            return Err(format!("names `{word}`, but white space around a text is not compared; write `{right}`"));
        }
        if words[..place].contains(word) {
            return Err(format!("names `{word}` twice; take one out"));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn compile(words: &[&str], rules: Value) -> Result<Option<Nulls>, (String, String)> {
        let words: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
        Nulls::compile(&words, &serde_json::from_value(rules).expect("rules"))
    }

    fn applied(words: &[&str], rules: Value, mut item: Value) -> Value {
        compile(words, rules).expect("good").expect("some").apply(&mut item);
        item
    }

    #[test]
    fn a_text_that_stands_for_null_is_null_at_any_depth_and_nothing_else_is() {
        let item = json!({ "a": "NA", "b": " - ", "c": "na", "d": "NA.", "e": ["-", 1], "f": { "g": "NA" }, "h": "" });
        let right = json!({ "a": null, "b": null, "c": "na", "d": "NA.", "e": [null, 1], "f": { "g": null }, "h": "" });
        assert_eq!(applied(&["NA", "-"], json!({}), item), right);
        assert_eq!(applied(&[""], json!({}), json!({ "a": "  ", "b": "x" })), json!({ "a": null, "b": "x" }));
    }

    #[test]
    fn a_field_with_words_of_its_own_has_no_others() {
        let rules = json!({
            "a": { "type": "integer", "optional": true, "nulls": ["-1"] },
            "b": { "type": "text", "nulls": [] },
            "c.d": { "type": "text", "optional": true, "nulls": ["x"] },
        });
        let item = json!({ "a": "-1", "b": "NA", "c": { "d": "x", "e": "x" }, "f": "NA", "g": "-1" });
        let right = json!({ "a": null, "b": "NA", "c": { "d": null, "e": "x" }, "f": null, "g": "-1" });
        assert_eq!(applied(&["NA"], rules.clone(), item), right);
        assert_eq!(applied(&["NA"], rules, json!({ "a": "NA" })), json!({ "a": "NA" }));
    }

    #[test]
    fn words_that_make_no_sense_are_refused_with_their_key() {
        let none = json!({});
        for (words, rules, key, problem) in [
            (&["NA "] as &[&str], none.clone(), "nulls", "write `NA`"),
            (&["-", "-"], none.clone(), "nulls", "`-` twice"),
            (&[], json!({ "f": { "type": "integer", "nulls": ["-"] } }), "parse.f.nulls", "`optional = true`"),
            (&[], json!({ "f": { "type": "text", "optional": true, "nulls": [" "] } }), "parse.f.nulls", "white space"),
        ] {
            let (found, said) = compile(words, rules).expect_err(problem);
            assert!(found == key && said.contains(problem), "{found}: {said}");
        }
        assert!(compile(&[], none).expect("nothing is wrong").is_none());
        assert!(compile(&[], json!({ "f": { "type": "text", "nulls": [] } })).expect("none").is_none());
    }
}
