//! Removes files that were put away long ago. These calls block.

use std::fs::{self, Metadata};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use gristmill_core::Instant;

/// Removes the files in `done/` and `failed/` of these folders that were put there at or before an instant, and returns
/// how many there were. Folders, and everything that is no regular file, stay.
pub(crate) fn remove(folders: &[PathBuf], before: Instant) -> u64 {
    let places = folders.iter().flat_map(|folder| [folder.join("done"), folder.join("failed")]);
    places.map(|place| remove_in(&place, before)).sum()
}

fn remove_in(place: &Path, before: Instant) -> u64 {
    let Ok(entries) = fs::read_dir(place) else { return 0 };
    let mut removed = 0;
    for entry in entries.flatten() {
        let path = entry.path();
        let Ok(found) = fs::symlink_metadata(&path) else { continue };
        let old = named_at(&found).is_some_and(|named_at| named_at <= before);
        if found.is_file() && old && fs::remove_file(&path).is_ok() {
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
}
