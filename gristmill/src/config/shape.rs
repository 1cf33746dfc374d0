//! Reads the laid-over tree into the settings, one section at a time, and reports what does not fit.

use gristmill_core::aggregate::MeasureSpec;
use gristmill_core::definition::ParseRule;
use gristmill_core::unfit;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use super::error::{ConfigError, suggest};
use super::keys::join;
use super::origin::{Origins, nearest_origin};
use super::redact::redact_url;
use super::settings::{Config, SECTIONS};

/// Reads all sections. What is wrong is added to `errors`, and replaced by the defaults.
pub(super) fn read(mut tree: Map<String, Value>, origins: &Origins, errors: &mut Vec<ConfigError>) -> Config {
    let mut reader = Reader { origins, errors };
    let config = Config {
        store: reader.section(&mut tree, "store"),
        broker: reader.section(&mut tree, "broker"),
        worker: reader.section(&mut tree, "worker"),
        scheduler: reader.section(&mut tree, "scheduler"),
        listener: reader.section(&mut tree, "listener"),
        serve: reader.section(&mut tree, "serve"),
        accounts: reader.section(&mut tree, "accounts"),
        cache: reader.section(&mut tree, "cache"),
        mail: reader.section(&mut tree, "mail"),
        webhook: reader.section(&mut tree, "webhook"),
        exec: reader.section(&mut tree, "exec"),
        http: reader.section(&mut tree, "http"),
        audit: reader.section(&mut tree, "audit"),
        retention: reader.section(&mut tree, "retention"),
        events: reader.section(&mut tree, "events"),
        log: reader.section(&mut tree, "log"),
        kind: reader.named(&mut tree, "kind"),
        batch: reader.named(&mut tree, "batch"),
        schedule: reader.named(&mut tree, "schedule"),
        hook: reader.named(&mut tree, "hook"),
        notify: reader.named(&mut tree, "notify"),
        oidc: reader.named(&mut tree, "oidc"),
        limit: reader.named(&mut tree, "limit"),
        queue: reader.named(&mut tree, "queue"),
        watch: reader.named(&mut tree, "watch"),
    };
    for key in tree.keys() {
        let known = SECTIONS
            .iter()
            .copied()
            .chain(["kind", "batch", "schedule", "hook", "notify", "oidc", "watch", "limit", "queue"]);
        let hint = suggest(key, known);
        reader.push(key, format!("there is no section [{key}]"), hint);
    }
    config
}

struct Reader<'a> {
    origins: &'a Origins,
    errors: &'a mut Vec<ConfigError>,
}

impl Reader<'_> {
    fn section<T: DeserializeOwned + Default>(&mut self, tree: &mut Map<String, Value>, name: &str) -> T {
        tree.remove(name).and_then(|value| self.value(value, name)).unwrap_or_default()
    }

    fn named<T, M>(&mut self, tree: &mut Map<String, Value>, name: &str) -> M
    where
        T: DeserializeOwned,
        M: FromIterator<(String, T)>,
    {
        let entries = match tree.remove(name) {
            None => Map::new(),
            Some(Value::Object(map)) => map,
            Some(_) => {
                self.push(name, format!("must be a table: write [{name}.NAME]"), None);
                Map::new()
            }
        };
        let read =
            entries.into_iter().filter_map(|(key, value)| Some((key.clone(), self.value(value, &join(name, &key))?)));
        read.collect::<Vec<_>>().into_iter().collect()
    }

    fn value<T: DeserializeOwned>(&mut self, value: Value, path: &str) -> Option<T> {
        match serde_path_to_error::deserialize::<_, T>(&value) {
            Ok(read) => Some(read),
            Err(error) => {
                let below = error.path().to_string();
                self.explain(&value, path, &below, &error.into_inner().to_string());
                None
            }
        }
    }

    fn explain(&mut self, value: &Value, path: &str, below: &str, message: &str) {
        let key = if below == "." { path.to_owned() } else { join(path, below) };
        if let Some((word, known)) = unknown_word(message) {
            let (key, what) = if message.starts_with("unknown field") {
                let key = if key.ends_with(&word) { key } else { join(&key, &word) };
                (key, "there is no such setting".to_owned())
            } else {
                (key, format!("`{word}` is not one of the words known here"))
            };
            let hint = suggest(&word, known.iter().map(String::as_str));
            return self.push(&key, what, hint);
        }
        let inner = descend(value, below);
        if message.contains("untagged enum") && self.refine(inner, &key, message) {
            return;
        }
        self.push(&key, plain(message), None);
    }

    /// Finds the error that a choice between forms hides: reads the long form again, for its own error.
    fn refine(&mut self, inner: Option<&Value>, key: &str, message: &str) -> bool {
        let Some(table @ Value::Object(_)) = inner else { return false };
        let before = self.errors.len();
        if message.ends_with("ParseSpec") {
            self.value::<ParseRule>(table.clone(), key);
        } else if message.ends_with("AggregateSpec") {
            self.value::<MeasureSpec>(table.clone(), key);
        }
        self.errors.len() > before
    }

    fn push(&mut self, key: &str, message: String, hint: Option<String>) {
        let origin = nearest_origin(self.origins, key).cloned();
        // What does not fit is quoted, and may be an address that stands in the wrong place.
        self.errors.push(ConfigError::at(origin, key, redact_url(&message)).hint(hint));
    }
}

/// Returns the word in "unknown field `x`, expected one of `a`, `b`", and the known ones.
fn unknown_word(message: &str) -> Option<(String, Vec<String>)> {
    if !message.starts_with("unknown field") && !message.starts_with("unknown variant") {
        return None;
    }
    let mut words = message.split('`').skip(1).step_by(2).map(str::to_owned);
    Some((words.next()?, words.collect()))
}

/// What serde says, without the words that only its authors understand.
fn plain(message: &str) -> String {
    let forms = [
        ("ParseSpec", "neither a type such as \"integer\" nor a table such as { type = \"decimal\", above = \"0\" }"),
        ("AggregateSpec", "neither \"count\" nor a table such as { sum = \"amount\" }"),
        ("OneOrMany", "neither a text nor a list of texts"),
        ("WebhookEffect", "neither a URL nor a table such as { url = \"https://…\", secret_env = \"NAME\" }"),
        ("Form", "not a failure budget; write a count such as 100, or a percentage such as \"2.5%\""),
    ];
    if let Some((_, right)) = forms.iter().find(|(name, _)| message.ends_with(&format!("untagged enum {name}"))) {
        return (*right).to_owned();
    }
    match message.strip_prefix("missing field ") {
        Some(field) => format!("{field} is missing here"),
        None => unfit::plain(message).replace("invalid type: ", "found ").replace("invalid value: ", "found "),
    }
}

fn descend<'a>(value: &'a Value, path: &str) -> Option<&'a Value> {
    if path == "." {
        return Some(value);
    }
    path.split(['.', '[']).try_fold(value, |at, step| match step.strip_suffix(']') {
        Some(index) => at.get(index.parse::<usize>().ok()?),
        None => at.get(step),
    })
}
