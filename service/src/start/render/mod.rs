//! `{{ schedule.from | date("%Y-%m-%d") }}`: how a batch's source, its output and a job's payload use what a run knows.
//!
//! A value goes into its place and no further, however hostile its sender: into a query as a bound value ([`query`]), into a
//! command as a part of one argument ([`command`]), into a URL percent-encoded, into a path as one component ([`place`]).
//! Where that cannot be kept the template is refused, by `check` before anything runs.

mod command;
mod place;
mod query;
mod template;

use gristmill_core::definition::{OneOrMany, OutputSpec, SourceSpec};
use gristmill_core::schedule::Zone;
use gristmill_core::unfit::plain;
use gristmill_jobs::kind::aggregate::AGGREGATE;
use gristmill_jobs::kind::chunk::CHUNK;
use gristmill_jobs::kind::payload::{EMAIL, EXEC, HTTP, WEBHOOK};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use place::Place;
use template::{MARK, Scope};

/// What is wrong with a template, or with a value for it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RenderError {
    /// The template makes no sense: the configuration is wrong.
    #[error("{0}")]
    Wrong(String),
    /// The event lacks a value, or has one that does not fit: what was sent is wrong, and stays so when it comes again.
    #[error("{0}")]
    Unfit(String),
}

impl RenderError {
    /// The same, with the key at which it was found.
    fn at(self, key: &str) -> Self {
        match self {
            _ if key.is_empty() => self,
            Self::Wrong(wrong) => Self::Wrong(format!("`{key}`: {wrong}")),
            Self::Unfit(wrong) => Self::Unfit(format!("`{key}`: {wrong}")),
        }
    }
}

/// The kinds that do what their payload says, to the world outside. What an event sends is never their whole payload:
/// its sender would choose the program, the address or the recipient.
pub const DEEDS: [&str; 6] = [EMAIL, WEBHOOK, EXEC, HTTP, CHUNK, AGGREGATE];

/// Renders a batch's source with the run's parameters: `schedule.name`, `schedule.tick`, `schedule.from`, `schedule.to`
/// (RFC 3339 in UTC), `event` and `params`. The filter `date` shows an instant on the schedule's wall clock.
///
/// # Errors
///
/// Which template is wrong, and how.
pub fn source(spec: &SourceSpec, params: &Value, zone: Zone) -> Result<SourceSpec, RenderError> {
    source_in(spec, &Scope::of(params, zone))
}

/// The same for an output.
///
/// # Errors
///
/// Which template is wrong, and how.
pub fn output(spec: &OutputSpec, params: &Value, zone: Zone) -> Result<OutputSpec, RenderError> {
    output_in(spec, &Scope::of(params, zone))
}

/// The same for the payload of a job of this kind.
///
/// # Errors
///
/// Which template is wrong, and how.
pub fn payload(kind: &str, payload: &Value, params: &Value, zone: Zone) -> Result<Value, RenderError> {
    payload_in(kind, payload, &Scope::of(params, zone))
}

/// Finds what is wrong with the templates of a batch, before any run: the key, and the fault.
///
/// # Errors
///
/// The first one.
pub fn check_batch(source: &SourceSpec, output: Option<&OutputSpec>) -> Result<(), (&'static str, String)> {
    source_in(source, &Scope::check()).map_err(|error| ("source", error.to_string()))?;
    let output = output.map(|output| output_in(output, &Scope::check())).transpose();
    output.map(drop).map_err(|error| ("output", error.to_string()))
}

/// The same for the payload of a job. `by_event` says that something other than the clock starts it.
///
/// # Errors
///
/// What is wrong.
pub fn check_payload(kind: &str, payload: &Value, by_event: bool) -> Result<(), String> {
    if by_event && payload.is_null() && DEEDS.contains(&kind) {
        return Err(no_payload(kind));
    }
    payload_in(kind, payload, &Scope::check()).map(drop).map_err(|error| error.to_string())
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

/// Why an event is not the payload of such a kind.
pub(crate) fn no_payload(kind: &str) -> String {
    format!(
        "a job of kind `{kind}` that an event starts needs a `payload` of its own: otherwise the sender would decide \
         what it does; write one, in which `{{{{ event.body.… }}}}` stands for what was sent"
    )
}

/// Each of the sources of which it is put together by itself.
fn source_in(spec: &SourceSpec, scope: &Scope) -> Result<SourceSpec, RenderError> {
    let mut found = spec.clone();
    let (merge, join) = (found.merge.take(), found.join.take());
    let mut found = alone_in(&found, scope)?;
    let at = |key: String| move |error: RenderError| error.at(&key);
    if let Some(list) = merge {
        let each = list.iter().enumerate();
        let filled = each.map(|(number, one)| source_in(one, scope).map_err(at(format!("merge[{number}]"))));
        found.merge = Some(filled.collect::<Result<_, _>>()?);
    }
    if let Some(mut list) = join {
        for (number, one) in list.iter_mut().enumerate() {
            *one.with = source_in(&one.with, scope).map_err(at(format!("join[{number}].with")))?;
        }
        found.join = Some(list);
    }
    Ok(found)
}

fn alone_in(spec: &SourceSpec, scope: &Scope) -> Result<SourceSpec, RenderError> {
    let mut found = spec.clone();
    let (csv, jsonl, fixed) = (found.csv.take(), found.jsonl.take(), found.fixed.take());
    let query = found.sql.as_mut().map(|sql| std::mem::take(&mut sql.query));
    let mut found: SourceSpec = each_in(&found, &|_: &[String]| Place::Never, scope)?;
    found.csv = paths(csv, "csv", scope)?;
    found.jsonl = paths(jsonl, "jsonl", scope)?;
    found.fixed = paths(fixed, "fixed", scope)?;
    if let (Some(sql), Some(query)) = (&mut found.sql, query) {
        sql.query = query;
        if sql.query.contains(MARK) && sql.bind.is_empty() {
            let bound = query::bind(&sql.query, scope).map_err(|error| error.at("sql.query"))?;
            (sql.query, sql.bind) = (bound.text, bound.values);
        }
    }
    Ok(found)
}

fn output_in(spec: &OutputSpec, scope: &Scope) -> Result<OutputSpec, RenderError> {
    let place = |path: &[String]| match path {
        [one] if one == "jsonl" || one == "csv" => Place::Path { glob: false },
        _ => Place::Never,
    };
    each_in(spec, &place, scope)
}

fn paths(list: Option<OneOrMany>, key: &str, scope: &Scope) -> Result<Option<OneOrMany>, RenderError> {
    let fill = |path: &String| {
        let filled = Place::Path { glob: true }.fill(path, scope).map_err(|error| error.at(key))?;
        Ok(template::printed(&filled))
    };
    Ok(match list {
        None => None,
        Some(OneOrMany::One(path)) => Some(OneOrMany::One(fill(&path)?)),
        Some(OneOrMany::Many(paths)) => Some(OneOrMany::Many(paths.iter().map(fill).collect::<Result<_, _>>()?)),
    })
}

fn payload_in(kind: &str, payload: &Value, scope: &Scope) -> Result<Value, RenderError> {
    let mut found = payload.clone();
    let command = match (kind, found.get_mut("command")) {
        (EXEC, Some(Value::Array(words))) => Some(command::command(words, scope).map_err(|error| error.at("command"))?),
        _ => None,
    };
    if let Some(words) = command {
        // Its values may look like templates: they are not looked at again.
        found["command"] = Value::Null;
        each(&mut found, &mut Vec::new(), &|path: &[String]| place_of(kind, path), scope)?;
        found["command"] = Value::Array(words);
        return Ok(found);
    }
    each(&mut found, &mut Vec::new(), &|path: &[String]| place_of(kind, path), scope)?;
    Ok(found)
}

/// Where a text of a payload is used.
fn place_of(kind: &str, path: &[String]) -> Place {
    let path: Vec<&str> = path.iter().map(String::as_str).collect();
    match (kind, path.as_slice()) {
        (EXEC, ["input", ..]) | (HTTP, ["body", ..]) | (WEBHOOK | EMAIL, ["data", ..]) => Place::Json,
        (EXEC, ["env", _]) | (EMAIL, ["text"]) => Place::Text,
        (HTTP | WEBHOOK, ["url"]) => Place::Url,
        (HTTP, ["headers", _]) | (WEBHOOK, ["type"]) | (EMAIL, ["to" | "subject"]) => Place::Line,
        (EMAIL, ["html"]) => Place::Html,
        (kind, _) if DEEDS.contains(&kind) => Place::Never,
        _ => Place::Json,
    }
}

fn each_in<T: Serialize + DeserializeOwned>(
    value: &T,
    place: &impl Fn(&[String]) -> Place,
    scope: &Scope,
) -> Result<T, RenderError> {
    let wrong = |error: serde_json::Error| RenderError::Wrong(plain(&error.to_string()));
    let mut tree = serde_json::to_value(value).map_err(wrong)?;
    each(&mut tree, &mut Vec::new(), place, scope)?;
    serde_json::from_value(tree).map_err(wrong)
}

/// Fills every text of a tree, by where it is used. `path` are the keys above it.
fn each(
    tree: &mut Value,
    path: &mut Vec<String>,
    place: &impl Fn(&[String]) -> Place,
    scope: &Scope,
) -> Result<(), RenderError> {
    let mut below = |key: String, value: &mut Value| {
        path.push(key);
        let filled = each(value, path, place, scope);
        path.pop();
        filled
    };
    match tree {
        Value::String(text) if text.contains(MARK) => {
            *tree = place(path.as_slice()).fill(text, scope).map_err(|error| error.at(&path.join(".")))?;
            Ok(())
        }
        Value::Array(values) => values.iter_mut().enumerate().try_for_each(|(at, value)| below(at.to_string(), value)),
        Value::Object(map) => map.iter_mut().try_for_each(|(key, value)| below(key.clone(), value)),
        Value::String(_) | Value::Null | Value::Bool(_) | Value::Number(_) => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn rendered(kind: &str, text: Value, body: Value) -> Result<Value, RenderError> {
        let params = json!({ "region": "north", "event": { "id": "1", "body": body },
            "schedule": { "name": "nightly", "from": "2026-06-30T23:00:00Z" } });
        payload(kind, &text, &params, gristmill_core::schedule::zone("Europe/London").expect("a zone"))
    }

    #[test]
    fn a_source_names_files_and_binds_values() {
        let spec: SourceSpec = serde_json::from_value(
            json!({ "csv": ["in/{{ params.shop }}-{{ schedule.from | date('%Y-%m-%d') }}.csv"] }),
        )
        .expect("a source");
        let params = json!({ "shop": "north", "schedule": { "from": "2026-06-30T23:00:00Z" } });
        let found =
            source(&spec, &params, gristmill_core::schedule::zone("Europe/London").expect("a zone")).expect("rendered");
        assert_eq!(found.csv, Some(OneOrMany::Many(vec!["in/north-2026-07-01.csv".to_owned()])));
        let sql = json!({ "sql": { "url": "env:URL", "query": "select * from t where shop = '{{ params.shop }}'", "key": "id" } });
        let found = source(&serde_json::from_value(sql).expect("a source"), &params, Zone::UTC).expect("rendered");
        let sql = found.sql.expect("a query");
        assert_eq!((sql.query.as_str(), sql.bind), ("select * from t where shop = {{0}}", vec![json!("north")]));
        for sql in [
            json!({ "url": "postgres://{{ params.shop }}/d", "query": "select 1", "key": "id" }),
            json!({ "url": "env:URL", "query": "select 1", "key": "{{ params.shop }}" }),
        ] {
            let spec = serde_json::from_value(json!({ "sql": sql })).expect("a source");
            assert!(matches!(source(&spec, &params, Zone::UTC), Err(RenderError::Wrong(_))), "{sql}");
        }
    }

    #[test]
    fn a_missing_field_is_the_senders_fault_and_is_named_with_its_place() {
        let text = json!({ "command": ["echo", "{{ event.body.order }}"], "input": { "x": "{{ event.body.x }}" } });
        for (body, said) in [
            (json!({ "x": 1 }), "`command`: `event.body.order` is missing"),
            (json!(5), "event.body.order"),
            (json!({ "order": 1 }), "`input.x`: `event.body.x` is missing"),
        ] {
            let error = rendered("exec", text.clone(), body).expect_err(said);
            assert!(matches!(&error, RenderError::Unfit(wrong) if wrong.contains(said)), "{error:?}");
        }
        let found =
            rendered("exec", text, json!({ "order": "{{ params.region }}", "x": ["a", null, true] })).expect("fits");
        assert_eq!(found, json!({ "command": ["echo", "{{ params.region }}"], "input": { "x": ["a", null, true] } }));
    }

    #[test]
    fn a_value_decides_nothing_that_a_kind_does() {
        for (kind, text) in [
            ("http", json!({ "url": "https://h/", "method": "{{ event.body.x }}" })),
            ("http", json!({ "url": "{{ event.body.x }}" })),
            ("webhook", json!({ "url": "https://h/", "type": "a", "data": 1, "secret_env": "{{ event.body.x }}" })),
            ("email", json!({ "to": "a@example.com", "template": "{{ event.body.x }}" })),
            ("email", json!({ "to": "a@example.com", "from": "{{ event.body.x }}" })),
            ("exec", json!("{{ event.body }}")),
            ("chunk", json!({ "slice": "{{ event.body.x }}" })),
        ] {
            assert!(
                matches!(rendered(kind, text.clone(), json!({ "x": "y" })), Err(RenderError::Wrong(_))),
                "{kind} {text}"
            );
            assert!(check_payload(kind, &text, true).is_err(), "{kind} {text}");
        }
        assert_eq!(rendered("resize", json!("{{ event.body }}"), json!({ "a": 1 })), Ok(json!({ "a": 1 })));
    }

    #[test]
    fn an_event_is_not_the_payload_of_what_acts_on_the_world() {
        for kind in DEEDS {
            assert!(check_payload(kind, &Value::Null, true).expect_err(kind).contains("needs a `payload`"));
            assert!(check_payload(kind, &Value::Null, false).is_ok(), "{kind}");
        }
        assert!(check_payload("resize", &Value::Null, true).is_ok());
    }

    #[test]
    fn a_template_is_checked_before_any_run() {
        for (text, said) in [
            (json!({ "x": "{{ nobody.x }}" }), "there is no `nobody`"),
            (json!({ "x": "{{ params.x" }), "has no `}}`"),
            (json!({ "x": "{{ params.x | upperr }}" }), "upperr"),
            (json!({ "x": "{{ schedule.form }}" }), "schedule.form"),
            (json!({ "x": "{{ schedule.from | date('%Q') }}" }), "date format"),
        ] {
            let error = check_payload("resize", &text, false).expect_err(said);
            assert!(error.contains(said) && error.contains("`x`"), "{error}");
        }
        let output =
            serde_json::from_value(json!({ "sql": { "table": "{{ params.t }}", "columns": ["a"] } })).expect("one");
        let csv = serde_json::from_value(json!({ "csv": "a.csv" })).expect("a source");
        let fits = json!({ "x": "{{ event.body.x | default('a') | upper }} {{ schedule.from | date('%Y') }}" });
        assert_eq!(check_payload("resize", &fits, true), Ok(()));
        assert_eq!(check_batch(&csv, Some(&output)).expect_err("refused").0, "output");
        assert!(check_batch(&csv, None).is_ok());
    }
}
