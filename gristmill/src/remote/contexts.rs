//! `contexts.toml`: the servers that a user has given names.
//!
//! The file never holds a token, only the path of the file that does: a token that is replaced there is in force at
//! once, and is nowhere twice. One that came through standard input is kept in a file of ours beside it.

use std::collections::BTreeMap;
use std::fs::OpenOptions;
use std::io::{ErrorKind, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::config::suggest;
use crate::exit_code::{CommandError, Exit, Result};

/// The name that stands for the database of the configuration.
pub(crate) const LOCAL: &str = "local";

/// The largest file that is read.
const FILE_BYTES_MAX: u64 = 1024 * 1024;

/// The servers that a user has given names.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Contexts {
    /// The one that commands ask unless told otherwise.
    #[serde(rename = "use", default, skip_serializing_if = "Option::is_none")]
    pub(crate) used: Option<String>,
    /// Each by its name.
    #[serde(rename = "context", default)]
    pub(crate) known: BTreeMap<String, Entry>,
}

/// A server.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Entry {
    /// Its address.
    pub(crate) url: String,
    /// The file that holds the token.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) token_file: Option<PathBuf>,
    /// The file with further authorities whose certificates are trusted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) ca_file: Option<PathBuf>,
    /// The tenant; that of the token unless said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) tenant: Option<String>,
    /// Whether its name must be typed before something is changed there.
    #[serde(default, skip_serializing_if = "is_not")]
    pub(crate) protected: bool,
    /// Whether plain `http://` goes to another machine.
    #[serde(default, skip_serializing_if = "is_not")]
    pub(crate) in_the_clear: bool,
}

fn is_not(flag: &bool) -> bool {
    !*flag
}

impl Contexts {
    /// The server of a name.
    ///
    /// # Errors
    ///
    /// When there is none.
    pub(crate) fn find(&self, name: &str) -> Result<&Entry> {
        self.known.get(name).ok_or_else(|| {
            let error = CommandError::not_found(format!("there is no context `{name}`"));
            match suggest(name, self.known.keys().map(String::as_str)) {
                Some(hint) => error.hint(hint),
                None => error.hint("add it with `gristmill context add NAME --url URL --token-file FILE`"),
            }
        })
    }
}

/// The contexts of this user; none where nothing says where they are kept.
///
/// # Errors
///
/// When the file cannot be read, or makes no sense.
pub(crate) fn known() -> Result<Contexts> {
    Place::of_user().map_or_else(|_| Ok(Contexts::default()), |place| place.read())
}

/// Where the file and the tokens of ours are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Place(PathBuf);

impl Place {
    /// The folder of this user.
    ///
    /// # Errors
    ///
    /// When neither `XDG_CONFIG_HOME` nor `HOME` says where that is.
    pub(crate) fn of_user() -> Result<Self> {
        let set = |name| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
        let folder = set("XDG_CONFIG_HOME").or_else(|| Some(set("HOME")?.join(".config")));
        let folder = folder.ok_or_else(|| {
            CommandError::usage("nothing says where contexts are kept").hint("set HOME or XDG_CONFIG_HOME to a folder")
        })?;
        Ok(Self(folder.join("gristmill")))
    }

    /// The file.
    pub(crate) fn file(&self) -> PathBuf {
        self.0.join("contexts.toml")
    }

    /// The file for the token of a context that came through standard input.
    pub(crate) fn token(&self, name: &str) -> PathBuf {
        self.0.join("tokens").join(name)
    }

    /// Reads the file; one that does not exist is empty.
    ///
    /// # Errors
    ///
    /// When it cannot be read, or makes no sense.
    pub(crate) fn read(&self) -> Result<Contexts> {
        let path = self.file();
        let wrong = |what: String| CommandError::usage(format!("{}: {what}", path.display()));
        let text = match std::fs::metadata(&path) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Contexts::default()),
            Err(error) => return Err(wrong(format!("it cannot be read: {error}"))),
            Ok(about) if about.len() > FILE_BYTES_MAX => return Err(wrong(format!("it has {} bytes", about.len()))),
            Ok(_) => std::fs::read_to_string(&path).map_err(|error| wrong(format!("it cannot be read: {error}")))?,
        };
        toml::from_str(&text).map_err(|error| wrong(error.message().to_owned()))
    }

    /// Replaces the file as a whole.
    ///
    /// # Errors
    ///
    /// When it cannot be written.
    pub(crate) fn write(&self, contexts: &Contexts) -> Result<()> {
        let text = toml::to_string(contexts).map_err(CommandError::internal)?;
        private(&self.file(), text.as_bytes())
    }

    /// Keeps a token that came through standard input, and returns where.
    ///
    /// # Errors
    ///
    /// When it cannot be written.
    pub(crate) fn keep_token(&self, name: &str, token: &str) -> Result<PathBuf> {
        let path = self.token(name);
        private(&path, token.trim().as_bytes())?;
        Ok(path)
    }
}

/// Writes a file that only its user can read, as a whole or not at all.
fn private(path: &Path, bytes: &[u8]) -> Result<()> {
    let trouble = |error: std::io::Error| {
        CommandError::new(Exit::Failed, format!("`{}` cannot be written: {error}", path.display()))
    };
    if let Some(folder) = path.parent() {
        gristmill_jobs::folder::make(folder).map_err(trouble)?;
    }
    let beside = path.with_extension(format!("{}.new", std::process::id()));
    let written = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&beside);
    let written = written.and_then(|mut file| file.write_all(bytes).and_then(|()| file.sync_all()));
    written.and_then(|()| std::fs::rename(&beside, path)).map_err(|error| {
        // What is half written is of no use to anybody.
        let _ = std::fs::remove_file(&beside);
        trouble(error)
    })
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn contexts_are_read_back_and_are_their_users_alone() {
        let folder = tempfile::tempdir().expect("a folder");
        let place = Place(folder.path().join("gristmill"));
        assert_eq!(place.read().expect("no file"), Contexts::default());
        let entry = Entry { url: "https://a.example".to_owned(), protected: true, ..Entry::default() };
        let known = BTreeMap::from([("prod".to_owned(), entry)]);
        let contexts = Contexts { used: Some("prod".to_owned()), known };
        place.write(&contexts).expect("written");
        place.keep_token("prod", " secret\n").expect("kept");
        assert_eq!(place.read().expect("read"), contexts);
        for (path, text) in [(place.file(), None), (place.token("prod"), Some("secret"))] {
            let mode = std::fs::metadata(&path).expect("there").permissions().mode() & 0o777;
            assert_eq!(mode, 0o600, "{}", path.display());
            let found = std::fs::read_to_string(&path).expect("readable");
            assert!(text.is_none_or(|text| text == found) && found.contains("secret") == text.is_some(), "{found}");
        }
    }

    #[test]
    fn what_makes_no_sense_names_the_file() {
        let folder = tempfile::tempdir().expect("a folder");
        let place = Place(folder.path().to_owned());
        for text in ["use = 3", "[context.a]\nulr = 'x'", "[context.a]", "=\n"] {
            std::fs::write(place.file(), text).expect("written");
            let error = place.read().expect_err(text);
            assert!(error.exit == Exit::Usage && error.message.contains("contexts.toml"), "{text}: {error}");
        }
    }
}
