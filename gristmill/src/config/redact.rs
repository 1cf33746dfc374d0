//! Settings without their secrets: whole values by the name of their key, addresses by their form, and words of a
//! command by what stands before them. What cannot be read is hidden rather than shown.

use gristmill_jobs::redact::{HIDDEN, is_suspect, looks_secret};
pub use gristmill_jobs::redact::{redact_address, redact_url};
use serde_json::Value;

/// The value without its secrets.
pub(super) fn redact(key: &str, value: Value) -> Value {
    let name = key.rsplit('.').next().unwrap_or(key);
    match value {
        Value::String(text) if text.is_empty() => Value::String(text),
        Value::Null => Value::Null,
        // The name of a variable holds no secret itself.
        Value::String(text) if is_reference(&text) => Value::String(text),
        _ if is_secret(key, name) => Value::String(HIDDEN.to_owned()),
        Value::String(text) => Value::String(redact_url(&text)),
        Value::Array(list) if name == "command" => Value::Array(redact_words(list)),
        Value::Array(list) => list.into_iter().map(|entry| redact(key, entry)).collect(),
        Value::Object(map) => {
            map.into_iter().map(|(name, value)| (name.clone(), redact(&format!("{key}.{name}"), value))).collect()
        }
        other => other,
    }
}

fn is_reference(text: &str) -> bool {
    text.strip_prefix("env:")
        .is_some_and(|name| !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_'))
}

/// Whether the value of this key is secret as a whole.
fn is_secret(key: &str, name: &str) -> bool {
    // A key that names the variable or file of a secret.
    if name.ends_with("_env") || name.ends_with("_file") {
        return false;
    }
    let free = [".headers.", ".env."].iter().any(|table| format!(".{key}").contains(table));
    looks_secret(name) || (free && is_suspect(name))
}

/// Words of a command: `--token=…`, and the word after `--token`.
fn redact_words(words: Vec<Value>) -> Vec<Value> {
    let mut hide_next = false;
    let redacted = words.into_iter().map(|word| {
        let Value::String(text) = word else { return word };
        if std::mem::take(&mut hide_next) && !text.starts_with('-') {
            return Value::String(HIDDEN.to_owned());
        }
        let (name, value) =
            text.split_once(['=', ':']).map_or((text.as_str(), None), |(name, value)| (name, Some(value)));
        let option = name.starts_with('-') || value.is_some();
        if !option || name.contains([' ', '/']) || !is_suspect(name) {
            return Value::String(redact_url(&text));
        }
        hide_next = value.is_none();
        match value {
            Some(_) => Value::String(format!("{}{HIDDEN}", &text[..=name.len()])),
            None => Value::String(text),
        }
    });
    redacted.collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn headers_variables_and_words_of_a_command_that_look_like_secrets_are_hidden() {
        for (key, secret) in [
            ("mail.password", true),
            ("batch.a.process.http.headers.Authorization", true),
            ("batch.a.process.http.headers.X-Api-Key", true),
            ("batch.a.process.http.headers.X-Auth", true),
            ("batch.a.process.http.headers.Cookie", true),
            ("batch.a.process.http.headers.Idempotency-Key", false),
            ("batch.a.process.http.headers.Accept", false),
            ("exec.env.STRIPE_KEY", true),
            ("exec.env.REGION", false),
            ("mail.password_file", false),
            ("batch.a.key", false),
            ("batch.a.source.sql.key", false),
            ("schedule.a.job.payload.headers.x-signature", true),
        ] {
            let shown = redact(key, json!("hunter2"));
            assert_eq!(shown == json!("***"), secret, "{key}: {shown}");
        }
        assert_eq!(redact("batch.a.process.http.headers.Authorization", json!("env:TOKEN")), json!("env:TOKEN"));
        let words = json!([
            "curl",
            "--token",
            "hunter2",
            "--password=hunter2",
            "-H",
            "Authorization: hunter2",
            "x",
            "https://u:hunter2@h/"
        ]);
        let shown = redact("schedule.a.job.payload.command", words);
        assert!(!shown.to_string().contains("hunter2"), "{shown}");
        assert!(shown.to_string().contains("\"curl\",\"--token\"") && shown[6] == "x", "{shown}");
    }
}
