//! A text with `{{ … }}` in it, and what its expressions stand for.

use chrono::DateTime;
use gristmill_core::schedule::Zone;
use minijinja::{Environment, Error, ErrorKind, Expression, UndefinedBehavior};
use serde_json::{Value, json};

use super::RenderError;

/// The opening braces of an expression.
pub(super) const MARK: &str = "{{";

/// The names that an expression may begin with.
const ROOTS: [&str; 3] = ["schedule", "event", "params"];

/// What a text consists of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Part<'t> {
    /// As it stands.
    Literal(&'t str),
    /// What stands between the braces.
    Expression(&'t str),
}

/// Takes a text apart.
///
/// # Errors
///
/// When an expression has no end.
pub(super) fn parts(text: &str) -> Result<Vec<Part<'_>>, RenderError> {
    let (mut parts, mut rest) = (Vec::new(), text);
    while let Some(at) = rest.find(MARK) {
        if at > 0 {
            parts.push(Part::Literal(&rest[..at]));
        }
        let (expression, length) = expression(&rest[at..])?;
        parts.push(Part::Expression(expression));
        rest = &rest[at + length..];
    }
    if !rest.is_empty() {
        parts.push(Part::Literal(rest));
    }
    Ok(parts)
}

/// The expression that a text begins with, and its length with the braces. A quoted text may have braces in it.
pub(super) fn expression(text: &str) -> Result<(&str, usize), RenderError> {
    let mut quote = None;
    for (at, byte) in text.bytes().enumerate().skip(MARK.len()) {
        match (quote, byte) {
            (None, b'\'' | b'"') => quote = Some(byte),
            (Some(open), _) if open == byte => quote = None,
            (None, b'}') if text[at..].starts_with("}}") => return Ok((text[MARK.len()..at].trim(), at + 2)),
            _ => {}
        }
    }
    let begin: String = text.chars().take(40).collect();
    Err(RenderError::Wrong(format!("`{begin}` has no `}}}}` at its end")))
}

/// What the expressions stand for.
pub(super) struct Scope {
    templates: Environment<'static>,
    /// `None` when only the expressions themselves are checked.
    context: Option<Value>,
}

impl Scope {
    /// The parameters of a run, shown on a schedule's wall clock.
    pub(super) fn of(params: &Value, zone: Zone) -> Self {
        let context = json!({ "schedule": params.get("schedule"), "event": params.get("event"), "params": params });
        Self { templates: environment(zone), context: Some(context) }
    }

    /// No run: every expression stands for a text. What can be wrong without one is found.
    pub(super) fn check() -> Self {
        let mut templates = environment(Zone::UTC);
        templates.set_undefined_behavior(UndefinedBehavior::Chainable);
        Self { templates, context: None }
    }

    /// What an expression stands for: the value itself, a number as it was sent.
    ///
    /// # Errors
    ///
    /// When it makes no sense, or names nothing that is there.
    pub(super) fn value(&self, expression: &str) -> Result<Value, RenderError> {
        let wrong = |error: &Error| RenderError::Wrong(format!("`{{{{ {expression} }}}}`: {error}"));
        let compiled = self.templates.compile_expression(expression).map_err(|error| wrong(&error))?;
        let roots = compiled.undeclared_variables(false);
        if let Some(other) = roots.iter().find(|root| !ROOTS.contains(&root.as_str())) {
            return Err(RenderError::Wrong(format!(
                "`{{{{ {expression} }}}}`: there is no `{other}`; there are `schedule`, `event` and `params`"
            )));
        }
        let Some(context) = &self.context else {
            rehearsed(&compiled, roots.len() == 1 && roots.contains("schedule"))
                .map_err(|wrong| RenderError::Wrong(format!("`{{{{ {expression} }}}}`: {wrong}")))?;
            return Ok(Value::from("x"));
        };
        // What an event lacks is its sender's fault; anything else is that of the configuration.
        let about_event = roots.contains("event") && context.get("event").is_some_and(|event| !event.is_null());
        let fault = |what: String| if about_event { RenderError::Unfit(what) } else { RenderError::Wrong(what) };
        let missing = || fault(format!("`{expression}` is missing"));
        if let Some(path) = plain_path(expression) {
            return path.iter().try_fold(context, |at, key| at.get(key)).cloned().ok_or_else(missing);
        }
        let found = compiled.eval(minijinja::value::Serde(context)).map_err(|error| match error.kind() {
            ErrorKind::UndefinedError => missing(),
            _ => fault(format!("`{{{{ {expression} }}}}`: {error}")),
        })?;
        if found.is_undefined() {
            return Err(missing());
        }
        serde_json::to_value(found).map_err(|error| fault(format!("`{{{{ {expression} }}}}`: {error}")))
    }

    /// A text with each expression replaced by what `show` makes of its value.
    ///
    /// # Errors
    ///
    /// What is wrong with one of them.
    pub(super) fn fill(
        &self,
        text: &str,
        mut show: impl FnMut(&Value, &str) -> Result<String, RenderError>,
    ) -> Result<String, RenderError> {
        let mut filled = String::new();
        for part in parts(text)? {
            match part {
                Part::Literal(literal) => filled.push_str(literal),
                Part::Expression(expression) => {
                    let shown = show(&self.value(expression)?, expression)?;
                    filled.push_str(&shown);
                }
            }
        }
        Ok(filled)
    }
}

/// Tries an expression without a run. What a schedule has is known beforehand; of anything else only what is done with it.
fn rehearsed(expression: &Expression<'_, '_>, about_schedule: bool) -> Result<(), String> {
    let at = "2026-01-01T00:00:00Z";
    let about = json!({ "name": "x", "tick": at, "from": at, "to": at, "timezone": "UTC", "backfill": false });
    match expression.eval(minijinja::value::Serde(json!({ "schedule": about }))) {
        Ok(found) if about_schedule && found.is_undefined() => Err("a schedule has nothing of that name".to_owned()),
        Err(error) if about_schedule || error.kind() == ErrorKind::UnknownFilter => Err(error.to_string()),
        Err(error) if matches!(error.kind(), ErrorKind::UnknownFunction | ErrorKind::UnknownTest) => {
            Err(error.to_string())
        }
        Ok(_) | Err(_) => Ok(()),
    }
}

/// A value as a text: a text as it is, anything else as JSON.
pub(super) fn printed(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

/// `event.body.order` as its names. Its value is taken as it is, without passing through the types of the template
/// language.
fn plain_path(expression: &str) -> Option<Vec<&str>> {
    let name = |part: &str| {
        let mut bytes = part.bytes();
        bytes.next().is_some_and(|first| first.is_ascii_alphabetic() || first == b'_')
            && bytes.all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
    };
    let path: Vec<&str> = expression.split('.').map(str::trim).collect();
    path.iter().all(|part| name(part)).then_some(path)
}

fn environment(zone: Zone) -> Environment<'static> {
    let mut templates = Environment::new();
    templates.set_undefined_behavior(UndefinedBehavior::Strict);
    templates.add_filter("date", move |at: String, format: String| date(&at, &format, zone));
    templates
}

fn date(at: &str, format: &str, zone: Zone) -> Result<String, Error> {
    let wrong = |what: String| Error::new(ErrorKind::InvalidOperation, what);
    let instant = DateTime::parse_from_rfc3339(at).map_err(|_| wrong("the value is not an instant".to_owned()))?;
    let mut text = String::new();
    let shown = instant.with_timezone(&zone).format(format);
    std::fmt::write(&mut text, format_args!("{shown}"))
        .map_err(|_| wrong(format!("`{format}` is not a date format; write one such as `%Y-%m-%d`")))?;
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(expression: &str) -> Result<Value, RenderError> {
        let body = json!({ "n": 123_456_789_012_345_678_u64, "none": null, "yes": true, "list": ["a"], "name": "ada" });
        let params = json!({ "shop": "north", "event": { "id": "1", "body": body },
            "schedule": { "name": "nightly", "from": "2026-06-30T23:00:00Z" } });
        Scope::of(&params, gristmill_core::schedule::zone("Europe/London").expect("a zone")).value(expression)
    }

    #[test]
    fn a_value_stays_what_it_was() {
        for (expression, expected) in [
            ("event.body.n", json!(123_456_789_012_345_678_u64)),
            ("event.body.none", Value::Null),
            ("event.body.yes", json!(true)),
            ("event.body.list", json!(["a"])),
            ("event.body['name'] | upper", json!("ADA")),
            ("event.body.other | default('x')", json!("x")),
            ("params.shop", json!("north")),
            ("schedule.from | date('%Y-%m-%d')", json!("2026-07-01")),
        ] {
            assert_eq!(value(expression), Ok(expected), "{expression}");
        }
    }

    #[test]
    fn what_an_event_lacks_is_not_a_fault_of_the_template() {
        for expression in ["event.body.order", "event.body.n.m", "event.body.order | upper", "event.other"] {
            assert!(
                matches!(value(expression), Err(RenderError::Unfit(wrong)) if wrong.contains("event.")),
                "{expression}"
            );
        }
        for (expression, said) in [
            ("schedule.form", "schedule.form"),
            ("schedule.from | date('%Q')", "date format"),
            ("schedule.name | date('%Y')", "not an instant"),
            ("nobody", "there is no `nobody`"),
            ("params.shop +", "params.shop +"),
        ] {
            assert!(
                matches!(value(expression), Err(RenderError::Wrong(wrong)) if wrong.contains(said)),
                "{expression}"
            );
        }
    }

    #[test]
    fn a_text_is_taken_apart_at_its_expressions() {
        let found = parts("a{{ b | c('}}') }}d").expect("parts");
        assert_eq!(found, [Part::Literal("a"), Part::Expression("b | c('}}')"), Part::Literal("d")]);
        assert!(parts("a {{ params.shop").is_err_and(|error| error.to_string().contains("params.shop")));
    }
}
