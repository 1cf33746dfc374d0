//! Removes files that were put away long ago. These calls block.

use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;

use gristmill_core::Instant;

use super::folder::Folder;

/// Removes the files in `done/` and `failed/` of these folders that were put there at or before an instant, and returns
/// how many there were. Folders, and everything that is no regular file, stay.
pub(crate) fn remove(folders: &[PathBuf], before: Instant) -> u64 {
    let mut removed = 0;
    for folder in folders.iter().filter_map(|folder| Folder::open(folder).ok()) {
        for name in ["done", "failed"] {
            // A link in its place leads to files that were never put away.
            let place = folder.existing(name).ok().flatten();
            removed += place.map_or(0, |place| remove_in(&place, before));
        }
    }
    removed
}

fn remove_in(place: &Folder, before: Instant) -> u64 {
    let mut removed = 0;
    for name in place.names().unwrap_or_default() {
        let Some((name, Ok(opened))) = name.to_str().map(|name| (name, place.file(name))) else { continue };
        let named_at = opened.metadata().ok().and_then(|found| named_at(&found));
        if named_at.is_some_and(|named_at| named_at <= before) && place.remove(name).is_ok() {
            removed += 1;
        }
    }
    removed
}

/// When a file got its present name, by the file system: its inode changes with the rename.
fn named_at(found: &Metadata) -> Option<Instant> {
    Instant::from_timestamp(found.ctime(), u32::try_from(found.ctime_nsec()).ok()?)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn only_files_that_were_put_away_long_ago_are_removed() {
        let folder = tempfile::tempdir().expect("a folder");
        let inbox = folder.path().to_owned();
        for place in ["done", "failed", "done/below", "working"] {
            fs::create_dir_all(inbox.join(place)).expect("a folder");
            fs::write(inbox.join(place).join("file.csv"), "a\n").expect("written");
        }
        fs::write(inbox.join("new.csv"), "b\n").expect("written");
        let put = named_at(&fs::metadata(inbox.join("done/file.csv")).expect("it is there")).expect("a time");
        let (hour, folders) = (chrono::TimeDelta::hours(1), [inbox.clone()]);
        assert_eq!(remove(&folders, put - hour), 0, "they are new");
        assert_eq!(remove(&folders, put + hour), 2);
        for stays in ["done/below/file.csv", "working/file.csv", "new.csv"] {
            assert!(inbox.join(stays).exists(), "{stays}");
        }
        assert!(!inbox.join("done/file.csv").exists() && !inbox.join("failed/file.csv").exists());
        assert_eq!(remove(&[inbox.join("missing")], put + hour), 0);
    }

    #[test]
    fn nothing_is_removed_behind_a_link() {
        let (folder, elsewhere) = (tempfile::tempdir().expect("a folder"), tempfile::tempdir().expect("a folder"));
        fs::write(elsewhere.path().join("dear.csv"), "a\n").expect("written");
        std::os::unix::fs::symlink(elsewhere.path(), folder.path().join("done")).expect("linked");
        let later = chrono::Utc::now() + chrono::TimeDelta::hours(1);
        assert_eq!(remove(&[folder.path().to_owned()], later), 0);
        assert!(elsewhere.path().join("dear.csv").exists());
    }
}
