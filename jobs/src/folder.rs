//! Folders that are still there after the machine's crash.

use std::fs::{self, File};
use std::io;
use std::path::Path;

/// Creates a folder, and those above it that are missing, and syncs their names: without that, the machine's crash
/// could lose a new folder together with the files in it that were synced. Blocks.
///
/// # Errors
///
/// What the system said.
pub fn make(folder: &Path) -> io::Result<()> {
    make_and(folder, &mut |parent| File::open(parent)?.sync_all())
}

/// The same with another way to sync a folder.
fn make_and(folder: &Path, sync: &mut dyn FnMut(&Path) -> io::Result<()>) -> io::Result<()> {
    // An empty path is the current folder.
    if folder.as_os_str().is_empty() || folder.is_dir() {
        return Ok(());
    }
    let parent = folder.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    make_and(parent, sync)?;
    match fs::create_dir(folder) {
        Ok(()) => sync(parent),
        // Another process was quicker, and may not have synced it yet.
        Err(_) if folder.is_dir() => sync(parent),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;

    #[test]
    fn the_name_of_every_new_folder_is_synced() {
        let dir = tempfile::tempdir().expect("a folder");
        let mut synced = Vec::new();
        let mut make = |folder: &Path| {
            make_and(folder, &mut |parent| {
                synced.push(parent.to_owned());
                Ok(())
            })
        };
        make(&dir.path().join("a/b/c")).expect("made");
        make(&dir.path().join("a/b/c")).expect("it is there");
        let parents: Vec<PathBuf> = ["", "a", "a/b"].iter().map(|below| dir.path().join(below)).collect();
        assert_eq!(synced, parents);
    }

    #[test]
    fn a_file_in_the_way_is_refused() {
        let dir = tempfile::tempdir().expect("a folder");
        fs::write(dir.path().join("a"), "").expect("written");
        make(&dir.path().join("a/b")).expect_err("a file is no folder");
        make(Path::new("")).expect("the current folder");
    }
}
