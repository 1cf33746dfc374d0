//! `sqlite://FILE?mode=rwc`: a path, percent-encoded where it has to be, and options.

use std::path::{Path, PathBuf};

use super::{decoded, encoded};

/// What a URL says about a file.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SqliteAddress {
    /// The file.
    pub file: PathBuf,
    /// The options as they are written, in order.
    pub options: Vec<(String, String)>,
}

/// The file that a URL names, if it is one of SQLite.
pub fn sqlite_file(url: &str) -> Option<PathBuf> {
    SqliteAddress::of(url)?.ok().map(|address| address.file)
}

/// The URL of a file, with the options of another URL.
pub fn sqlite_url(file: &Path, like: &str) -> String {
    let query = like.split_once('?').map(|(_, query)| format!("?{query}")).unwrap_or_default();
    let text = file.display().to_string();
    // Only what would end the path: what people write stays as they wrote it.
    let path: String =
        text.chars().map(|c| if "%?#".contains(c) { encoded(&c.to_string(), "") } else { c.to_string() }).collect();
    format!("sqlite://{path}{query}")
}

impl SqliteAddress {
    /// Reads a URL. `None` when it is none of SQLite.
    pub fn of(url: &str) -> Option<Result<Self, String>> {
        let rest = url.strip_prefix("sqlite://").or_else(|| url.strip_prefix("sqlite:"))?;
        let rest = rest.split_once('#').map_or(rest, |(rest, _)| rest);
        let (path, query) = rest.split_once('?').unwrap_or((rest, ""));
        if path.is_empty() || path == ":memory:" {
            let wrong = "names no file; write `sqlite://PATH`, such as `sqlite://gristmill.db` or \
                         `sqlite:///var/lib/gristmill.db`";
            return Some(Err(wrong.to_owned()));
        }
        let pairs = query.split('&').filter(|pair| !pair.is_empty());
        let options = pairs.map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            (decoded(name), decoded(value))
        });
        Some(Ok(Self { file: PathBuf::from(decoded(path)), options: options.collect() }))
    }

    /// Whether the store's file may be made if it is missing.
    ///
    /// # Errors
    ///
    /// When an option is unknown, or means something that a store cannot be.
    pub fn for_store(&self) -> Result<bool, String> {
        let mut create = true;
        for (name, value) in &self.options {
            match (name.as_str(), value.as_str()) {
                ("mode", "rwc") => create = true,
                ("mode", "rw") => create = false,
                ("mode", "ro" | "memory") => {
                    return Err(format!("has `mode={value}`, but a store is written to a file; write `rwc` or `rw`"));
                }
                ("cache", "private") | ("immutable", "0" | "false") => {}
                ("cache" | "immutable", _) => {
                    return Err(format!(
                        "has `{name}={value}`, which a store that others write to cannot have; leave it out"
                    ));
                }
                _ => {
                    return Err(format!(
                        "has the option `{name}={value}`, which is not known here; there are `mode=rwc` and `mode=rw`"
                    ));
                }
            }
        }
        Ok(create)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(url: &str) -> Result<(PathBuf, bool), String> {
        let address = SqliteAddress::of(url).expect("one of SQLite")?;
        let create = address.for_store()?;
        Ok((address.file, create))
    }

    #[test]
    fn a_file_and_its_options_are_separate() {
        for (url, file, create) in [
            ("sqlite://a.db", "a.db", true),
            ("sqlite:a.db", "a.db", true),
            ("sqlite:///v/a.db?mode=rwc", "/v/a.db", true),
            ("sqlite:///v/a.db?mode=rw&cache=private", "/v/a.db", false),
            ("sqlite://a%20b%3Fc.db", "a b?c.db", true),
            ("sqlite://100%.db", "100%.db", true),
        ] {
            assert_eq!(address(url), Ok((PathBuf::from(file), create)), "{url}");
        }
        for (url, said) in [
            ("sqlite://", "names no file"),
            ("sqlite://:memory:", "names no file"),
            ("sqlite://a.db?mode=ro", "mode=ro"),
            ("sqlite://a.db?mode=memory", "mode=memory"),
            ("sqlite://a.db?cache=shared", "cache=shared"),
            ("sqlite://a.db?immutable=1", "immutable=1"),
            ("sqlite://a.db?mod=rwc", "`mod=rwc`"),
        ] {
            assert!(address(url).expect_err(url).contains(said), "{url}");
        }
        assert!(SqliteAddress::of("postgres://h/d").is_none());
    }

    #[test]
    fn the_url_of_a_file_leads_back_to_it() {
        for file in ["/v/a.db", "a b.db", "/v/100%?#.db"] {
            let url = sqlite_url(Path::new(file), "sqlite://x?mode=rw");
            assert_eq!(address(&url), Ok((PathBuf::from(file), false)), "{url}");
        }
        assert_eq!(sqlite_url(Path::new("/v/a b.db"), "sqlite://x"), "sqlite:///v/a b.db");
    }
}
