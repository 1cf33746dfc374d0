//! JSON lines: parses a line as an object, without rounding anything.

use serde_json::Value;

use super::record::Unreadable;

/// How deep arrays and objects may be nested.
pub const DEPTH_MAX: usize = 64;

/// An `f64` keeps any decimal with this many digits.
const DIGITS_SAFE: usize = 15;

/// How much of a number a message shows.
const NUMBER_SHOWN: usize = 40;

/// Returns the line as an object.
///
/// A number that a JSON number of this program cannot hold exactly (over 64 bits, or a decimal with more digits than a
/// double keeps) is refused instead of rounded: money that is off by a cent is worse than an item set aside with the
/// reason. A number written as a string passes unchanged.
pub(super) fn item(line: &[u8]) -> Result<Value, Unreadable> {
    let line = line.trim_ascii_end();
    let text = match std::str::from_utf8(line) {
        Ok(text) => text,
        Err(error) => return Err(Unreadable::not_utf8(&error, line)),
    };
    // Before parsing: the parser's own limit is twice as deep, and it rounds silently.
    if let Some(problem) = refused(text) {
        return Err(Unreadable::new(problem, line));
    }
    match serde_json::from_str(text) {
        Ok(Value::Object(object)) => Ok(Value::Object(object)),
        Ok(other) => Err(Unreadable::new(
            format!("the line is {}, not an object; write `{{\"name\": …}}` on each line", kind_of(&other)),
            line,
        )),
        Err(error) => Err(Unreadable::new(format!("invalid JSON: {}", message(&error)), line)),
    }
}

/// The parser's message with only the column: there is only ever one line.
fn message(error: &serde_json::Error) -> String {
    let text = error.to_string();
    match text.split_once(" at line 1 column ") {
        Some((what, _)) => format!("{what} at column {}", error.column()),
        None => text,
    }
}

/// Returns why the line is refused although it may be valid JSON.
fn refused(text: &str) -> Option<String> {
    let bytes = text.as_bytes();
    let (mut at, mut depth) = (0, 0_usize);
    while at < bytes.len() {
        match bytes[at] {
            b'"' => at = string_end(bytes, at + 1),
            b'[' | b'{' => {
                depth += 1;
                if depth > DEPTH_MAX {
                    return Some(format!("nested deeper than {DEPTH_MAX} levels at column {}", at + 1));
                }
                at += 1;
            }
            b']' | b'}' => {
                depth = depth.saturating_sub(1);
                at += 1;
            }
            b'-' | b'0'..=b'9' => {
                let end = number_end(bytes, at);
                let number = &text[at..end];
                if !is_exact(number) {
                    let shown = &number[..number.len().min(NUMBER_SHOWN)];
                    return Some(format!(
                        "the number {shown} at column {} has more digits than a number keeps exactly; write it as a string",
                        at + 1
                    ));
                }
                at = end;
            }
            _ => at += 1,
        }
    }
    None
}

fn string_end(bytes: &[u8], mut at: usize) -> usize {
    while let Some(found) = memchr::memchr2(b'"', b'\\', &bytes[at.min(bytes.len())..]) {
        if bytes[at + found] == b'"' {
            return at + found + 1;
        }
        at += found + 2;
    }
    bytes.len()
}

fn number_end(bytes: &[u8], from: usize) -> usize {
    let part = |byte: &u8| matches!(byte, b'0'..=b'9' | b'-' | b'+' | b'.' | b'e' | b'E');
    bytes[from..].iter().position(|byte| !part(byte)).map_or(bytes.len(), |length| from + length)
}

/// Whether parsing preserves the number exactly as written.
fn is_exact(number: &str) -> bool {
    let plain = !number.contains(['e', 'E']);
    if number.len() <= DIGITS_SAFE && plain {
        return true;
    }
    if number.parse::<i64>().is_ok() || number.parse::<u64>().is_ok() {
        return true;
    }
    match number.parse::<f64>() {
        // Text that is not a number is left to the parser, which gives a better message.
        Err(_) => true,
        Ok(value) if value.is_infinite() => true,
        Ok(value) => canonical(number) == canonical(&format!("{value:e}")),
    }
}

/// Returns the significant digits, and the power of ten of the last one.
fn canonical(number: &str) -> (String, i64) {
    let (mantissa, exponent) = number.split_once(['e', 'E']).unwrap_or((number, "0"));
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let mut power = exponent.parse::<i64>().unwrap_or(i64::MAX / 2) - fraction.len() as i64;
    let digits = format!("{}{fraction}", whole.trim_start_matches('-'));
    let significant = digits.trim_start_matches('0');
    let trimmed = significant.trim_end_matches('0');
    power += (significant.len() - trimmed.len()) as i64;
    if trimmed.is_empty() { (String::new(), 0) } else { (trimmed.to_owned(), power) }
}

fn kind_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a truth value",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "an array",
        Value::Object(_) => "an object",
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
