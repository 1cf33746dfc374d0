//! The relay: outbox rows that their creator did not publish, as far as the window lets them through.

use std::collections::VecDeque;
use std::time::Duration;

use gristmill_jobs::road::Road;
use gristmill_store::{Dispatch, Result, StoreHandle};
use tokio::time::Instant;

/// Rows younger than this are their creator's business.
const OLDER_THAN: Duration = Duration::from_secs(1);

/// How long taken rows are ours: a little less than the store holds them for us, so that what
/// another relay takes after that is not published by both.
const HELD_FOR: Duration = Duration::from_secs(25);

/// Keeps rows in hand while their queues are full: asking the store again for each of them would
/// only find them held by ourselves, and an empty queue would wait for the hold to run out.
#[derive(Debug, Default)]
pub struct Relay {
    hand: VecDeque<(Instant, Dispatch)>,
}

impl Relay {
    /// Takes rows that nobody has published, at most so many that `limit` are in hand, and
    /// publishes what may pass: how many jobs that were.
    ///
    /// # Errors
    ///
    /// Those of the store.
    pub async fn sweep(&mut self, store: &StoreHandle, road: &Road, limit: u32) -> Result<u64> {
        self.hand.retain(|(taken, _)| taken.elapsed() < HELD_FOR);
        let room = usize::try_from(limit).unwrap_or(usize::MAX).saturating_sub(self.hand.len());
        // While the broker is away rows are safer with the store, where another relay finds them.
        if room > 0 && road.broker().health().borrow().is_up() {
            let now = Instant::now();
            let rows = store.outbox_take(OLDER_THAN, u32::try_from(room).unwrap_or(u32::MAX)).await?;
            self.hand.extend(rows.into_iter().map(|row| (now, row)));
        }
        Ok(self.feed(road).await)
    }

    /// Publishes what may pass of the rows in hand. Cheap when there are none.
    pub async fn feed(&mut self, road: &Road) -> u64 {
        if self.hand.is_empty() {
            return 0;
        }
        let taken: std::collections::HashMap<i64, Instant> =
            self.hand.iter().map(|(taken, row)| (row.outbox, *taken)).collect();
        let rows = std::mem::take(&mut self.hand).into_iter().map(|(_, row)| row).collect();
        let carried = road.publish_rows(rows).await;
        let back = carried.held.into_iter().filter_map(|row| Some((*taken.get(&row.outbox)?, row)));
        self.hand.extend(back);
        carried.published
    }

    /// How many rows wait for room in their queue.
    pub fn in_hand(&self) -> usize {
        self.hand.len()
    }
}
