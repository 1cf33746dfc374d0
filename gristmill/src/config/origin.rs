//! Where a setting comes from.

use std::collections::BTreeMap;
use std::fmt;

/// Where the value of a setting comes from. Earlier origins win over later ones.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// A flag of the command line.
    Flag(&'static str),
    /// A variable of the environment.
    Env(String),
    /// A place in a file.
    File {
        /// The file as it was named.
        file: String,
        /// The line, counted from 1.
        line: usize,
        /// The character of the line, counted from 1.
        column: usize,
    },
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Flag(name) => write!(f, "flag --{name}"),
            Self::Env(name) => write!(f, "env {name}"),
            Self::File { file, line, column } => write!(f, "{file}:{line}:{column}"),
        }
    }
}

/// Keys by dotted path, each with where it was set.
pub type Origins = BTreeMap<String, Origin>;

/// Returns the origin of a key, or of the nearest enclosing key that has one.
pub fn nearest_origin<'a>(origins: &'a Origins, key: &str) -> Option<&'a Origin> {
    let mut path = key;
    loop {
        if let Some(origin) = origins.get(path) {
            return Some(origin);
        }
        let end = path.rfind(['.', '['])?;
        path = &path[..end];
    }
}
