//! Gauges that are read from the store when metrics are requested, at most every five seconds.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use gristmill_core::job::served;
use gristmill_core::mail_flow::BreakerState;
use gristmill_jobs::pool::StuckThreads;
use gristmill_service::dispatcher::Dispatcher;
use gristmill_store::{QueueView, Result, StoreHandle};
use metrics::{Unit, counter, describe_counter, describe_gauge, gauge};
use tokio::sync::Mutex;
use tokio::time::Instant;

use crate::health::of_broker;

/// The store is asked no more often than this, however many scrapers there are.
const AGE: Duration = Duration::from_secs(5);

/// Jobs by queue and state.
const QUEUE_JOBS: &str = "gristmill_queue_jobs";
/// Jobs that wait although no live worker has their kind.
const UNHANDLED: &str = "gristmill_unhandled_jobs";
/// Outbox rows that wait.
const OUTBOX_ROWS: &str = "gristmill_outbox_rows";
/// How long the oldest of them has waited.
const OUTBOX_AGE: &str = "gristmill_outbox_age_seconds";
/// 1 when the broker can be used.
const BROKER_UP: &str = "gristmill_broker_up";
/// Queues that do not answer.
const UNRESPONSIVE: &str = "gristmill_broker_unresponsive_queues";
/// Rows deleted after their time.
const PRUNED: &str = "gristmill_pruned_total";
/// 1 when a mail relay is used.
const RELAY_UP: &str = "gristmill_mail_relay_up";
/// 1 when a mail relay does not let us in.
const RELAY_FAULT: &str = "gristmill_mail_relay_fault";
/// Recipients' domains that are held back.
const DOMAINS_HELD: &str = "gristmill_mail_domains_held";
/// How many queues, and how many kinds on queues, have gauges of their own: enqueuers choose their names, and
/// each is a time series for good.
const LABELS_MAX: usize = 1_000;

/// What stands for all others.
const OTHERS: &str = "(others)";

/// 1 when the store answers.
const STORE_UP: &str = "gristmill_store_up";

/// Threads for items that have not come back.
const STUCK: &str = "gristmill_item_threads_stuck";

/// The gauges and when they were set.
#[derive(Debug, Default)]
pub(crate) struct Gauges(Mutex<Seen>);

/// When the gauges were set, and the labels of those that come and go.
#[derive(Debug, Default)]
struct Seen {
    at: Option<Instant>,
    queues: BTreeSet<String>,
    unhandled: BTreeSet<(String, String)>,
}

impl Gauges {
    pub(crate) fn new() -> Self {
        describe_gauge!(QUEUE_JOBS, "Jobs by queue and state, from the store's maintained counters");
        describe_gauge!(UNHANDLED, "Jobs at the heads of the queues that no live worker can run, by queue and kind");
        describe_gauge!(OUTBOX_ROWS, "Committed groups of ids that are not published yet");
        describe_gauge!(OUTBOX_AGE, Unit::Seconds, "How long the oldest unpublished group has waited");
        describe_gauge!(BROKER_UP, "1 when messages can be published and consumed, else 0");
        describe_gauge!(UNRESPONSIVE, "Queues of the broker that gave this process no answer within the last minute");
        describe_counter!(PRUNED, "Rows deleted after their time, by noun, from the store's own count");
        describe_gauge!(RELAY_UP, "1 while a mail relay is used, 0 while it is left alone or suspended");
        describe_gauge!(RELAY_FAULT, "1 while a mail relay does not let us in: its settings have to be corrected");
        describe_gauge!(DOMAINS_HELD, "Recipients' domains that are suspended, or have asked to be sent less");
        describe_gauge!(STUCK, "Threads for items that are at work although their attempt is over");
        describe_gauge!(STORE_UP, "1 when the store answers, else 0");
        Self::default()
    }

    /// Refreshes the gauges when they are old.
    pub(crate) async fn refresh(&self, store: &StoreHandle, dispatcher: &Dispatcher, stuck: &StuckThreads) {
        gauge!(STUCK).set(number(stuck.count() as u64));
        gauge!(BROKER_UP).set(f64::from(u8::from(of_broker(dispatcher).ok)));
        gauge!(UNRESPONSIVE).set(number(dispatcher.unresponsive().len() as u64));
        let mut seen = self.0.lock().await;
        if seen.at.is_some_and(|at| at.elapsed() < AGE) {
            return;
        }
        seen.at = Some(Instant::now());
        let up = read(store, &mut seen.queues).await.is_ok() && unhandled(store, &mut seen.unhandled).await.is_ok();
        gauge!(STORE_UP).set(f64::from(u8::from(up)));
    }
}

async fn read(store: &StoreHandle, named: &mut BTreeSet<String>) -> Result<()> {
    // Tenants share queues by name, and the gauges have no label for them.
    let mut sums: BTreeMap<(String, &'static str), u64> = BTreeMap::new();
    for tenant in store.tenants().await? {
        for queue in store.queues(&tenant).await? {
            for (state, jobs) in states(&queue) {
                *sums.entry((label(named, &queue.name), state)).or_default() += jobs;
            }
        }
    }
    for ((queue, state), jobs) in sums {
        gauge!(QUEUE_JOBS, "queue" => queue, "state" => state).set(number(jobs));
    }
    let backlog = store.outbox_backlog().await?;
    gauge!(OUTBOX_ROWS).set(number(backlog.rows));
    let age = match backlog.oldest {
        Some(oldest) => (store.now().await? - oldest).to_std().unwrap_or_default(),
        None => Duration::ZERO,
    };
    gauge!(OUTBOX_AGE).set(age.as_secs_f64());
    mail(store).await?;
    for pruned in store.pruned().await? {
        counter!(PRUNED, "noun" => pruned.noun.as_str()).absolute(pruned.deleted);
    }
    Ok(())
}

async fn mail(store: &StoreHandle) -> Result<()> {
    let flow = store.mail_flow().await?;
    for relay in &flow.relays {
        let used = relay.breaker.state == BreakerState::Closed;
        gauge!(RELAY_UP, "relay" => relay.name.clone()).set(f64::from(u8::from(used)));
        gauge!(RELAY_FAULT, "relay" => relay.name.clone()).set(f64::from(u8::from(relay.breaker.fault)));
    }
    let suspended = flow.domains.iter().filter(|domain| domain.suspension.is_some()).count() as u64;
    let slowed = flow.domains.iter().filter(|domain| domain.pace.learned.is_some()).count() as u64;
    gauge!(DOMAINS_HELD, "cause" => "suspended").set(number(suspended));
    gauge!(DOMAINS_HELD, "cause" => "slowed").set(number(slowed));
    Ok(())
}

/// Those that are handled again become 0: a gauge that is not set keeps its last value.
async fn unhandled(store: &StoreHandle, seen: &mut BTreeSet<(String, String)>) -> Result<()> {
    let mut jobs: BTreeMap<(String, String), u64> = seen.iter().map(|label| (label.clone(), 0)).collect();
    for tenant in store.tenants().await? {
        for found in store.unhandled(&tenant).await? {
            let label = (found.queue, served(&found.kind, found.version));
            let known = seen.contains(&label) || seen.len() < LABELS_MAX;
            let label = if known { label } else { (OTHERS.to_owned(), OTHERS.to_owned()) };
            seen.insert(label.clone());
            *jobs.entry(label).or_default() += found.jobs;
        }
    }
    for ((queue, kind), jobs) in jobs {
        gauge!(UNHANDLED, "queue" => queue, "kind" => kind).set(number(jobs));
    }
    Ok(())
}

/// The label of a queue. The first ones keep theirs; all that come later share one.
fn label(named: &mut BTreeSet<String>, queue: &str) -> String {
    if !named.contains(queue) {
        if named.len() >= LABELS_MAX {
            return OTHERS.to_owned();
        }
        named.insert(queue.to_owned());
    }
    queue.to_owned()
}

fn states(queue: &QueueView) -> [(&'static str, u64); 7] {
    [
        ("scheduled", queue.scheduled),
        ("queued", queue.queued),
        ("running", queue.running),
        ("retry", queue.retry),
        ("done", queue.done),
        ("dead", queue.dead),
        ("cancelled", queue.cancelled),
    ]
}

#[expect(clippy::cast_precision_loss, reason = "a number of jobs beyond 2^52 does not occur")]
fn number(count: u64) -> f64 {
    count as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn queues_beyond_the_most_share_one_label() {
        let mut named = BTreeSet::new();
        let labels: BTreeSet<String> = (0..LABELS_MAX * 3).map(|n| label(&mut named, &format!("q{n}"))).collect();
        assert_eq!((labels.len(), named.len()), (LABELS_MAX + 1, LABELS_MAX));
        assert_eq!((label(&mut named, "q0"), label(&mut named, "q2999")), ("q0".to_owned(), OTHERS.to_owned()));
    }
}
