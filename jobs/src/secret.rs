//! Values that may come only from the environment or a file, and are never shown.

/// Reads the secret of the keys `{key}_env` and `{key}_file`, of which at most one is given. `None`
/// when neither is.
///
/// # Errors
///
/// When both are given, the variable is not set or empty, or the file cannot be read or is empty: a text that names the
/// key and the variable or file, never the content.
pub fn read(key: &str, env: Option<&str>, file: Option<&str>) -> Result<Option<String>, String> {
    match (env, file) {
        (None, None) => Ok(None),
        (Some(_), Some(_)) => Err(format!("`{key}_env` and `{key}_file` are both given; keep one")),
        (Some(name), None) => variable(&format!("`{key}_env`"), name).map(Some),
        (None, Some(path)) => {
            let text = std::fs::read_to_string(path)
                .map_err(|error| format!("`{key}_file`: {path} cannot be read: {error}"))?;
            filled(text).ok_or_else(|| format!("`{key}_file`: {path} is empty")).map(Some)
        }
    }
}

/// Reads a variable that `what` names.
///
/// # Errors
///
/// When it is not set, empty or not UTF-8: a text with its name.
pub fn variable(what: &str, name: &str) -> Result<String, String> {
    match std::env::var(name) {
        Ok(text) => {
            filled(text).ok_or_else(|| format!("the environment variable {name}, which {what} names, is empty"))
        }
        Err(std::env::VarError::NotPresent) => {
            Err(format!("the environment variable {name}, which {what} names, is not set in the worker's environment"))
        }
        Err(std::env::VarError::NotUnicode(_)) => {
            Err(format!("the environment variable {name}, which {what} names, is not UTF-8"))
        }
    }
}

fn filled(text: String) -> Option<String> {
    let text = text.trim_end();
    (!text.is_empty()).then(|| text.to_owned())
}
