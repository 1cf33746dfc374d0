//! Whether parts can be written where a definition wants them.

use std::io;
use std::path::{Path, PathBuf};

use uuid::Uuid;

use super::SinkError;

/// Tries the folder, or the nearest one above it that exists, with a file that is removed at once. Folders that are
/// missing are not created.
///
/// # Errors
///
/// What the system said.
pub(super) fn try_folder(folder: &Path) -> Result<(), SinkError> {
    let there = nearest(folder).map_err(|cause| SinkError::new(folder, &cause))?;
    let trial = there.join(format!(".gristmill-trial-{}", Uuid::now_v7()));
    std::fs::File::create_new(&trial).map_err(|cause| SinkError::new(folder, &cause))?;
    std::fs::remove_file(&trial).map_err(|cause| SinkError::new(&trial, &cause))
}

fn nearest(folder: &Path) -> io::Result<PathBuf> {
    for ancestor in folder.ancestors() {
        // An empty path is the current folder.
        let ancestor = if ancestor.as_os_str().is_empty() { Path::new(".") } else { ancestor };
        match std::fs::metadata(ancestor) {
            Ok(found) if found.is_dir() => return Ok(ancestor.to_path_buf()),
            Ok(_) => {
                return Err(io::Error::new(
                    io::ErrorKind::NotADirectory,
                    format!("`{}` is a file", ancestor.display()),
                ));
            }
            // Above what is missing, or in the way, there is something.
            Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {}
            Err(error) => return Err(error),
        }
    }
    Err(io::Error::from(io::ErrorKind::NotFound))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_that_is_there_or_can_be_made_is_fine_and_stays_as_it_was() {
        let folder = tempfile::tempdir().expect("a folder");
        try_folder(folder.path()).expect("it is there");
        try_folder(&folder.path().join("a/b")).expect("it can be made");
        assert_eq!(std::fs::read_dir(folder.path()).expect("a folder").count(), 0);
    }

    #[test]
    fn a_file_in_the_way_is_named() {
        let folder = tempfile::tempdir().expect("a folder");
        std::fs::write(folder.path().join("out"), "").expect("written");
        let error = try_folder(&folder.path().join("out/parts")).expect_err("a file").to_string();
        assert!(error.contains("out` is a file"), "{error}");
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_file_system_that_takes_no_files_is_refused() {
        let error = try_folder(Path::new("/proc/parts")).expect_err("no files there");
        assert!(!error.cause.is_empty(), "{error}");
    }
}
