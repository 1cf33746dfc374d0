//! The chunks around the place at which the work of a batch is, read once for all that shows them: all of them where they are
//! few enough.

use gristmill_store::{BatchView, CHUNK_BRIEFS_MAX, ChunkBrief};

use super::zoom::Zoom;
use crate::gate::Caller;
use crate::pages::View;

/// How many of them lie before that place: the rest run, or are about to.
const BEHIND: u64 = 2_000;

/// Chunks that were read.
pub(super) struct Near {
    /// The number of the first.
    pub(super) first: u64,
    /// By their numbers; `None` when they could not be read in time.
    pub(super) chunks: Option<Vec<ChunkBrief>>,
    /// Whether they are all that there are.
    pub(super) all: bool,
}

impl Near {
    pub(super) async fn read(caller: &Caller, view: &View, batch: &BatchView) -> Self {
        let most = u64::from(CHUNK_BRIEFS_MAX);
        let ended = batch.chunks.saturating_sub(batch.remaining);
        let first = ended.saturating_sub(BEHIND).min(batch.chunks.saturating_sub(most));
        let all = batch.chunks <= most;
        let chunks = match batch.chunks {
            0 => Some(Vec::new()),
            _ => {
                let from = i64::try_from(first).unwrap_or(i64::MAX);
                view.panel(caller.store().chunk_briefs(batch.id, from, CHUNK_BRIEFS_MAX)).await
            }
        };
        Self { first, chunks, all }
    }

    /// All chunks of the batch, if these are all.
    pub(super) fn whole(&self) -> Option<&[ChunkBrief]> {
        self.chunks.as_deref().filter(|_| self.all)
    }

    /// The part of them that is looked at, with the number of its first; `None` when another one has to be read.
    pub(super) fn part(&self, batch: &BatchView, zoom: Zoom) -> Option<(u64, &[ChunkBrief])> {
        let (first, size) = zoom.within(batch.chunks);
        let chunks = self.chunks.as_deref()?;
        if size == batch.chunks {
            return Some((self.first, chunks));
        }
        self.all.then(|| {
            let from = usize::try_from(first).unwrap_or(usize::MAX).min(chunks.len());
            let to = from.saturating_add(usize::try_from(size).unwrap_or(usize::MAX)).min(chunks.len());
            (first, &chunks[from..to])
        })
    }
}
