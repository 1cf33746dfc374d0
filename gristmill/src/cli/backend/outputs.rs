//! What came of a batch: its result, and the files that it has written.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write};

use gristmill_client::http::Call;
use gristmill_core::id::BatchId;
use gristmill_service::documents::OutputDocument;
use gristmill_service::outputs::OutputError;
use gristmill_store::Page;
use serde_json::Value;

use super::{Backend, paged, part};
use crate::cli::gone::no_batch;
use crate::exit_code::{CommandError, Exit, Result};

/// How many bytes are copied at a time.
const PIECE_BYTES: usize = 64 * 1024;

impl Backend<'_> {
    /// The merged result of a batch.
    ///
    /// # Errors
    ///
    /// When there is no such batch, or it has no result, or none yet.
    pub(crate) async fn results(&self, batch: BatchId) -> Result<Value> {
        let local = match self {
            Self::Store(local) => local,
            Self::Server(server) => return server.look(&Call::get(&["batches", &part(batch), "results"])).await,
        };
        let Some(found) = local.store().batch(local.tenant(), batch).await? else {
            return Err(no_batch(local.store(), local.tenant(), batch).await);
        };
        match found.result {
            Some(result) => Ok(result),
            None if found.state.is_final() => {
                Err(CommandError::not_found(format!("batch {batch} has no result: it is {}", found.state)))
            }
            None => {
                let early = format!("batch {batch} is {}: its result is merged once its chunks are final", found.state);
                Err(CommandError::new(Exit::Conflict, early))
            }
        }
    }

    /// A page of the files that a batch has written.
    ///
    /// # Errors
    ///
    /// When there is no such batch, or it has not ended.
    pub(crate) async fn outputs(&self, batch: BatchId, page: &Page) -> Result<Vec<OutputDocument>> {
        match self {
            Self::Store(local) => {
                let after = page.after.as_deref().map_or(Ok(-1), str::parse);
                let after = after.map_err(|_| CommandError::usage("--after is no number of a chunk"))?;
                Ok(local.service.outputs(local.tenant(), batch, after, page.limit).await?)
            }
            Self::Server(server) => server.look(&paged(Call::get(&["batches", &part(batch), "outputs"]), page)).await,
        }
    }

    /// A batch as one HTML document.
    ///
    /// # Errors
    ///
    /// When there is no such batch.
    pub(crate) async fn report(&self, batch: BatchId) -> Result<String> {
        match self {
            Self::Store(local) => {
                let found = local.store().batch(local.tenant(), batch).await?;
                let Some(found) = found else { return Err(no_batch(local.store(), local.tenant(), batch).await) };
                let now = local.store().now().await?;
                Ok(gristmill_dashboard::pages::batch_report(local.store(), &found, now).await?)
            }
            Self::Server(server) => {
                let mut html = Vec::new();
                let call = Call::get(&["batches", &part(batch), "report"]);
                let take = |piece: &[u8]| {
                    html.extend_from_slice(piece);
                    Ok(())
                };
                server.download(&call, take).await?;
                Ok(String::from_utf8_lossy(&html).into_owned())
            }
        }
    }

    /// Writes what is missing of an output to a file that has its first bytes.
    ///
    /// # Errors
    ///
    /// When it is not there, cannot be read, or cannot be written.
    pub(crate) async fn fetch_output(
        &self,
        batch: BatchId,
        output: &OutputDocument,
        (into, have): (&mut File, u64),
    ) -> Result<()> {
        match self {
            Self::Store(local) => {
                let opened = local.service.output(local.tenant(), batch, &output.name).await.map_err(unreadable)?;
                copy(opened.file, into, have).map_err(|error| CommandError::new(Exit::Failed, error.to_string()))
            }
            Self::Server(server) => {
                let call = Call::get(&["batches", &part(batch), "outputs", &output.name]);
                let mut at = have;
                let take = |from: u64, piece: &[u8]| {
                    let written = if from == at { Ok(()) } else { begin_anew(into, from) };
                    at = from + piece.len() as u64;
                    written.and_then(|()| into.write_all(piece)).map_err(|error| error.to_string())
                };
                server.download_rest(&call, (have, &output.sha256), take).await
            }
        }
    }
}

fn unreadable(error: OutputError) -> CommandError {
    match error {
        OutputError::Store(error) => error.into(),
        OutputError::Unreadable(_) => CommandError::new(Exit::Failed, error.to_string()),
    }
}

/// The server sends another part than was asked for: what is there is replaced from there on.
fn begin_anew(into: &mut File, from: u64) -> std::io::Result<()> {
    into.set_len(from)?;
    into.seek(SeekFrom::Start(from)).map(drop)
}

fn copy(mut from: File, into: &mut File, have: u64) -> std::io::Result<()> {
    from.seek(SeekFrom::Start(have))?;
    let mut piece = vec![0; PIECE_BYTES];
    loop {
        match from.read(&mut piece)? {
            0 => return Ok(()),
            read => into.write_all(&piece[..read])?,
        }
    }
}
