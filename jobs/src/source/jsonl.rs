//! JSON lines: parses a line as an object, without rounding anything.

use gristmill_core::json::{self, Fault};
use serde_json::Value;

use super::record::Unreadable;

/// How deep arrays and objects may be nested.
pub use gristmill_core::json::DEPTH_MAX;

/// Returns the line as an object. A number that would be rounded, and nesting without end, is refused: see
/// [`gristmill_core::json`].
pub(super) fn item(line: &[u8]) -> Result<Value, Unreadable> {
    let line = line.trim_ascii_end();
    if let Err(error) = std::str::from_utf8(line) {
        return Err(Unreadable::not_utf8(&error, line));
    }
    match json::read(line) {
        Ok(Value::Object(object)) => Ok(Value::Object(object)),
        Ok(other) => Err(Unreadable::new(
            format!("the line is {}, not an object; write `{{\"name\": …}}` on each line", json::kind_of(&other)),
            line,
        )),
        Err(error) if error.fault == Fault::Syntax => Err(Unreadable::new(format!("invalid JSON: {error}"), line)),
        Err(error) => Err(Unreadable::new(error.to_string(), line)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn reason(line: &str) -> String {
        item(line.as_bytes()).expect_err("it is refused").reason
    }

    #[test]
    fn an_object_keeps_the_order_of_its_keys_and_the_last_of_a_key_wins() {
        let value = item(br#"{"b": 1, "a": 2, "b": 3}"#).expect("it is an object");
        assert_eq!(value.to_string(), r#"{"b":3,"a":2}"#);
    }

    #[test]
    fn what_is_no_object_says_what_it_is() {
        assert_eq!(reason("[1]"), "the line is an array, not an object; write `{\"name\": …}` on each line");
        assert!(reason("{\"a\": }").contains("at column 7"), "{}", reason("{\"a\": }"));
    }

    #[test]
    fn numbers_that_would_be_rounded_are_refused() {
        for exact in
            ["0.1", "1234567890.12345", "18446744073709551615", "-9223372036854775808", "1e3", "100.00", "1.10", "0e0"]
        {
            assert!(item(format!("{{\"a\": {exact}}}").as_bytes()).is_ok(), "{exact}");
        }
        for rounded in ["18446744073709551616", "0.12345678901234567890", "9007199254740993.5", "1e-400"] {
            assert!(reason(&format!("{{\"a\": {rounded}}}")).contains(rounded), "{rounded}");
        }
        let text = json!({"a": "0.12345678901234567890"});
        assert_eq!(item(text.to_string().as_bytes()), Ok(text));
    }

    #[test]
    fn digits_inside_strings_are_no_numbers() {
        assert!(item(br#"{"a\"1234567890123456789012": "\\", "b": "0.12345678901234567890"}"#).is_ok());
    }

    #[test]
    fn nesting_has_a_limit() {
        let nested = |depth: usize| format!("{{\"a\":{}{}}}", "[".repeat(depth - 1), "]".repeat(depth - 1));
        assert!(item(nested(DEPTH_MAX).as_bytes()).is_ok());
        assert!(reason(&nested(DEPTH_MAX + 1)).starts_with("nested deeper than 64 levels"));
    }

    #[test]
    fn a_line_in_another_encoding_says_which_byte() {
        let unreadable = item(b"{\"a\": \"caf\xe9\"}").expect_err("it is not UTF-8");
        assert!(unreadable.reason.contains("0xE9"), "{}", unreadable.reason);
        assert_eq!(unreadable.raw, json!("{\"a\": \"caf\u{fffd}\"}"));
    }
}
