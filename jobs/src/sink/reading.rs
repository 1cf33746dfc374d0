//! Reading the parts of a batch: each by its name, and nothing else that may lie in the folder.

use std::fs::File;
use std::io;
use std::path::Path;

use rustix::fs::{CWD, Mode, OFlags};
use rustix::io::Errno;

use super::SinkError;
use super::manifest::OutputDirectory;

impl OutputDirectory {
    /// Opens a part by its name for reading. Only a regular file is opened, in the batch's own folder, which must not be
    /// a link either: others may write into the folder. `None` when there is no such file, or the name is not one that a
    /// part has. Blocks.
    ///
    /// # Errors
    ///
    /// When it cannot be read, or is no regular file.
    pub fn open(&self, name: &str) -> Result<Option<File>, SinkError> {
        if name.contains('/') || name.starts_with('.') || !self.is_ours(name) {
            return Ok(None);
        }
        let path = self.path();
        match open(&path, name) {
            Ok(file) => Ok(Some(file)),
            Err(cause) if cause.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(cause) => Err(SinkError::new(&path.join(name), &cause)),
        }
    }
}

fn open(folder: &Path, name: &str) -> io::Result<File> {
    let folder_flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let folder = rustix::fs::openat(CWD, folder, folder_flags, Mode::empty()).map_err(irregular)?;
    // A pipe would let its reader wait for ever.
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file = File::from(rustix::fs::openat(&folder, name, flags, Mode::empty()).map_err(irregular)?);
    match file.metadata()?.is_file() {
        true => Ok(file),
        false => Err(io::Error::new(io::ErrorKind::InvalidInput, "it is no regular file")),
    }
}

fn irregular(error: Errno) -> io::Error {
    match error {
        Errno::LOOP => io::Error::new(io::ErrorKind::InvalidInput, "it is a symbolic link"),
        error => error.into(),
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::os::unix::fs::symlink;

    use gristmill_core::id::{BatchId, WorkerId};
    use serde_json::json;
    use uuid::Uuid;

    use super::super::{PartName, Sink, Written};

    #[tokio::test]
    async fn a_part_is_opened_by_its_name_and_nothing_else_is() {
        let place = tempfile::tempdir().expect("a folder");
        let (batch, sink) = (BatchId(Uuid::from_u128(7)), Sink::json_lines(place.path().to_path_buf()));
        let name = PartName { seq: 12, attempt: 1, worker: WorkerId(Uuid::from_u128(42)) };
        let Ok(Written::Part(Some(part))) = sink.write(batch, name, vec![json!({ "n": 1 })]).await else {
            panic!("no part");
        };
        let (_, file) = part.path.split_once('/').expect("in the batch's folder");
        assert_eq!(PartName::seq_of(file), Some(12));
        let directory = sink.directory(batch).expect("a folder of its own");
        let mut text = String::new();
        let opened = directory.open(file).expect("readable").expect("there");
        { opened }.read_to_string(&mut text).expect("read");
        assert_eq!(text, "{\"n\":1}\n");
        let own = place.path().join(batch.to_string());
        std::fs::write(own.join("secret.jsonl"), "x").expect("written");
        std::fs::write(place.path().join("part-1-a1.jsonl"), "x").expect("written");
        for other in
            ["secret.jsonl", "../part-1-a1.jsonl", "manifest.json", "part-000001-a1-00000000002a.jsonl", "", "."]
        {
            assert!(directory.open(other).expect(other).is_none(), "{other}");
        }
        symlink("secret.jsonl", own.join("part-000002-a1-00000000002a.jsonl")).expect("a link");
        directory.open("part-000002-a1-00000000002a.jsonl").expect_err("a link leads anywhere");
        std::fs::create_dir(own.join("part-000003-a1-00000000002a.jsonl")).expect("a folder");
        directory.open("part-000003-a1-00000000002a.jsonl").expect_err("a folder is no file");
        let linked = BatchId(Uuid::from_u128(8));
        symlink(&own, place.path().join(linked.to_string())).expect("a link");
        sink.directory(linked).expect("a folder").open(file).expect_err("the folder is a link");
    }

    #[test]
    fn only_the_name_of_a_part_has_the_number_of_a_chunk() {
        for name in ["part-", "part-x-a1", "part--1-a1-0.jsonl", "part-+1-a1-0.jsonl", "part-7", "manifest.json"] {
            assert_eq!(PartName::seq_of(name), None, "{name}");
        }
    }
}
