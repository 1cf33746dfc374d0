//! Notifications, after the commit and many at once.
//!
//! Inside a transaction a notification is expensive: PostgreSQL lets only one transaction that notifies commit at a
//! time, in the whole server, and that one waits for the disk. So they are sent after the commit, in a transaction of
//! their own that waits for nothing, and one of them is sent for all callers of this process that have committed
//! meanwhile. No caller waits for that: it has what it asked for.
//!
//! A process that dies in between sends none. They are hints: polling finds the work, and the next beat what was taken
//! away.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use sqlx::AssertSqlSafe;
use sqlx::postgres::PgConnection;
use tokio::sync::{Mutex as Turn, watch};

use super::guarded::GuardedConnection;

/// The channel for hints that work became claimable.
pub(super) const CHANNEL: &str = "gristmill";

/// The channel for hints that attempts were taken away from their workers.
pub(super) const GONE_CHANNEL: &str = "gristmill_gone";

/// The channel for hints that events were published.
pub(super) const EVENTS_CHANNEL: &str = "gristmill_events";

/// What is to be notified.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Signals {
    /// Work became claimable.
    pub(super) work: bool,
    /// Attempts were taken away from their workers.
    pub(super) gone: bool,
    /// Events were published.
    pub(super) events: bool,
}

impl Signals {
    pub(super) fn any(self) -> bool {
        self.work || self.gone || self.events
    }

    /// The channels that are notified.
    pub(super) fn channels(self) -> impl Iterator<Item = &'static str> {
        let channels = [(self.work, CHANNEL), (self.gone, GONE_CHANNEL), (self.events, EVENTS_CHANNEL)];
        channels.into_iter().filter_map(|(meant, channel)| meant.then_some(channel))
    }

    /// Nothing is lost with a notification, so it does not wait for the disk.
    fn statement(self) -> String {
        let notify: String = self.channels().map(|channel| format!("NOTIFY {channel}; ")).collect();
        format!("BEGIN; SET LOCAL synchronous_commit = off; {notify}COMMIT")
    }
}

/// Sends the notifications of one process.
#[derive(Debug, Default)]
pub(super) struct Notifier {
    asked: Mutex<Asked>,
    /// Up to which caller they have been sent. The caller that has the turn sends for all that wait.
    sent: Turn<u64>,
    /// How many tasks are sending.
    sending: watch::Sender<usize>,
}

/// Counts one task that sends.
struct Sending(Arc<Notifier>);

#[derive(Debug, Default)]
struct Asked {
    callers: u64,
    signals: Signals,
}

impl Notifier {
    /// Sends what a commit is to be notified by, unless another caller sends it meanwhile. Returns when it has been
    /// sent.
    pub(super) async fn send(&self, conn: &mut PgConnection, signals: Signals) {
        if !signals.any() {
            return;
        }
        let number = self.ask(signals);
        let mut sent = self.sent.lock().await;
        if *sent >= number {
            return;
        }
        let (callers, signals) = self.take();
        *sent = callers;
        if let Err(error) = sqlx::raw_sql(AssertSqlSafe(signals.statement())).execute(&mut *conn).await {
            tracing::debug!(%error, "a notification was not sent; others find out by polling");
            // It may have failed halfway. A connection that is gone has rolled back already.
            let _ = sqlx::raw_sql("ROLLBACK").execute(conn).await;
        }
    }

    /// The same on a task of its own, for a caller that does not wait; within that time.
    pub(super) fn send_beside(self: &Arc<Self>, mut conn: GuardedConnection, signals: Signals, patience: Duration) {
        let sending = Sending::begin(self);
        tokio::spawn(async move {
            if tokio::time::timeout(patience, sending.0.send(&mut conn, signals)).await.is_ok() {
                conn.answered();
            }
        });
    }

    /// Waits until nothing is being sent.
    pub(super) async fn all_sent(&self) {
        // We own the sender ourselves.
        let _ = self.sending.subscribe().wait_for(|sending| *sending == 0).await;
    }

    fn ask(&self, signals: Signals) -> u64 {
        let mut asked = self.asked.lock().unwrap_or_else(PoisonError::into_inner);
        asked.callers += 1;
        asked.signals.work |= signals.work;
        asked.signals.gone |= signals.gone;
        asked.signals.events |= signals.events;
        asked.callers
    }

    fn take(&self) -> (u64, Signals) {
        let mut asked = self.asked.lock().unwrap_or_else(PoisonError::into_inner);
        (asked.callers, std::mem::take(&mut asked.signals))
    }
}

impl Sending {
    fn begin(notifier: &Arc<Notifier>) -> Self {
        notifier.sending.send_modify(|sending| *sending += 1);
        Self(Arc::clone(notifier))
    }
}

impl Drop for Sending {
    fn drop(&mut self) {
        self.0.sending.send_modify(|sending| *sending -= 1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_notification_is_sent_for_all_that_have_asked() {
        let notifier = Notifier::default();
        assert_eq!(notifier.ask(Signals { work: true, ..Signals::default() }), 1);
        assert_eq!(notifier.ask(Signals { gone: true, ..Signals::default() }), 2);
        assert_eq!(notifier.take(), (2, Signals { work: true, gone: true, events: false }));
        assert_eq!(notifier.take(), (2, Signals::default()));
    }

    #[test]
    fn each_signal_has_the_channel_that_the_hints_listen_on() {
        let channels = |work, gone| Signals { work, gone, events: false }.statement();
        assert!(channels(true, false).contains(&format!("NOTIFY {CHANNEL};")));
        assert!(channels(false, true).contains(&format!("NOTIFY {GONE_CHANNEL};")));
        assert!(channels(true, true).contains(&format!("NOTIFY {CHANNEL}; NOTIFY {GONE_CHANNEL};")));
    }
}
