//! The ways from the attempts to the completer: one for most endings, and one for those with rows for a table of the
//! user's own.
//!
//! That table may be locked by any other session, for any time. What waits for it must not hold up the others, and must
//! not grow without limit either: its way is short, and an attempt that finds it full keeps its slot.

use tokio::sync::mpsc;
use tokio::sync::mpsc::error::TrySendError;

use crate::attempt::Settled;

/// How many endings with rows for a user's own table may wait. Each holds all rows of a chunk.
const SINKS_MAX: usize = 16;

/// Where attempts hand over their endings.
#[derive(Debug, Clone)]
pub(crate) struct Ended {
    most: mpsc::Sender<Settled>,
    sinks: mpsc::Sender<Settled>,
}

/// Where the completer takes them.
#[derive(Debug)]
pub(crate) struct Endings {
    pub(crate) most: mpsc::Receiver<Settled>,
    pub(crate) sinks: mpsc::Receiver<Settled>,
}

/// Both ends, for a worker of that many slots.
pub(crate) fn ended(slots: usize) -> (Ended, Endings) {
    let (most, from_most) = mpsc::channel(2 * slots.clamp(100, 1_000));
    let (sinks, from_sinks) = mpsc::channel(slots.min(SINKS_MAX));
    (Ended { most, sinks }, Endings { most: from_most, sinks: from_sinks })
}

impl Ended {
    /// Hands it over, or gives it back when its way is full. The completer outlives every attempt, except when the
    /// process gives up: then the lease runs out, and the scheduler rescues the job.
    pub(crate) fn offer(&self, settled: Settled) -> Option<Settled> {
        match self.way(&settled).try_send(settled) {
            Ok(()) | Err(TrySendError::Closed(_)) => None,
            Err(TrySendError::Full(settled)) => Some(settled),
        }
    }

    /// Hands it over when there is room.
    pub(crate) async fn send(&self, settled: Settled) {
        // As in `offer`.
        let _ = self.way(&settled).send(settled).await;
    }

    fn way(&self, settled: &Settled) -> &mpsc::Sender<Settled> {
        if settled.completion.sql.is_some() { &self.sinks } else { &self.most }
    }
}
