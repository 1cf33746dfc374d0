//! JSON from others is what `serde_json` reads, exactly, or it is refused.

#![allow(missing_docs, clippy::unwrap_used, reason = "tests")]

use gristmill_core::json::{self, DEPTH_MAX, Fault};
use proptest::prelude::*;
use serde::Deserialize;
use serde_json::{Value, json};

/// The key by which `serde_json` marks raw values, when some crate has switched them on.
const RAW: &str = "$serde_json::private::RawValue";

fn fault(text: &str) -> Fault {
    json::read(text.as_bytes()).expect_err(text).fault
}

fn reason(text: &str) -> String {
    json::read(text.as_bytes()).expect_err(text).to_string()
}

#[test]
fn numbers_are_exact_or_refused() {
    for (text, value) in [
        ("0.1", json!(0.1)),
        ("1234567890.12345", json!(1_234_567_890.123_45)),
        ("18446744073709551615", json!(u64::MAX)),
        ("-9223372036854775808", json!(i64::MIN)),
        ("1e3", json!(1000.0)),
        ("100.00", json!(100.0)),
        ("0e0", json!(0.0)),
        ("-0", json!(0)),
        ("1E-2", json!(0.01)),
        ("0.30000000000000004", json!(0.300_000_000_000_000_04)),
        ("5e-324", json!(5e-324)),
        ("1.7976931348623157e308", json!(f64::MAX)),
    ] {
        assert_eq!(json::read(text.as_bytes()), Ok(value), "{text}");
    }
    for rounded in [
        "18446744073709551616",
        "-9223372036854775809",
        "123456789012345678901234567890",
        "0.1234567890123456789",
        "123456789.12345678901",
        "9007199254740993.5",
        "1e-400",
        "4.9e-324",
        "1e400",
        "1e99999999999999999999",
    ] {
        assert_eq!(fault(rounded), Fault::Number, "{rounded}");
        let nested = format!("{{\"a\": [{rounded}]}}");
        assert!(reason(&nested).contains(&format!("the number {rounded} at column 8 has more")), "{}", reason(&nested));
        assert!(json::read(json!({ "a": rounded }).to_string().as_bytes()).is_ok(), "as a text {rounded}");
    }
}

#[test]
fn nesting_ends_at_the_same_depth_whatever_is_nested() {
    for (open, close, innermost) in [("[", "]", "1"), ("{\"a\":", "}", "null"), ("[{\"\":", "}]", "\"\"")] {
        let levels = open.matches(['[', '{']).count();
        let nested = |times: usize| format!("{}{innermost}{}", open.repeat(times), close.repeat(times));
        let deepest = json::read(nested(DEPTH_MAX / levels).as_bytes()).expect("deep enough");
        assert!(!json::deeper_than(&deepest, DEPTH_MAX) && json::deeper_than(&deepest, DEPTH_MAX - 1));
        assert_eq!(fault(&nested(DEPTH_MAX / levels + 1)), Fault::Depth);
        assert_eq!(json::kept(&nested(DEPTH_MAX)).map(|value| value.to_string()).as_deref(), Ok(&*nested(DEPTH_MAX)));
    }
    assert_eq!(fault(&"[".repeat(1_000_000)), Fault::Depth);
    assert!(json::kept(&"[".repeat(1_000_000)).is_err());
}

#[test]
fn a_key_that_means_something_to_a_library_is_an_ordinary_key() {
    #[derive(Deserialize)]
    struct Whole {
        #[serde(deserialize_with = "json::value")]
        value: Value,
        #[serde(default, deserialize_with = "json::maybe")]
        maybe: Option<Value>,
    }
    let keys =
        [RAW, "$serde_json::private::Number", "$__toml_private_datetime", "$__toml_private_Spanned_start", "$serde::x"];
    for key in keys {
        for text in ["1", "123456789.123456789", "x", &"[".repeat(500)] {
            let value = json!({ key: text });
            assert_eq!(json::read(value.to_string().as_bytes()).as_ref(), Ok(&value), "{key} {text}");
            assert_eq!(json::kept(&value.to_string()).as_ref(), Ok(&value), "{key} {text}");
            let whole = json!({ "value": value, "maybe": [value] });
            let typed: Whole = json::typed(whole.to_string().as_bytes()).expect("typed");
            assert_eq!((typed.value, typed.maybe), (value.clone(), Some(json!([value]))), "{key} {text}");
        }
    }
}

#[test]
fn a_refusal_says_what_and_where() {
    for (text, expected) in [
        ("{\"a\": }", "a value is expected at column 7"),
        ("{\"é\" 1}", "`:` is expected at column 6"),
        ("[1,\n 2,\n x]", "a value is expected at line 3, column 2"),
        ("[1 2]", "`,` or `]` is expected at column 4"),
        ("01", "a number does not begin with 0 at column 1"),
        ("1 2", "something follows the value at column 3"),
        ("", "the text ends where a value is expected at column 1"),
        ("\"\\ud800\"", "four hexadecimal digits are expected after `\\u`, and the second half of a pair at column 2"),
    ] {
        assert_eq!(reason(text), expected, "{text}");
    }
    assert_eq!(json::read(b"\"caf\xe9\"").expect_err("latin").to_string(), "the byte 0xE9 at column 5 is not UTF-8");
    assert_eq!(json::read_object(b"[1]").expect_err("a list").to_string(), "it is an array, not an object");
}

fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        any::<f64>().prop_filter("finite", |double| double.is_finite()).prop_map(Value::from),
        ".*".prop_map(Value::from),
    ];
    leaf.prop_recursive(6, 60, 6, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
            prop::collection::vec((prop_oneof![".*", Just(RAW.to_owned())], inner), 0..6)
                .prop_map(|fields| Value::Object(fields.into_iter().collect())),
        ]
    })
}

proptest! {
    #[test]
    fn what_is_written_is_read_back(value in any_json()) {
        for text in [serde_json::to_string(&value).unwrap(), serde_json::to_string_pretty(&value).unwrap()] {
            prop_assert_eq!(json::read(text.as_bytes()), Ok(value.clone()));
            prop_assert_eq!(json::kept(&text), Ok(value.clone()));
        }
    }

    #[test]
    fn texts_that_are_nearly_json_are_judged_as_by_another_reader(text in "[\\[\\]{}:,\"\\\\ue0129.+\\- \n\tafnlrst/bD8é]{0,12}") {
        let others = serde_json::from_str::<Value>(&text);
        match json::read(text.as_bytes()) {
            Ok(value) => prop_assert!(others.is_ok_and(|other| other == value || text.contains("-0")), "{}", text),
            Err(error) if error.fault == Fault::Syntax => prop_assert!(others.is_err(), "{}: {}", text, error),
            Err(_) => {}
        }
    }

    #[test]
    fn numbers_that_are_accepted_are_the_nearest_double_and_it_is_written_back_as_the_same_number(
        whole in "-?(0|[1-9][0-9]{0,17})", fraction in "(\\.[0-9]{1,18})?", exponent in "([eE][+-]?[0-9]{1,2})?",
    ) {
        let text = format!("{whole}{fraction}{exponent}");
        if let Ok(Value::Number(number)) = json::read(text.as_bytes()) {
            let same = number.as_f64().unwrap() == text.parse::<f64>().unwrap();
            prop_assert!(same || number.is_i64() || number.is_u64(), "{} {}", text, number);
            let again = json::read(number.to_string().as_bytes());
            prop_assert_eq!(again, Ok(Value::Number(number)));
        }
    }
}
