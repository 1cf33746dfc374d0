//! What a batch has written: its parts, listed and opened by their names.
//!
//! Only files that a result of the batch lists are there: a part of an attempt that did not count, and whatever else lies
//! in the folder, is not. A file that is not as it was written is refused.

use std::fs::File;
use std::path::Path;

use gristmill_core::chunk::OutputPart;
use gristmill_core::id::BatchId;
use gristmill_jobs::pipeline::closing;
use gristmill_jobs::sink::{OutputDirectory, PartName};
use gristmill_store::{BatchView, StoreError, StoredParts};

use crate::Service;
use crate::documents::OutputDocument;

/// Why an output cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum OutputError {
    /// There is no such batch or output, or its state does not allow it; or the store cannot be reached.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The file is there, and cannot be read by this process.
    #[error("the file cannot be read: {0}")]
    Unreadable(String),
}

/// An output that was opened.
#[derive(Debug)]
pub struct OpenOutput {
    /// What is known of it.
    pub output: OutputDocument,
    /// The file, of exactly so many bytes.
    pub file: File,
}

impl Service {
    /// What a batch that has ended has written, in the order of its chunks: at most `limit` chunks' files, after a chunk's
    /// number. Empty for a batch that writes nothing, or rows of a table.
    ///
    /// # Errors
    ///
    /// `NotFound`, or `Conflict` for a batch that has not ended: what it writes is not complete.
    pub async fn outputs(
        &self,
        tenant: &str,
        batch: BatchId,
        after_seq: i64,
        limit: u32,
    ) -> Result<Vec<OutputDocument>, StoreError> {
        ended(self.batch_of(tenant, batch).await?)?;
        let stored = self.store.output_parts(batch, after_seq, limit).await?;
        Ok(stored.into_iter().flat_map(documents).collect())
    }

    /// Opens an output by its name.
    ///
    /// # Errors
    ///
    /// Same as [`Service::outputs`]; `NotFound` for a name that none has, or whose file this process cannot see; `Conflict`
    /// for a file that is not as it was written.
    pub async fn output(&self, tenant: &str, batch: BatchId, name: &str) -> Result<OpenOutput, OutputError> {
        ended(self.batch_of(tenant, batch).await?)?;
        let missing = || StoreError::NotFound(format!("batch {batch} has no output `{}`", plain(name)));
        let seq = PartName::seq_of(name).ok_or_else(missing)?;
        let stored = self.store.output_parts(batch, seq - 1, 1).await?;
        let output = stored.into_iter().flat_map(documents).find(|output| output.name == name).ok_or_else(missing)?;
        let directory = self.directory(batch).await?.ok_or_else(missing)?;
        let named = output.name.clone();
        let opened = tokio::task::spawn_blocking(move || open(&directory, &named)).await;
        let opened = opened.map_err(|_| OutputError::Unreadable("opening it was cut short".to_owned()))??;
        let gone =
            || StoreError::NotFound(format!("the file `{name}` is not where this program looks for it any more"));
        let (file, bytes) = opened.ok_or_else(gone)?;
        if bytes != output.bytes {
            let wrong = format!("`{name}` is not as it was written: it has {bytes} bytes, and had {}", output.bytes);
            return Err(StoreError::Conflict(wrong).into());
        }
        Ok(OpenOutput { output, file })
    }

    async fn batch_of(&self, tenant: &str, batch: BatchId) -> Result<BatchView, StoreError> {
        let found = self.store.batch(tenant, batch).await?;
        found.ok_or_else(|| StoreError::NotFound(format!("there is no batch {batch} of `{tenant}`")))
    }

    async fn directory(&self, batch: BatchId) -> Result<Option<OutputDirectory>, OutputError> {
        let Some(plan) = self.store.batch_plan(batch).await? else { return Ok(None) };
        let closing = closing(&plan.name, &plan.definition, Path::new(""));
        let (_, sink) = closing.map_err(|error| OutputError::Unreadable(error.to_string()))?;
        Ok(sink.and_then(|sink| sink.directory(batch)))
    }
}

/// A name as an error shows it.
fn plain(name: &str) -> String {
    name.chars().filter(|c| !c.is_control()).take(100).collect()
}

fn ended(batch: BatchView) -> Result<(), StoreError> {
    if batch.state.is_final() {
        return Ok(());
    }
    let wrong = format!("batch {} is {}: what it writes is complete once it has ended", batch.id, batch.state);
    Err(StoreError::Conflict(wrong))
}

fn documents(stored: StoredParts) -> impl Iterator<Item = OutputDocument> {
    let chunk = stored.seq;
    stored.parts.into_iter().map(move |OutputPart { path, items, bytes, sha256 }| {
        let name = path.rsplit('/').next().unwrap_or_default().to_owned();
        OutputDocument { name, chunk, items, bytes, sha256 }
    })
}

fn open(directory: &OutputDirectory, name: &str) -> Result<Option<(File, u64)>, OutputError> {
    let opened = directory.open(name).map_err(|error| OutputError::Unreadable(error.to_string()))?;
    let Some(file) = opened else { return Ok(None) };
    let bytes = file.metadata().map_err(|error| OutputError::Unreadable(error.to_string()))?.len();
    Ok(Some((file, bytes)))
}
