//! The values of a query's places: sent beside it, so that nothing in them is read as SQL.

use gristmill_core::definition::SqlSource;
use serde_json::Value;

/// The source with its places written as its database writes parameters; as it is when it has none.
pub(super) fn placed(source: &SqlSource, parameter: impl Fn(usize) -> String) -> SqlSource {
    let mut placed = source.clone();
    for at in 0..source.bind.len() {
        placed.query = placed.query.replace(&format!("{{{{{at}}}}}"), &parameter(at));
    }
    placed
}

/// The values as texts, which a database reads as the type that it expects.
pub(super) fn texts(source: &SqlSource) -> Vec<Option<String>> {
    let text = |value: &Value| match value {
        Value::Null => None,
        Value::String(text) => Some(text.clone()),
        other => Some(other.to_string()),
    };
    source.bind.iter().map(text).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn each_place_becomes_a_parameter_and_nothing_else_does() {
        let query = "select '$1' from t where a = {{0}} and b = {{1}}".to_owned();
        let bind = vec![json!("x"), json!(null)];
        let source = SqlSource { url: String::new(), query, key: "a".to_owned(), bind, answer_timeout: None };
        let placed = placed(&source, |at| format!("${}", at + 1));
        assert_eq!(placed.query, "select '$1' from t where a = $1 and b = $2");
        assert_eq!(texts(&source), [Some("x".to_owned()), None]);
    }
}
