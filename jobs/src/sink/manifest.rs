//! The manifest of a batch's parts, written by its aggregate.

use std::collections::BTreeSet;
use std::fs::{self, File, TryLockError};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use gristmill_core::batch::Counts;
use gristmill_core::chunk::OutputPart;
use gristmill_core::id::BatchId;
use serde::{Deserialize, Serialize};

use super::SinkError;
use super::part::{MANIFEST, put_in_place};
use crate::folder;

/// What a batch has written. Paths are relative to the output's folder.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Manifest {
    /// The batch.
    pub batch: BatchId,
    /// The name of its definition.
    pub name: String,
    /// The generation whose aggregate wrote this.
    pub generation: u32,
    /// How many items all parts have together.
    pub items: u64,
    /// How many bytes.
    pub bytes: u64,
    /// What became of the batch's items.
    pub counts: Counts,
    /// The parts in the order of the chunks.
    pub parts: Vec<OutputPart>,
}

impl Manifest {
    /// A manifest with its totals.
    pub fn new(batch: BatchId, name: &str, generation: u32, counts: Counts, parts: Vec<OutputPart>) -> Self {
        let items = parts.iter().map(|part| part.items).sum();
        let bytes = parts.iter().map(|part| part.bytes).sum();
        Self { batch, name: name.to_owned(), generation, items, bytes, counts, parts }
    }
}

/// The folder of one batch's parts.
#[derive(Debug, Clone)]
pub struct OutputDirectory {
    folder: PathBuf,
    batch: BatchId,
    extension: &'static str,
}

impl OutputDirectory {
    pub(super) fn new(folder: PathBuf, batch: BatchId, extension: &'static str) -> Self {
        Self { folder, batch, extension }
    }

    pub(super) fn path(&self) -> PathBuf {
        self.folder.join(self.batch.to_string())
    }

    /// Lists the existing parts, and the files left by writers that died.
    ///
    /// Call this before reading the batch's state: what exists while the batch still aggregates cannot belong to a
    /// later generation, and may be removed when no result lists it.
    ///
    /// # Errors
    ///
    /// When the folder cannot be read. A missing folder is not an error: then nothing was written.
    pub fn list(&self) -> Result<BTreeSet<String>, SinkError> {
        let path = self.path();
        let entries = match fs::read_dir(&path) {
            Ok(entries) => entries,
            Err(cause) if cause.kind() == ErrorKind::NotFound => return Ok(BTreeSet::new()),
            Err(cause) => return Err(SinkError::new(&path, &cause)),
        };
        let names = entries.flatten().filter_map(|entry| entry.file_name().into_string().ok());
        Ok(names.filter(|name| self.is_ours(name)).map(|name| format!("{}/{name}", self.batch)).collect())
    }

    /// Files that we have not named ourselves are never touched.
    pub(super) fn is_ours(&self, name: &str) -> bool {
        let part = format!(".{}", self.extension);
        (name.starts_with("part-") && name.ends_with(&part)) || (name.starts_with(".part-") && name.contains(&part))
    }

    /// Writes the manifest in one step and removes the files of `found` that it does not list. A manifest of a later
    /// generation is left alone: an aggregate that stalled and wakes finds it, because the check and the write happen
    /// under a lock on the folder, which the system releases when the process dies.
    ///
    /// # Errors
    ///
    /// When the folder cannot be written to, or another aggregate of the batch is writing its manifest at the moment.
    pub fn close(&self, manifest: &Manifest, found: &BTreeSet<String>) -> Result<(), SinkError> {
        let path = self.path();
        folder::make(&path).map_err(|cause| SinkError::new(&path, &cause))?;
        let _lock = lock(&path)?;
        if later_generation(&path.join(MANIFEST), manifest.generation) {
            return Ok(());
        }
        let unwritable = |cause: serde_json::Error| SinkError {
            path: path.join(MANIFEST).display().to_string(),
            cause: cause.to_string(),
        };
        let mut text = serde_json::to_vec_pretty(manifest).map_err(unwritable)?;
        text.push(b'\n');
        put_in_place(&path, MANIFEST, &text)?;
        let listed: BTreeSet<_> = manifest.parts.iter().map(|part| &part.path).collect();
        for orphan in found.iter().filter(|path| !listed.contains(path)) {
            let file = self.folder.join(orphan);
            match fs::remove_file(&file) {
                Err(cause) if cause.kind() != ErrorKind::NotFound => return Err(SinkError::new(&file, &cause)),
                _ => {}
            }
        }
        Ok(())
    }
}

impl OutputDirectory {
    /// Removes the parts that no manifest lists, and the folder when nothing is left in it. Returns how many there were.
    pub(super) fn remove_unlisted(&self) -> Result<u64, SinkError> {
        let (path, found) = (self.path(), self.list()?);
        if !path.is_dir() {
            return Ok(0);
        }
        let lock = lock(&path)?;
        let known = match fs::read(path.join(MANIFEST)) {
            Ok(bytes) => match serde_json::from_slice::<Manifest>(&bytes) {
                Ok(known) => Some(known),
                // Whatever it lists must stay.
                Err(_) => return Ok(0),
            },
            Err(cause) if cause.kind() == ErrorKind::NotFound => None,
            Err(cause) => return Err(SinkError::new(&path.join(MANIFEST), &cause)),
        };
        let listed: BTreeSet<_> = known.iter().flat_map(|known| &known.parts).map(|part| &part.path).collect();
        let mut removed = 0;
        for part in found.iter().filter(|part| !listed.contains(part)) {
            let file = self.folder.join(part);
            match fs::remove_file(&file) {
                Ok(()) => removed += 1,
                Err(cause) if cause.kind() == ErrorKind::NotFound => {}
                Err(cause) => return Err(SinkError::new(&file, &cause)),
            }
        }
        drop(lock);
        // Refused while anything is left in it.
        let _ = fs::remove_dir(&path);
        Ok(removed)
    }
}

/// The right to write to a folder, for as long as the file is open.
fn lock(folder: &Path) -> Result<File, SinkError> {
    let open = File::open(folder).map_err(|cause| SinkError::new(folder, &cause))?;
    match open.try_lock() {
        Ok(()) => Ok(open),
        Err(TryLockError::WouldBlock) => Err(SinkError {
            path: folder.join(MANIFEST).display().to_string(),
            cause: "another aggregate of the batch is writing it; this attempt is made again".to_owned(),
        }),
        // A file system without locks, such as some network shares: then the check alone must do.
        Err(TryLockError::Error(cause)) if cause.kind() == ErrorKind::Unsupported => Ok(open),
        Err(TryLockError::Error(cause)) => Err(SinkError::new(folder, &cause)),
    }
}

fn later_generation(path: &Path, generation: u32) -> bool {
    let known = fs::read(path).ok().and_then(|bytes| serde_json::from_slice::<Manifest>(&bytes).ok());
    known.is_some_and(|known| known.generation > generation)
}

#[cfg(test)]
mod tests {
    use gristmill_core::id::WorkerId;
    use serde_json::json;
    use uuid::Uuid;

    use super::super::{PartName, Sink, Written};
    use super::*;

    #[tokio::test]
    async fn a_manifest_lists_the_parts_and_removes_the_others() {
        let folder = tempfile::tempdir().expect("a folder");
        let batch = BatchId(Uuid::from_u128(7));
        let sink = Sink::json_lines(folder.path().to_path_buf());
        let mut parts = Vec::new();
        for (seq, attempt) in [(0, 1), (1, 1), (1, 2)] {
            let name = PartName { seq, attempt, worker: WorkerId(Uuid::from_u128(42)) };
            let written = sink.write(batch, name, vec![json!({ "n": seq })]).await.expect("written");
            let Written::Part(Some(part)) = written else { panic!("no part") };
            parts.push(part);
        }
        let crashed = parts.remove(1);
        let own = folder.path().join(batch.to_string());
        fs::write(own.join("notes.txt"), "somebody else's").expect("written");
        fs::write(own.join(".part-000009-a1.jsonl.1234"), "torn").expect("written");

        let directory = sink.directory(batch).expect("a folder of its own");
        let found = directory.list().expect("listed");
        assert_eq!(found.len(), 4);
        let manifest = Manifest::new(batch, "retail", 1, Counts { input: 2, ok: 2, ..Counts::default() }, parts);
        directory.close(&manifest, &found).expect("closed");

        assert!(!folder.path().join(&crashed.path).exists());
        let mut names: Vec<_> = fs::read_dir(&own)
            .expect("a folder")
            .flatten()
            .map(|entry| entry.file_name().into_string().expect("a name"))
            .collect();
        names.sort();
        let kept = ["part-000000-a1-00000000002a.jsonl", "part-000001-a2-00000000002a.jsonl"];
        assert_eq!(names, ["manifest.json", "notes.txt", kept[0], kept[1]]);
        let read: Manifest = serde_json::from_slice(&fs::read(own.join(MANIFEST)).expect("there")).expect("a manifest");
        assert_eq!((read.items, read.parts.len(), read.generation), (2, 2, 1));

        let late = Manifest::new(batch, "retail", 0, Counts::default(), Vec::new());
        directory.close(&late, &directory.list().expect("listed")).expect("nothing to do");
        assert!(own.join(kept[0]).exists(), "an earlier generation changes nothing");
    }

    #[test]
    fn an_aggregate_that_stalled_does_not_overwrite_the_manifest_of_a_later_generation() {
        let folder = tempfile::tempdir().expect("a folder");
        let batch = BatchId(Uuid::from_u128(9));
        let directory = Sink::json_lines(folder.path().to_path_buf()).directory(batch).expect("a folder of its own");
        let manifest = |generation| Manifest::new(batch, "x", generation, Counts::default(), Vec::new());
        let own = folder.path().join(batch.to_string());
        fs::create_dir(&own).expect("made");
        let later = lock(&own).expect("the later generation looks and writes under its lock");
        let refused = directory.close(&manifest(0), &BTreeSet::new()).expect_err("it cannot come in between");
        assert!(refused.cause.contains("this attempt is made again"), "{refused}");
        assert!(!own.join(MANIFEST).exists());
        drop(later);
        directory.close(&manifest(1), &BTreeSet::new()).expect("written");
        directory.close(&manifest(0), &BTreeSet::new()).expect("nothing to do");
        let read: Manifest = serde_json::from_slice(&fs::read(own.join(MANIFEST)).expect("there")).expect("a manifest");
        assert_eq!(read.generation, 1);
    }

    #[test]
    fn a_batch_that_wrote_nothing_has_an_empty_manifest() {
        let folder = tempfile::tempdir().expect("a folder");
        let batch = BatchId(Uuid::from_u128(8));
        let directory = Sink::json_lines(folder.path().join("new")).directory(batch).expect("a folder of its own");
        let found = directory.list().expect("nothing is there");
        directory.close(&Manifest::new(batch, "x", 0, Counts::default(), Vec::new()), &found).expect("closed");
        assert!(folder.path().join("new").join(batch.to_string()).join(MANIFEST).exists());
    }
}
