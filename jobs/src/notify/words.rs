//! A channel's own templates of a title, a text and a body.

use minijinja::value::Serde;
use minijinja::{Environment, UndefinedBehavior};
use serde_json::{Value, json};

use super::notice::Notice;

/// What a template may use.
const NAMES: [&str; 10] = ["type", "severity", "title", "text", "facts", "link", "key", "at", "plain", "data"];

/// Fills templates with a notice.
pub struct Words {
    environment: Environment<'static>,
    data: Value,
}

impl Words {
    /// Of a notice.
    pub fn of(notice: &Notice) -> Self {
        let mut data = json!(notice);
        data["facts"] = notice.facts.iter().map(|(name, value)| (name.clone(), Value::from(value.as_str()))).collect();
        data["plain"] = notice.plain().into();
        Self { environment: environment(), data }
    }

    /// Fills one.
    ///
    /// # Errors
    ///
    /// When it is malformed, or its data lacks what it uses: a text.
    pub fn fill(&self, template: &str) -> Result<String, String> {
        self.environment.render_str(template, Serde(&self.data)).map_err(|error| explain(&error))
    }

    /// Whether a template is well-formed and uses what a notice has.
    ///
    /// # Errors
    ///
    /// What is wrong.
    pub fn check(template: &str) -> Result<(), String> {
        let environment = environment();
        let parsed = environment.template_from_str(template).map_err(|error| explain(&error))?;
        for used in parsed.undeclared_variables(false) {
            if !NAMES.contains(&used.as_str()) && !["range", "dict", "namespace", "debug"].contains(&used.as_str()) {
                let known = NAMES.join(", ");
                return Err(format!("the template uses `{used}`, which a notice does not have; there is {known}"));
            }
        }
        Ok(())
    }
}

fn environment() -> Environment<'static> {
    let mut environment = Environment::new();
    environment.set_undefined_behavior(UndefinedBehavior::Strict);
    environment
}

fn explain(error: &minijinja::Error) -> String {
    let line = error.line().map(|line| format!(" in line {line}")).unwrap_or_default();
    let detail = error.detail().map(|detail| format!(": {detail}")).unwrap_or_default();
    format!("the template{line}: {}{detail}", error.kind())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kind::payload::NotifyPayload;

    #[test]
    fn a_template_has_all_that_a_notice_says() {
        let payload: NotifyPayload = serde_json::from_value(json!({
            "to": "ops", "type": "disk.full", "title": "Disk \"a\" is full", "severity": "warning", "data": { "free": 3 },
        }))
        .expect("a payload");
        let at = gristmill_core::Instant::from_timestamp(1_790_000_000, 0).expect("an instant");
        let words = Words::of(&Notice::of(&payload, at, "").expect("a notice"));
        let filled =
            words.fill("[{{ severity }}] {{ title }}: {{ data.free }} of {{ type }} {{ {'t': title} | tojson }}");
        assert_eq!(
            filled.expect("filled"),
            r#"[warning] Disk "a" is full: 3 of disk.full {"t": "Disk \"a\" is full"}"#
        );
        let lacking = words.fill("{{ data.used }}").expect_err("not there");
        assert!(lacking.contains("line 1"), "{lacking}");
        assert!(Words::check("{{ data.used }}").is_ok(), "what an event has is not known beforehand");
    }
}
