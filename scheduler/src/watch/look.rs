//! One folder during one pass: what is wrong with it, and how its files are moved.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use gristmill_service::start::WatchSettings;

use super::files::Stamp;
use super::folder::{Folder, Opened};
use super::{NAME_BYTES_MAX, WatchReport};

/// A file that was opened, and the name that it had then.
pub(super) struct Found {
    pub(super) folder: Arc<Folder>,
    pub(super) at: String,
    pub(super) opened: Arc<Opened>,
}

impl Found {
    pub(super) fn path(&self) -> PathBuf {
        self.folder.at(&self.at)
    }
}

/// One folder during one pass.
pub(super) struct Look<'a> {
    pub(super) name: &'a str,
    pub(super) settings: &'a WatchSettings,
    pub(super) now: Duration,
    pub(super) wrong: &'a mut BTreeSet<String>,
    pub(super) report: &'a mut WatchReport,
}

impl Look<'_> {
    pub(super) fn say(&mut self, text: String) {
        self.wrong.insert(format!("watch.{}: {text}", self.name));
    }

    pub(super) fn count(&self, outcome: &'static str) {
        metrics::counter!("gristmill_watch_files_total", "watch" => self.name.to_owned(), "outcome" => outcome)
            .increment(1);
    }

    /// The properties of a file that must stay the same until it is taken.
    pub(super) fn stamp(&mut self, path: &Path, name: &str) -> Option<Stamp> {
        // Gone again since the folder was listed.
        let found = fs::symlink_metadata(path).ok()?;
        let wrong = if found.is_dir() {
            return None;
        } else if found.is_symlink() {
            "it is a symbolic link, which could lead anywhere; put the file itself there"
        } else if !found.is_file() {
            "it is no regular file"
        } else if found.len() == 0 {
            "it is empty: the program that writes it may not have begun"
        } else if name.len() > NAME_BYTES_MAX {
            "its name is too long; 180 bytes is the most"
        } else {
            return Some(Stamp::of(&found));
        };
        self.say(format!("{}: {wrong}", path.display()));
        None
    }

    /// Moves a file into a folder, and returns it as it is then.
    pub(super) async fn moved(&mut self, found: &Found, to: &Arc<Folder>, name: &str) -> Option<Found> {
        let Found { folder, at, opened } = found;
        let (from, at, of) = (Arc::clone(folder), at.clone(), Arc::clone(opened));
        let (into, name) = (Arc::clone(to), name.to_owned());
        match blocking(move || from.move_into(&at, &of, &into, &name)).await {
            Ok(at) => Some(Found { folder: Arc::clone(to), at, opened: Arc::clone(opened) }),
            Err(error) => {
                self.say(format!("{} cannot be moved to {}: {error}", found.path().display(), to.at("").display()));
                None
            }
        }
    }

    /// Moves a file to its final place, with a note beside it, and returns where it is then.
    pub(super) async fn put_away(
        &mut self,
        found: &Found,
        folder: &str,
        name: &str,
        note: Option<&str>,
    ) -> Option<PathBuf> {
        let (path, place) = (PathBuf::from(&self.settings.folder), folder.to_owned());
        let to = match blocking(move || Folder::open(&path)?.within(&place)).await {
            Ok(to) => Arc::new(to),
            Err(error) => {
                self.say(format!("{} cannot be put into {folder}: {error}", found.path().display()));
                return None;
            }
        };
        let moved = self.moved(found, &to, name).await?;
        if let Some(text) = note {
            let (text, at) = (text.to_owned(), moved.at.clone());
            // The note is a courtesy; the ledger knows.
            let _ = blocking(move || to.note(&at, &text)).await;
        }
        Some(moved.path())
    }
}

/// Runs blocking work outside the async runtime.
pub(super) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> std::io::Result<T> + Send + 'static,
) -> std::io::Result<T> {
    tokio::task::spawn_blocking(work).await.unwrap_or_else(|error| Err(std::io::Error::other(error)))
}
