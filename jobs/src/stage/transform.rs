//! Stage `transform`: a jq program makes one item out of one item, or skips it.
//!
//! In addition to the functions of jq there are exact decimals: `decimal_add(a; b)`, `decimal_sub(a; b)`,
//! `decimal_mul(a; b)`, `decimal_div(a; b; places)`, `decimal_round(a; places)`.

use serde_json::Value;

use super::{Refusal, Step, shortened};
use crate::jq::{Output, Program, Tree};

/// A compiled program.
#[derive(Debug)]
pub struct Transform {
    program: Program,
    code: String,
}

impl Transform {
    /// Compiles a program.
    ///
    /// # Errors
    ///
    /// What is wrong, with line, column and a caret under the place.
    pub fn compile(code: &str) -> Result<Self, String> {
        Ok(Self { program: Program::compile(code)?, code: code.to_owned() })
    }

    /// Lets `read` look at the program as it is written. `None`: it is too long to be looked at.
    pub(crate) fn with_term<R: Send>(&self, read: impl FnOnce(&Tree<'_>) -> R + Send) -> Option<R> {
        crate::jq::with_term(&self.code, read)
    }

    /// Runs the program on an item. No output skips the item.
    ///
    /// # Errors
    ///
    /// When the program raises an error, never ends, or returns several outputs or something other than an object.
    pub fn apply(&self, item: &Value) -> Step {
        let refuse = |reason: String| Err(Refusal::new("transform", reason));
        let mut outputs = self.program.run(item, 2);
        match (outputs.pop(), outputs.pop()) {
            (None, _) => Ok(None),
            (Some(Output::Error(error)), _) => refuse(format!("the program failed: {error}")),
            (Some(Output::Runaway(reason)), _) => refuse(format!("the program was stopped: {reason}")),
            (Some(_), Some(_)) => refuse(
                "the program gives more than one output for this item; wrap them in one object, or choose one by `first(…)`".to_owned(),
            ),
            (Some(Output::Value(object @ Value::Object(_))), None) => Ok(Some(object)),
            (Some(Output::Value(other)), None) => refuse(format!(
                "the program gives {}; an item must be an object such as {{amount: .}}",
                shortened(&other.to_string(), 60)
            )),
            (Some(Output::Unfit(problem)), None) => refuse(problem),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn run(code: &str, item: Value) -> Result<Option<Value>, String> {
        Transform::compile(code).expect("a program").apply(&item).map_err(|refusal| refusal.reason)
    }

    fn value(code: &str) -> Value {
        run(&format!("{{v: ({code})}}"), json!({})).expect("no error").expect("one output")["v"].clone()
    }

    fn error(code: &str) -> String {
        run(&format!("{{v: ({code})}}"), json!({})).expect_err("an error")
    }

    #[test]
    fn one_output_is_the_item_and_none_skips_it() {
        assert_eq!(run(".b = .a + 1", json!({ "a": 1 })), Ok(Some(json!({ "a": 1, "b": 2 }))));
        assert_eq!(run("select(.a > 1)", json!({ "a": 1 })), Ok(None));
        let several = run("., .", json!({})).expect_err("two");
        assert!(several.contains("more than one output"), "{several}");
        let text = run(".a", json!({ "a": "x" })).expect_err("no object");
        assert!(text.contains("gives \"x\""), "{text}");
        let raised = run("error(\"no such customer\")", json!({})).expect_err("raised");
        assert_eq!(raised, "the program failed: no such customer");
        let second = run("{}, error(\"late\")", json!({})).expect_err("raised late");
        assert!(second.contains("late"), "{second}");
    }

    #[test]
    fn money_never_goes_through_floating_point() {
        assert_eq!(value(r#"decimal_mul("6"; "2.55")"#), json!("15.3"));
        assert_eq!(value(r#"decimal_mul(6; 2.55)"#), json!("15.3"));
        assert_eq!(value(r#"decimal_add("0.1"; "0.2")"#), json!("0.3"));
        assert_eq!(value(r#"decimal_sub("1"; "3.50")"#), json!("-2.5"));
        assert_eq!(value(r#"decimal_div("10"; "4"; 0)"#), json!("3"));
        assert_eq!(value(r#"decimal_div("-1"; "3"; 4)"#), json!("-0.3333"));
        assert_eq!(value(r#"decimal_div(2; -3; 2)"#), json!("-0.67"));
        assert_eq!(value(r#"decimal_round("2.345"; 2)"#), json!("2.35"));
        assert_eq!(value(r#"decimal_round("-2.5"; 0)"#), json!("-3"));
        assert_eq!(value(r#"[decimal_mul(1, 2; "1.5")]"#), json!(["1.5", "3"]));
    }

    #[test]
    fn what_is_no_exact_decimal_is_refused() {
        assert!(error(r#"decimal_add("ten"; 1)"#).contains("decimal_add: \"ten\" is not a decimal"));
        assert!(error(r#"decimal_div(1; 0; 2)"#).contains("cannot divide by zero"));
        assert!(error(r#"decimal_round(1; 29)"#).contains("29 is not a number of decimal places"));
        let long = "0.1234567890123456789";
        assert!(error(&format!("decimal_mul(\"{long}\"; \"{long}\")")).contains("more than 28 digits"));
        assert!(error(r#"decimal_add("79228162514264337593543950335"; "0.1")"#).contains("more than 28 digits"));
    }

    #[test]
    fn a_program_that_never_ends_is_stopped() {
        for code in ["def f: f; f", "[repeat(1)] | length", "last(range(1e12))", "\"x\" * 1e9"] {
            let reason = run(code, json!({})).expect_err(code);
            assert!(reason.contains("the program was stopped"), "{code}: {reason}");
        }
    }

    #[test]
    fn nothing_ends_the_process_or_looks_around_in_it() {
        assert!(run("halt", json!({})).expect_err("halt").contains("halt"));
        assert!(run("halt_error", json!({})).is_err());
        for code in ["env", "$ENV", "now", "input", "localtime", "include \"x\"; ."] {
            assert!(Transform::compile(code).is_err(), "{code}");
        }
    }

    #[test]
    fn an_error_points_at_its_place() {
        let lost = Transform::compile(".a = 1\n| .b = fooo(1)").expect_err("no such function");
        assert_eq!(
            lost,
            "line 2, column 8: there is no filter `fooo`; look at its name and the number of its arguments\n  | .b = fooo(1)\n         ^"
        );
        let open = Transform::compile(".a = (1").expect_err("not closed");
        assert_eq!(open, "line 1, column 6: what is opened here is not closed\n  .a = (1\n       ^");
        let end = Transform::compile(".a = ").expect_err("no end");
        assert!(end.starts_with("line 1, column 6: ") && end.contains("was expected"), "{end}");
    }

    #[test]
    fn what_json_cannot_say_is_refused() {
        assert!(error("nan").contains("not a JSON number"));
        assert!(error("99999999999999999999999").contains("too large"));
        assert_eq!(value("18446744073709551615"), json!(18_446_744_073_709_551_615_u64));
        assert_eq!(value("1.50"), json!(1.5));
    }

    #[test]
    fn a_number_is_exact_or_refused() {
        for code in [
            "0.1234567890123456789",
            "\"12345678901234567890123\" | tonumber",
            "\"[0.1234567890123456789]\" | fromjson",
            "9223372036854775807 * 9223372036854775807 * 9223372036854775807",
            "1e999",
        ] {
            assert!(run(&format!("{{v: ({code})}}"), json!({})).is_err(), "{code}");
        }
        assert_eq!(value("9007199254740993 + 1"), json!(9_007_199_254_740_994_u64));
        assert_eq!(value("9007199254740993 * 3 / 3"), json!(9_007_199_254_740_993_u64));
        assert_eq!(value("[6 / 2, 7 / 2, 3 * 1.5, 4 * 0.5]").to_string(), "[3,3.5,4.5,2]");
        let item = json!({ "id": 18_446_744_073_709_551_615_u64, "price": 2.0, "small": 1e-300 });
        assert_eq!(run(".b = .id", item.clone()).expect("ok").expect("one")["b"], item["id"]);
        assert_eq!(run(".", item.clone()).expect("ok").expect("one").to_string(), item.to_string());
    }

    #[test]
    fn what_is_no_number_sets_the_item_aside_and_is_never_skipped() {
        for text in ["", " ", "1 234", "5 # x", "1,5", "0x10"] {
            for code in
                ["{a: (.a | tonumber)}", ".a |= tonumber", ".s = ([.a | tonumber] | add)", ".f = first(.a | tonumber)"]
            {
                let refused = run(code, json!({ "a": text })).expect_err(code);
                assert!(refused.contains("cannot be parsed as a number"), "{code} of {text:?}: {refused}");
            }
        }
    }

    #[test]
    fn several_paths_are_deleted_at_once() {
        let item = |a, b| json!({ "a": a, "b": b });
        let code = "del(.a[0,1]) | .b = (.b | delpaths([[0],[1]]))";
        assert_eq!(run(code, item(vec![1, 2, 3], vec![1, 2, 3])), Ok(Some(item(vec![3], vec![3]))));
        assert_eq!(run(code, item(vec![1, 2], vec![7])), Ok(Some(item(vec![], vec![]))));
    }
}
