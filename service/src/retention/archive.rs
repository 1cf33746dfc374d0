//! The archive: what is deleted, as JSON lines in compressed files.
//!
//! A file is written under another name, synced to disk, renamed, and its folder synced, before any of its rows is
//! deleted. A crash in between leaves rows that are archived twice, and never one that is archived nowhere.

use std::fmt;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use chrono::Datelike;
use gristmill_core::Instant;
use gristmill_store::{Result, StoreError};
use serde_json::Value;
use uuid::Uuid;

/// How strongly it is compressed: the library's default.
const LEVEL: i32 = 3;

/// The folder of an archive.
#[derive(Debug, Clone)]
pub struct Archive {
    folder: PathBuf,
}

impl Archive {
    /// An archive in a folder, which is created when the first file is written.
    pub fn new(folder: impl Into<PathBuf>) -> Self {
        Self { folder: folder.into() }
    }

    /// Begins a file for rows of a noun, such as one of [`PruneNoun`](gristmill_store::PruneNoun), on a day.
    ///
    /// # Errors
    ///
    /// [`StoreError::Unavailable`] when the folder cannot be written to.
    pub async fn begin(&self, noun: impl fmt::Display, day: Instant) -> Result<ArchiveFile> {
        let (folder, noun) = (self.folder.clone(), noun.to_string());
        blocking(move || ArchiveFile::create(&folder, &noun, day)).await
    }
}

/// A file that is being written. Dropped before its end, it is removed.
pub struct ArchiveFile {
    folder: PathBuf,
    temporary: PathBuf,
    name: String,
    encoder: Option<zstd::stream::write::Encoder<'static, File>>,
}

impl ArchiveFile {
    fn create(folder: &Path, noun: &str, day: Instant) -> io::Result<Self> {
        gristmill_jobs::folder::make(folder).map_err(|error| at(folder, &error))?;
        // Ordered by the time of writing within a day; no two have the same name.
        let (id, date) = (Uuid::now_v7().simple(), day.date_naive());
        let name = format!("{noun}-{:04}-{:02}-{:02}-{id}.jsonl.zst", date.year(), date.month(), date.day());
        let temporary = folder.join(format!(".{name}.part"));
        let file =
            File::options().write(true).create_new(true).open(&temporary).map_err(|error| at(&temporary, &error))?;
        let mut encoder = zstd::stream::write::Encoder::new(file, LEVEL)?;
        encoder.include_checksum(true)?;
        Ok(Self { folder: folder.to_owned(), temporary, name, encoder: Some(encoder) })
    }

    /// Appends rows, one a line.
    ///
    /// # Errors
    ///
    /// [`StoreError::Unavailable`] when they cannot be written; the file is removed then.
    pub async fn append(mut self, rows: Vec<Value>) -> Result<Self> {
        blocking(move || {
            self.write(&rows).map_err(|error| at(&self.temporary, &error))?;
            Ok(self)
        })
        .await
    }

    fn write(&mut self, rows: &[Value]) -> io::Result<()> {
        let Some(encoder) = &mut self.encoder else { return Ok(()) };
        for row in rows {
            serde_json::to_writer(&mut *encoder, row)?;
            encoder.write_all(b"\n")?;
        }
        Ok(())
    }

    /// Puts the file in place, and returns its path. Only now may its rows be deleted.
    ///
    /// # Errors
    ///
    /// [`StoreError::Unavailable`] when it cannot be put there; the file is removed then.
    pub async fn finish(mut self) -> Result<PathBuf> {
        blocking(move || {
            let place = self.folder.join(&self.name);
            self.put(&place).map_err(|error| at(&place, &error))?;
            Ok(place)
        })
        .await
    }

    fn put(&mut self, place: &Path) -> io::Result<()> {
        let Some(encoder) = self.encoder.take() else { return Ok(()) };
        encoder.finish()?.sync_all()?;
        fs::rename(&self.temporary, place)?;
        File::open(&self.folder)?.sync_all()
    }
}

impl fmt::Debug for ArchiveFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ArchiveFile").field("name", &self.name).finish_non_exhaustive()
    }
}

impl Drop for ArchiveFile {
    fn drop(&mut self) {
        // Renamed, it no longer has this name.
        let _ = fs::remove_file(&self.temporary);
    }
}

fn at(path: &Path, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("the archive {}: {error}", path.display()))
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> io::Result<T> + Send + 'static) -> Result<T> {
    let done = tokio::task::spawn_blocking(work).await.unwrap_or_else(|error| Err(io::Error::other(error)));
    done.map_err(|error| StoreError::Unavailable(error.to_string()))
}

#[cfg(test)]
mod tests {
    use gristmill_store::PruneNoun;
    use serde_json::json;

    use super::*;

    fn day() -> Instant {
        Instant::from_timestamp_micros(1_700_000_000_000_000).expect("an instant")
    }

    fn names(folder: &Path) -> Vec<String> {
        let entries = fs::read_dir(folder).expect("a folder");
        entries.map(|entry| entry.expect("an entry").file_name().into_string().expect("UTF-8")).collect()
    }

    #[tokio::test]
    async fn a_file_has_its_rows_as_compressed_json_lines_once_it_is_in_place() {
        let folder = tempfile::tempdir().expect("a folder");
        let archive = Archive::new(folder.path().join("archive"));
        let file = archive.begin(PruneNoun::Jobs, day()).await.expect("begun");
        let file = file.append(vec![json!({ "id": 1 }), json!({ "id": 2 })]).await.expect("written");
        let hidden = names(&folder.path().join("archive"));
        assert!(hidden.iter().all(|name| name.starts_with('.')), "not in place yet: {hidden:?}");
        let file = file.append(vec![json!({ "id": "é" })]).await.expect("written");
        let path = file.finish().await.expect("in place");
        let name = path.file_name().and_then(|name| name.to_str()).expect("a name");
        assert!(name.starts_with("jobs-2023-11-14-") && name.ends_with(".jsonl.zst"), "{name}");
        assert_eq!(names(&folder.path().join("archive")), [name], "and nothing else");
        let text = zstd::decode_all(File::open(&path).expect("it is there")).expect("it unpacks");
        assert_eq!(String::from_utf8(text).expect("UTF-8"), "{\"id\":1}\n{\"id\":2}\n{\"id\":\"é\"}\n");
    }

    #[tokio::test]
    async fn a_file_that_is_given_up_leaves_nothing() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = Archive::new(folder.path()).begin(PruneNoun::Batches, day()).await.expect("begun");
        let file = file.append(vec![json!({})]).await.expect("written");
        drop(file);
        assert_eq!(names(folder.path()), Vec::<String>::new());
    }

    #[tokio::test]
    async fn a_folder_that_cannot_be_is_named_in_the_error() {
        let folder = tempfile::tempdir().expect("a folder");
        let place = folder.path().join("archive");
        fs::write(&place, "a file").expect("written");
        let error = Archive::new(&place).begin(PruneNoun::Jobs, day()).await.expect_err("a file is there");
        assert!(error.is_transient() && error.to_string().contains(&place.display().to_string()), "{error}");
    }
}
