//! The settings in force, each with its origin and without anything secret.

use std::collections::BTreeMap;

use serde_json::Value;

use super::keys::flatten;
use super::loaded::Loaded;
use super::origin::{Origin, nearest_origin};
use super::redact::redact;
pub use super::redact::{redact_address, redact_url};
use super::settings::Config;

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

/// The batch definitions by their names, each whole and without anything secret.
pub fn definitions(config: &Config) -> BTreeMap<String, Value> {
    let known = config.batch.iter().filter_map(|(name, batch)| Some((name, serde_json::to_value(batch).ok()?)));
    known.map(|(name, batch)| (name.clone(), redact(&format!("batch.{name}"), batch))).collect()
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
