//! Lays the file, the environment and the flags over one another and reads the result.

use std::path::{Path, PathBuf};

use serde_json::{Map, Value};

use super::error::{ConfigError, nearest};
use super::keys::{flatten, variable_of};
use super::loaded::Loaded;
use super::origin::{Origin, Origins};
use super::redact::redact_address;
use super::settings::{Config, SECTIONS};
use super::toml_tree::read_toml;
use super::{paths, renamed, shape, verify};

/// The file that is read when none is named, and that may be missing.
pub const DEFAULT_FILE: &str = "config.toml";

/// The largest configuration file, in bytes.
const FILE_BYTES_MAX: u64 = 4 * 1024 * 1024;

/// What is laid over the defaults. Everything comes in as a value, so that tests need no process.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Layers {
    /// The named file. `None` is `./config.toml`, if it exists.
    pub file: Option<PathBuf>,
    /// The environment: every variable whose name begins with `GRISTMILL_`.
    pub env: Vec<(String, String)>,
    /// Flags: their name, the key that they set, and the value.
    pub flags: Vec<(&'static str, &'static str, String)>,
}

/// Reads the configuration.
///
/// # Errors
///
/// Every error that was found, each with its place; never an empty list.
pub fn load(layers: &Layers) -> Result<Loaded, Vec<ConfigError>> {
    let file = named_file(layers);
    let (mut tree, mut origins) = match &file {
        Some(path) => read_file(path).map_err(|error| vec![error])?,
        None => (Map::new(), Origins::new()),
    };
    let mut errors = Vec::new();
    let mut warnings = lay_environment(&layers.env, &mut tree, &mut origins, &mut errors);
    warnings.extend(renamed::carry(&mut tree, &mut origins, &mut errors));
    lay_flags(&layers.flags, &mut tree, &mut origins, &mut errors);
    warnings.extend(layers.flags.iter().filter_map(|(flag, key, value)| in_the_open(flag, key, value)));
    let mut config = shape::read(tree, &origins, &mut errors);
    let folder = file.as_deref().and_then(Path::parent).map(Path::to_path_buf).unwrap_or_default();
    paths::resolve(&mut config, &origins, &folder);
    if errors.is_empty() {
        errors.extend(verify::config(&mut config, &origins));
    }
    if errors.is_empty() { Ok(Loaded { config, origins, file, warnings }) } else { Err(errors) }
}

/// The variables of this process that may hold a setting: `GRISTMILL_…` without those of tests, and without the tenant,
/// which is not a setting.
pub fn environment() -> Vec<(String, String)> {
    std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
        .filter(|(name, _)| name.starts_with("GRISTMILL_") && !name.starts_with("GRISTMILL_TEST_"))
        .filter(|(name, _)| name != "GRISTMILL_TENANT")
        .collect()
}

/// A configuration with changes made by code, which win over the file, the environment and the flags.
///
/// # Errors
///
/// Every value that makes no sense now; never an empty list.
pub fn changed(loaded: Loaded, change: impl FnOnce(&mut Config)) -> Result<Loaded, Vec<ConfigError>> {
    let mut loaded = loaded;
    change(&mut loaded.config);
    let errors = verify::config(&mut loaded.config, &loaded.origins);
    if errors.is_empty() { Ok(loaded) } else { Err(errors) }
}

/// Every key of the fixed sections with its default.
pub fn defaults() -> Vec<(String, Value)> {
    let tree = serde_json::to_value(Config::default()).unwrap_or_default();
    let mut leaves = Vec::new();
    for section in SECTIONS {
        flatten(section, &tree[section], &mut leaves);
    }
    // Tables whose keys are names: no variable can stand for one.
    leaves.retain(|(_, default)| !default.is_object());
    leaves
}

fn named_file(layers: &Layers) -> Option<PathBuf> {
    let from_env = layers.env.iter().find(|(name, _)| name == "GRISTMILL_CONFIG").map(|(_, value)| value.into());
    layers.file.clone().or(from_env).or_else(|| Some(PathBuf::from(DEFAULT_FILE)).filter(|path| path.exists()))
}

fn read_file(path: &Path) -> Result<(Map<String, Value>, Origins), ConfigError> {
    let name = path.display().to_string();
    let wrong = |what: String| ConfigError::at(None, "", format!("the configuration `{name}` {what}"));
    let length = std::fs::metadata(path).map_err(|error| wrong(format!("cannot be read: {error}")))?.len();
    if length > FILE_BYTES_MAX {
        return Err(wrong(format!("has {length} bytes; at most {FILE_BYTES_MAX} are read")));
    }
    let bytes = std::fs::read(path).map_err(|error| wrong(format!("cannot be read: {error}")))?;
    let text = String::from_utf8(bytes)
        .map_err(|error| wrong(format!("is not UTF-8 at byte {}", error.utf8_error().valid_up_to())))?;
    read_toml(&name, text.strip_prefix('\u{feff}').unwrap_or(&text))
}

fn lay_environment(
    env: &[(String, String)],
    tree: &mut Map<String, Value>,
    origins: &mut Origins,
    errors: &mut Vec<ConfigError>,
) -> Vec<String> {
    let known: Vec<(String, String, Value)> =
        defaults().into_iter().map(|(key, default)| (variable_of(&key), key, default)).collect();
    let mut warnings = Vec::new();
    for (name, text) in env {
        let renamed = renamed::variable(name);
        let found = known
            .iter()
            .find(|(variable, key, _)| variable == name || renamed.as_ref().is_some_and(|(new, _)| new == key));
        match found {
            Some((_, key, default)) => {
                let origin = Origin::Env(name.clone());
                match typed(text, default) {
                    Ok(value) => set(tree, key, value),
                    Err(wrong) => errors.push(ConfigError::at(Some(origin.clone()), key, wrong)),
                }
                origins.insert(key.clone(), origin);
                warnings.extend(renamed.map(|(_, warning)| warning));
            }
            None => warnings.extend(unread(name, &known)),
        }
    }
    warnings
}

fn lay_flags(
    flags: &[(&'static str, &'static str, String)],
    tree: &mut Map<String, Value>,
    origins: &mut Origins,
    errors: &mut Vec<ConfigError>,
) {
    let known = defaults();
    for (flag, key, text) in flags {
        let origin = Origin::Flag(flag);
        let default = known.iter().find(|(known, _)| known == key).map_or(&Value::Null, |(_, default)| default);
        match typed(text, default) {
            Ok(value) => set(tree, key, value),
            Err(wrong) => errors.push(ConfigError::at(Some(origin.clone()), *key, wrong)),
        }
        origins.insert((*key).to_owned(), origin);
    }
}

/// A flag that shows a password to everybody who may see the list of processes.
fn in_the_open(flag: &str, key: &str, value: &str) -> Option<String> {
    (redact_address(value) != value).then(|| {
        format!(
            "everybody on this machine may see the password in --{flag} in the list of processes; set {} instead",
            variable_of(key)
        )
    })
}

/// A variable that looks like a misspelt setting. Others may be the user's own secrets.
fn unread(name: &str, known: &[(String, String, Value)]) -> Option<String> {
    let near = nearest(name, known.iter().map(|(variable, ..)| variable.as_str()))?;
    (strsim::damerau_levenshtein(name, near) <= 2)
        .then(|| format!("nothing reads the variable {name}; did you mean {near}?"))
}

fn typed(text: &str, default: &Value) -> Result<Value, String> {
    match default {
        Value::Bool(_) => text.parse().map(Value::Bool).map_err(|_| format!("`{text}` is neither `true` nor `false`")),
        Value::Number(_) => text.parse::<i64>().map(Value::from).map_err(|_| format!("`{text}` is not a whole number")),
        Value::Array(_) => {
            let entries = text.split(',').map(str::trim).filter(|entry| !entry.is_empty());
            Ok(entries.map(|entry| Value::String(entry.to_owned())).collect())
        }
        Value::Null | Value::String(_) | Value::Object(_) => Ok(Value::String(text.to_owned())),
    }
}

fn set(tree: &mut Map<String, Value>, key: &str, value: Value) {
    match key.split_once('.') {
        None => {
            tree.insert(key.to_owned(), value);
        }
        Some((head, rest)) => {
            let below = tree.entry(head).or_insert_with(|| Value::Object(Map::new()));
            // A file with `store = 1` is refused at its own line; nothing is laid over it.
            if let Value::Object(below) = below {
                set(below, rest, value);
            }
        }
    }
}
