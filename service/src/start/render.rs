//! `{{ schedule.from | date("%Y-%m-%d") }}`: how a batch's source, its output and a job's payload use the tick.

use chrono::DateTime;
use chrono_tz::Tz;
use gristmill_core::unfit::plain;
use minijinja::{Environment, Error, ErrorKind, UndefinedBehavior};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

/// The opening braces of a template.
const MARK: &str = "{{";

/// Renders the texts inside a value that hold `{{ … }}` with the run's parameters: `schedule.name`, `schedule.tick`,
/// `schedule.from`, `schedule.to` (RFC 3339 in UTC), `event` and `params`. The filter `date` shows an instant on the
/// schedule's wall clock.
///
/// # Errors
///
/// Which template is wrong, and how.
pub fn rendered<T: Serialize + DeserializeOwned>(value: &T, params: &Value, zone: Tz) -> Result<T, String> {
    let mut tree = serde_json::to_value(value).map_err(|error| error.to_string())?;
    let mut templates = Environment::new();
    templates.set_undefined_behavior(UndefinedBehavior::Strict);
    templates.add_filter("date", move |at: String, format: String| date(&at, &format, zone));
    let context = json!({ "schedule": params.get("schedule"), "event": params.get("event"), "params": params });
    each(&mut tree, &|text| {
        templates.render_str(text, minijinja::value::Serde(&context)).map_err(|error| format!("`{text}`: {error:#}"))
    })?;
    serde_json::from_value(tree).map_err(|error| plain(&error.to_string()))
}

/// Checks the texts inside a value that hold `{{ … }}` as far as that is possible without the run's parameters.
///
/// # Errors
///
/// Which template is wrong, and how.
pub fn well_formed<T: Serialize>(value: &T) -> Result<(), String> {
    let mut tree = serde_json::to_value(value).map_err(|error| error.to_string())?;
    let templates = Environment::new();
    each(&mut tree, &|text| {
        templates.template_from_str(text).map_err(|error| format!("`{text}`: {error:#}"))?;
        Ok(text.to_owned())
    })
}

/// Whether a text inside a value holds `{{ … }}`.
pub fn is_template(value: &Value) -> bool {
    match value {
        Value::String(text) => text.contains(MARK),
        Value::Array(values) => values.iter().any(is_template),
        Value::Object(map) => map.values().any(is_template),
        Value::Null | Value::Bool(_) | Value::Number(_) => false,
    }
}

fn each(tree: &mut Value, render: &impl Fn(&str) -> Result<String, String>) -> Result<(), String> {
    match tree {
        Value::String(text) if text.contains(MARK) => *text = render(text)?,
        Value::Array(values) => values.iter_mut().try_for_each(|value| each(value, render))?,
        Value::Object(map) => map.values_mut().try_for_each(|value| each(value, render))?,
        Value::String(_) | Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
    Ok(())
}

fn date(at: &str, format: &str, zone: Tz) -> Result<String, Error> {
    let wrong = |what: String| Error::new(ErrorKind::InvalidOperation, what);
    let instant = DateTime::parse_from_rfc3339(at).map_err(|_| wrong(format!("`{at}` is not an instant")))?;
    let mut text = String::new();
    let shown = instant.with_timezone(&zone).format(format);
    std::fmt::write(&mut text, format_args!("{shown}"))
        .map_err(|_| wrong(format!("`{format}` is not a date format; write one such as `%Y-%m-%d`")))?;
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_interval_is_shown_on_the_schedules_wall_clock() {
        let params = json!({ "shop": "north", "schedule": { "name": "nightly", "from": "2026-06-30T23:00:00Z" } });
        let zone = chrono_tz::Europe::London;
        let value = json!({ "csv": ["in/{{ params.shop }}-{{ schedule.from | date('%Y-%m-%d') }}.csv"], "chunk": 5 });
        let found: Value = rendered(&value, &params, zone).expect("rendered");
        assert_eq!(found, json!({ "csv": ["in/north-2026-07-01.csv"], "chunk": 5 }));
        for (text, said) in [
            ("{{ schedule.form }}", "schedule.form"),
            ("{{ schedule.from | date('%Q') }}", "date format"),
            ("{{ schedule.name | date('%Y') }}", "not an instant"),
            ("{{ nobody }}", "nobody"),
            ("{{ params.shop", "params.shop"),
        ] {
            let error = rendered(&json!([text]), &params, zone).expect_err(text);
            assert!(error.contains(said), "{text}: {error}");
        }
    }
}
