//! Publishing beside the commits that follow: the next group is committed while the last one is being confirmed.

use tokio::task::JoinSet;

/// How many publishes are under way at once before the next commit waits for one of them.
const AT_ONCE: usize = 3;

/// The publishes that follow from many commits in a row.
///
/// When it is dropped before [`Overlap::finished`], what is not confirmed yet stays in the outbox, and the relay
/// publishes it.
#[derive(Debug, Default)]
pub struct Overlap(JoinSet<()>);

impl Overlap {
    /// Begins a publish. Waits first while three are under way.
    pub async fn beside(&mut self, publish: impl Future<Output = ()> + Send + 'static) {
        while self.0.len() >= AT_ONCE {
            // One that panicked leaves its rows in the outbox.
            let _ = self.0.join_next().await;
        }
        self.0.spawn(publish);
    }

    /// Waits until everything has been published, or stays in the outbox.
    pub async fn finished(mut self) {
        while self.0.join_next().await.is_some() {}
    }
}
