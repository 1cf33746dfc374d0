//! A jq program that says whether something is meant.

use serde_json::Value;

use crate::jq::{Output, Program};

/// A compiled program.
#[derive(Debug)]
pub struct Predicate(Program);

impl Predicate {
    /// Compiles a program.
    ///
    /// # Errors
    ///
    /// What is wrong, with line, column and a caret under the place.
    pub fn compile(code: &str) -> Result<Self, String> {
        Program::compile(code).map(Self)
    }

    /// Whether the program gives `true` for a value. `false`, `null` and no output mean that it is not meant, as in jq's
    /// `select`.
    ///
    /// # Errors
    ///
    /// When the program fails, never ends, gives more than one output, or something that is no answer.
    pub fn holds(&self, value: &Value) -> Result<bool, String> {
        let mut outputs = self.0.run(value, 2);
        match (outputs.pop(), outputs.pop()) {
            (None, _) | (Some(Output::Value(Value::Null | Value::Bool(false))), None) => Ok(false),
            (Some(Output::Value(Value::Bool(true))), None) => Ok(true),
            (Some(Output::Error(error)), _) => Err(format!("the program failed: {error}")),
            (Some(Output::Runaway(reason)), _) => Err(format!("the program was stopped: {reason}")),
            (Some(_), Some(_)) => Err("the program gives more than one output; it must give true or false".to_owned()),
            (Some(Output::Unfit(problem)), None) => Err(problem),
            (Some(Output::Value(other)), None) => {
                let shown: String = other.to_string().chars().take(60).collect();
                Err(format!("the program gives {shown}; it must give true or false"))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn only_true_means_yes_and_what_is_no_answer_is_an_error() {
        let asked = |code: &str| Predicate::compile(code).expect("a program").holds(&json!({ "data": { "n": 3 } }));
        assert_eq!(asked(".data.n > 2"), Ok(true));
        assert_eq!(asked(".data.n > 3"), Ok(false));
        assert_eq!(asked(".data.missing"), Ok(false));
        assert_eq!(asked("empty"), Ok(false));
        for (code, named) in
            [(".data", "must give true or false"), ("true, true", "more than one"), ("error(\"x\")", "failed")]
        {
            assert!(asked(code).expect_err(code).contains(named), "{code}");
        }
        assert!(asked("def f: f; f").is_err(), "one that never ends is stopped");
        assert!(Predicate::compile(".data >").is_err());
    }
}
