//! From the names in a definition to the files that they mean.

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use super::error::SourceError;

/// The most files that one source may have.
pub const FILES_MAX: usize = 10_000;

/// One input to be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Input {
    /// A file: the name that the user gave, and its absolute path.
    File { name: String, path: PathBuf },
    /// Standard input.
    Stdin,
}

/// Returns all inputs in the order in which they are read: names as given, the matches of a glob sorted. A file that is
/// named twice, or matched by two globs, is read once: at its first place.
pub(super) fn inputs(names: &[String], base: &Path) -> Result<Vec<Input>, SourceError> {
    let base = std::path::absolute(base).map_err(|error| SourceError::from_io(&base.display().to_string(), &error))?;
    let mut inputs = Vec::new();
    let mut seen = HashSet::new();
    for name in names {
        if name == "-" {
            if inputs.contains(&Input::Stdin) {
                return Err(SourceError::Setting(
                    "`-` (standard input) is named twice; it can be read once".to_owned(),
                ));
            }
            inputs.push(Input::Stdin);
            continue;
        }
        for (name, path) in files(name, &base)? {
            if seen.insert(path.clone()) {
                inputs.push(Input::File { name, path });
            }
        }
    }
    if inputs.is_empty() {
        return Err(SourceError::Setting("the list of files is empty; name at least one".to_owned()));
    }
    if inputs.len() > FILES_MAX {
        let problem = format!("{} files match, over the limit of {FILES_MAX}; use several batches", inputs.len());
        return Err(SourceError::Setting(problem));
    }
    Ok(inputs)
}

/// What is wrong where `-` is named and there is no standard input.
pub(super) fn no_stdin() -> SourceError {
    let problem = "there is none here; name a file, or start the batch from the command line".to_owned();
    SourceError::Missing { name: "standard input".to_owned(), problem }
}

fn files(name: &str, base: &Path) -> Result<Vec<(String, PathBuf)>, SourceError> {
    let path = base.join(name);
    // A file whose name really contains a bracket or a star is taken literally.
    if path.exists() || !name.contains(['*', '?', '[']) {
        return Ok(vec![(name.to_owned(), literal(name, path)?)]);
    }
    let escaped = if Path::new(name).is_absolute() {
        name.to_owned()
    } else {
        format!("{}/{name}", glob::Pattern::escape(&base.to_string_lossy()))
    };
    let matches =
        glob::glob(&escaped).map_err(|error| SourceError::Setting(format!("`{name}` is not a glob: {error}")))?;
    let mut found = Vec::new();
    for entry in matches {
        let path = entry.map_err(|error| SourceError::from_io(&error.path().display().to_string(), error.error()))?;
        if !path.is_dir() {
            let shown = path.strip_prefix(base).unwrap_or(&path).display().to_string();
            found.push((shown, text_path(path)?));
        }
    }
    if found.is_empty() {
        let problem = format!("no file matches this glob in the folder {}", base.display());
        return Err(SourceError::Missing { name: name.to_owned(), problem });
    }
    found.sort();
    Ok(found)
}

fn literal(name: &str, path: PathBuf) -> Result<PathBuf, SourceError> {
    if name.is_empty() {
        return Err(SourceError::Setting("the name of a file is empty".to_owned()));
    }
    match std::fs::metadata(&path) {
        Ok(metadata) if metadata.is_dir() => Err(SourceError::Unreadable {
            name: name.to_owned(),
            problem: format!("it is a folder; name a file, or a glob such as `{}/*`", name.trim_end_matches('/')),
        }),
        Ok(_) => text_path(path),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Err(SourceError::Missing {
            name: name.to_owned(),
            problem: format!("there is no such file (looked for {})", path.display()),
        }),
        Err(error) => Err(SourceError::from_io(name, &error)),
    }
}

/// A chunk's payload is JSON, so a path must be a text.
fn text_path(path: PathBuf) -> Result<PathBuf, SourceError> {
    if path.to_str().is_some() {
        return Ok(path);
    }
    let name = path.display().to_string();
    Err(SourceError::Unreadable { name, problem: "its name is not UTF-8; rename it".to_owned() })
}
