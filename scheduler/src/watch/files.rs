//! Whether a file is complete, and what its content is. These calls block.

use std::fs::Metadata;
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;

use sha2::{Digest, Sha256};

use super::folder::{Folder, Opened};

/// Suffixes that programs give to files that they are still writing.
const UNFINISHED: [&str; 7] = [".part", ".partial", ".tmp", ".temp", ".filepart", ".crdownload", "~"];

/// Whether the name belongs to a hidden file, or to one that a program is still writing.
pub(super) fn unfinished(name: &str) -> bool {
    let lower = name.to_lowercase();
    name.starts_with('.') || UNFINISHED.iter().any(|ending| lower.ends_with(ending))
}

/// What must stay the same for a file to be complete.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Stamp {
    bytes: u64,
    modified: (i64, i64),
    place: (u64, u64),
}

impl Stamp {
    pub(super) fn of(found: &Metadata) -> Self {
        Self { bytes: found.len(), modified: (found.mtime(), found.mtime_nsec()), place: (found.dev(), found.ino()) }
    }

    pub(super) fn bytes(self) -> u64 {
        self.bytes
    }
}

/// Opens a file and returns its SHA-256 in hexadecimal with it, or `None` when it is not the one that was looked at, or
/// changed meanwhile, and so is not complete after all.
pub(super) fn hash(folder: &Folder, name: &str, stamp: Stamp) -> io::Result<Option<(String, Opened)>> {
    let opened = folder.file(name)?;
    if Stamp::of(&opened.metadata()?) != stamp {
        return Ok(None);
    }
    let hash = hash_of(&opened)?;
    let same = Stamp::of(&opened.metadata()?) == stamp && folder.is(name, &opened);
    Ok(same.then_some((hash, opened)))
}

/// The SHA-256 of an open file in hexadecimal.
pub(super) fn hash_of(opened: &Opened) -> io::Result<String> {
    let (mut file, mut hasher, mut buffer) = (&opened.file, Sha256::new(), vec![0; 64 * 1024]);
    loop {
        let read = file.read(&mut buffer)?;
        if read == 0 {
            return Ok(hex::encode(hasher.finalize()));
        }
        hasher.update(&buffer[..read]);
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn what_changes_while_it_is_hashed_is_not_complete() {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("a.csv");
        fs::write(&path, "abc").expect("written");
        let stamp = Stamp::of(&fs::symlink_metadata(&path).expect("there"));
        let expected = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        let folder = Folder::open(dir.path()).expect("opened");
        let hashed = || hash(&folder, "a.csv", stamp).expect("read").map(|(hash, _)| hash);
        assert_eq!(hashed().as_deref(), Some(expected));
        fs::write(&path, "abcd").expect("written");
        assert_eq!(hashed(), None);
        fs::remove_file(&path).expect("removed");
        fs::write(dir.path().join("b"), "abc").expect("written");
        std::os::unix::fs::symlink(dir.path().join("b"), &path).expect("linked");
        hash(&folder, "a.csv", stamp).expect_err("a link is not followed");
    }

    #[test]
    fn names_of_unfinished_files_are_known() {
        for name in [".a.csv", "a.csv.part", "a.tmp", "a.csv~", "A.TMP", "a.crdownload"] {
            assert!(unfinished(name), "{name}");
        }
        assert!(!unfinished("a.csv") && !unfinished("part.csv"));
    }
}
