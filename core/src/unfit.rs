//! What a value is that does not fit, in words for its author and not for that of the program.

/// What serde says, without the names of types and forms that only the program has.
///
/// `invalid type: integer `5`, expected struct Line` becomes `invalid type: integer `5`, expected an object`.
pub fn plain(message: &str) -> String {
    if let Some((before, after)) = message.split_once("data did not match any variant of untagged enum ") {
        let place = after.find(" at line ").map_or("", |at| &after[at..]);
        return format!("{before}it has none of the forms that are known here{place}");
    }
    let message = message.replacen("unknown variant ", "unknown word ", 1);
    let Some((found, expected)) = message.split_once(", expected ") else { return message };
    let (expected, place) = expected.find(" at line ").map_or((expected, ""), |at| expected.split_at(at));
    format!("{found}, expected {}{place}", form(expected))
}

/// The form that is meant, by its beginning.
fn form(expected: &str) -> &str {
    const FORMS: [(&str, &str); 17] = [
        ("struct variant", "an object"),
        ("struct ", "an object"),
        ("internally tagged enum ", "an object"),
        ("adjacently tagged enum ", "an object"),
        ("externally tagged enum ", "an object"),
        ("enum ", "one of its words"),
        ("variant identifier", "one of its words"),
        ("field identifier", "the name of a field"),
        ("tuple ", "a list"),
        ("newtype ", "a single value"),
        ("unit ", "null"),
        ("a sequence", "a list"),
        ("a map", "an object"),
        ("u", "a whole number, not below 0"),
        ("i", "a whole number"),
        ("f", "a number"),
        ("any valid JSON value", "a JSON value"),
    ];
    let number = |word: &str| matches!(expected.strip_prefix(word), Some("8" | "16" | "32" | "64" | "128" | "size"));
    let meant = |(beginning, _): &&(&str, &str)| match beginning.len() {
        1 => number(beginning),
        _ => expected.starts_with(beginning),
    };
    FORMS.iter().find(meant).map_or(expected, |(_, form)| form)
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;
    use serde_json::{Value, json};

    use super::*;

    #[derive(Debug, Deserialize)]
    #[serde(rename_all = "snake_case")]
    enum SecretWord {
        Good,
    }

    #[derive(Debug, Deserialize)]
    #[serde(tag = "type")]
    enum SecretTagged {
        A,
    }

    #[derive(Debug, Deserialize)]
    #[serde(untagged)]
    enum SecretChoice {
        Number(#[allow(dead_code, reason = "only refused here")] u8),
    }

    #[derive(Debug, Deserialize)]
    #[allow(dead_code, reason = "only refused here")]
    struct SecretPair(u8, u8);

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    #[allow(dead_code, reason = "only refused here")]
    struct SecretLine {
        number: Option<u32>,
        word: Option<SecretWord>,
        tagged: Option<SecretTagged>,
        choice: Option<SecretChoice>,
        pair: Option<SecretPair>,
        list: Option<Vec<String>>,
    }

    fn refused(value: &Value) -> String {
        let of_a_value = plain(&SecretLine::deserialize(value).expect_err("refused").to_string());
        let of_a_text =
            plain(&serde_json::from_str::<SecretLine>(&value.to_string()).expect_err("refused").to_string());
        for text in [&of_a_value, &of_a_text] {
            assert!(!text.contains("Secret") && !text.contains("struct") && !text.contains("enum"), "{text}");
        }
        of_a_value
    }

    #[test]
    fn no_name_of_a_type_is_left_whatever_does_not_fit() {
        let said = [
            (json!(5), "invalid type: integer `5`, expected an object"),
            (json!({ "number": "x" }), "invalid type: string \"x\", expected a whole number, not below 0"),
            (json!({ "number": -1 }), "invalid value: integer `-1`, expected a whole number, not below 0"),
            (json!({ "word": 7 }), "invalid type: "),
            (json!({ "word": "bad" }), "unknown word `bad`, expected `good`"),
            (json!({ "tagged": 1 }), "invalid type: integer `1`, expected "),
            (json!({ "choice": "x" }), "it has none of the forms that are known here"),
            (json!({ "pair": 5 }), "invalid type: integer `5`, expected a list"),
            (json!({ "pair": [1] }), "invalid length 1, expected a list"),
            (json!({ "list": {} }), "invalid type: map, expected a list"),
            (json!({ "lst": [] }), "unknown field `lst`, expected one of"),
        ];
        for (value, expected) in said {
            let text = refused(&value);
            assert!(text.starts_with(expected), "{value}: {text}");
        }
    }
}
