//! Stage `validate`: an item must satisfy a JSON Schema as it comes from the source.

use jsonschema::Validator;
use serde_json::Value;

use super::{Refusal, shortened};

/// The most problems that one reason names.
const PROBLEMS_MAX: usize = 3;

/// The most characters of one problem.
const PROBLEM_CHARS_MAX: usize = 300;

/// A compiled schema.
#[derive(Debug)]
pub struct Validate {
    validator: Validator,
    schema: Value,
}

impl Validate {
    /// Compiles a schema of any draft. Formats such as `date` and `email` are checked, and a reference to another
    /// document is an error: a run must not depend on the network.
    ///
    /// # Errors
    ///
    /// What is wrong with the schema, and where in it.
    pub fn compile(schema: &Value) -> Result<Self, String> {
        // The standard also allows "true" and "false"; in a definition they are a mistake.
        if !schema.is_object() {
            return Err(format!("the schema is {schema}; it must be an object such as {{\"required\": [\"id\"]}}"));
        }
        let built = jsonschema::options().should_validate_formats(true).offline().build(schema);
        let validator = built.map_err(|error| {
            let path = error.instance_path().to_string();
            format!("{} at `{}` of the schema", error, if path.is_empty() { "/" } else { &path })
        })?;
        Ok(Self { validator, schema: schema.clone() })
    }

    /// The schema.
    pub(crate) fn schema(&self) -> &Value {
        &self.schema
    }

    /// Refuses an item that does not satisfy the schema, and names the first three problems.
    ///
    /// # Errors
    ///
    /// The refusal.
    pub fn check(&self, item: &Value) -> Result<(), Refusal> {
        if self.validator.is_valid(item) {
            return Ok(());
        }
        let problems: Vec<_> =
            self.validator.iter_errors(item).take(PROBLEMS_MAX + 1).map(|error| problem(&error)).collect();
        let more = if problems.len() > PROBLEMS_MAX { "; and more" } else { "" };
        let named = problems.len().min(PROBLEMS_MAX);
        Err(Refusal::new("validate", format!("{}{more}", problems[..named].join("; "))))
    }
}

impl Validate {
    /// Everything that is wrong with a value, each with its place, at most `most`.
    pub fn problems(&self, value: &Value, most: usize) -> Vec<String> {
        self.validator.iter_errors(value).take(most).map(|error| problem(&error)).collect()
    }
}

fn problem(error: &jsonschema::ValidationError<'_>) -> String {
    let text = shortened(&error.to_string(), PROBLEM_CHARS_MAX);
    let path = error.instance_path().to_string();
    if path.is_empty() { text } else { format!("`{}`: {text}", path.trim_start_matches('/')) }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_refusal_names_the_place_and_what_was_expected() {
        let schema = json!({
            "required": ["CustomerID"],
            "properties": {
                "CustomerID": { "minLength": 1 },
                "mail": { "format": "email" },
                "lines": { "items": { "type": "integer" } },
            },
        });
        let validate = Validate::compile(&schema).expect("a schema");
        assert_eq!(validate.check(&json!({ "CustomerID": "17850", "mail": "a@example.com" })), Ok(()));
        let reason = |item| validate.check(&item).expect_err("refused").reason;
        assert_eq!(reason(json!({})), "\"CustomerID\" is a required property");
        assert_eq!(reason(json!({ "CustomerID": "" })), "`CustomerID`: \"\" is shorter than 1 character");
        assert_eq!(
            reason(json!({ "CustomerID": "1", "mail": "nobody", "lines": [1, "x"] })),
            "`mail`: \"nobody\" is not a \"email\"; `lines/1`: \"x\" is not of type \"integer\""
        );
    }

    #[test]
    fn a_bad_schema_is_refused_with_its_place() {
        let error = Validate::compile(&json!({ "properties": { "a": { "type": "intger" } } })).expect_err("no type");
        assert!(error.contains("/properties/a/type"), "{error}");
        assert!(Validate::compile(&json!("CustomerID")).is_err());
        assert!(Validate::compile(&json!({ "$ref": "https://example.com/schema.json" })).is_err());
    }
}
