//! The settings in force, each with its origin and without anything secret.

use serde_json::Value;
use url::Url;

use super::keys::flatten;
use super::loaded::Loaded;
use super::origin::{Origin, nearest_origin};

/// One setting in force.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
pub struct Setting {
    /// Its dotted path.
    pub key: String,
    /// Its value; secrets are `***`.
    pub value: Value,
    /// `flag --store`, `env GRISTMILL_STORE_URL`, `config.toml:3`, or `default`.
    pub origin: String,
}

/// Every setting in force, in the order of the file's sections.
pub fn settings(loaded: &Loaded) -> Vec<Setting> {
    let tree = serde_json::to_value(&loaded.config).unwrap_or_default();
    let mut leaves = Vec::new();
    flatten("", &tree, &mut leaves);
    leaves
        .into_iter()
        .filter(|(_, value)| !matches!(value, Value::Object(map) if map.is_empty()))
        .map(|(key, value)| {
            // What a batch leaves out is a default even though its table is in the file.
            let said = loaded.origins.get(&key).or_else(|| below_something_said(loaded, &key));
            let origin = said.map_or("default".to_owned(), ToString::to_string);
            let value = redact(&key, value);
            Setting { key, value, origin }
        })
        .collect()
}

fn below_something_said<'a>(loaded: &'a Loaded, key: &str) -> Option<&'a Origin> {
    // `batch.a.validate.inline.…` is one value, set by the file as a whole through the schema's path.
    let whole = key.find(".validate.").map(|at| &key[..at + ".validate".len()])?;
    loaded.origins.contains_key(whole).then(|| nearest_origin(&loaded.origins, whole)).flatten()
}

/// The value without passwords: whole values by the key's name, parts of addresses by their form.
pub fn redact(key: &str, value: Value) -> Value {
    let name = key.rsplit('.').next().unwrap_or(key).to_ascii_lowercase();
    // A key that names the variable or file of a secret holds no secret itself.
    let points_elsewhere = name.ends_with("_env") || name.ends_with("_file");
    let secret = ["secret", "password", "token", "authorization", "api_key"].iter().any(|word| name.contains(word));
    match value {
        Value::String(text) if text.is_empty() => Value::String(text),
        Value::Null => Value::Null,
        _ if secret && !points_elsewhere => Value::String("***".to_owned()),
        Value::String(text) => Value::String(redact_url(&text)),
        Value::Array(list) => list.into_iter().map(|entry| redact(key, entry)).collect(),
        Value::Object(map) => map.into_iter().map(|(name, value)| (name.clone(), redact(&name, value))).collect(),
        other => other,
    }
}

/// An address without its password and without secret parameters; any other text as it is.
pub fn redact_url(text: &str) -> String {
    let Ok(mut url) = Url::parse(text) else { return text.to_owned() };
    let secret_pair = |name: &str| ["password", "token", "secret", "key", "sig"].iter().any(|word| name.contains(word));
    let has_password = url.password().is_some();
    let has_secret_pair = url.query_pairs().any(|(name, _)| secret_pair(&name.to_ascii_lowercase()));
    if has_password && url.set_password(Some("***")).is_err() {
        return "***".to_owned();
    }
    if has_secret_pair {
        let pairs: Vec<(String, String)> = url.query_pairs().into_owned().collect();
        let mut query = url.query_pairs_mut();
        query.clear();
        for (name, value) in &pairs {
            let shown = if secret_pair(&name.to_ascii_lowercase()) { "***" } else { value };
            query.append_pair(name, shown);
        }
        drop(query);
    }
    if has_password || has_secret_pair { url.to_string() } else { text.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passwords_never_show() {
        assert_eq!(redact_url("postgres://u:hunter2@h/d"), "postgres://u:***@h/d");
        assert_eq!(redact_url("postgres://h/d?user=u&password=hunter2"), "postgres://h/d?user=u&password=***");
        assert_eq!(redact("mail.password", Value::from("hunter2")), Value::from("***"));
        assert_eq!(redact("mail.password_file", Value::from("/run/p")), Value::from("/run/p"));
        assert_eq!(redact_url("sqlite://gristmill.db"), "sqlite://gristmill.db");
    }
}
