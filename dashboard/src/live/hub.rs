//! Reads the topics that are watched, round by round, and shows what has changed.

use std::collections::HashMap;
use std::fmt;
use std::str::FromStr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use axum::body::Bytes;
use chrono::{DateTime, SecondsFormat, Utc};
use gristmill_store::StoreHandle;
use tokio::sync::{Notify, watch};
use tokio::time::Instant;
use uuid::Uuid;

use super::reading::read;
use super::topic::Topic;

/// How soon the next round begins after one that has found a change. What happens in between is seen together.
const SOON: Duration = Duration::from_millis(400);

/// How soon it begins at the latest.
const LATE: Duration = Duration::from_secs(1);

/// The most topics of all tenants that are read at once.
const TOPICS_MAX: usize = 4_000;

/// The most topics of one tenant: none can take all, nor make a round long for the others.
const TENANT_TOPICS_MAX: usize = 1_000;

/// A place in what a server has shown: its process, and the round.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    server: u64,
    round: u64,
}

impl Place {
    /// Whether what was shown in a round has been seen by a client that is at this place.
    pub(super) fn has_seen(self, frame: &Frame) -> bool {
        self.server == frame.place.server && self.round >= frame.place.round
    }
}

impl Place {
    pub(super) fn round(self) -> u64 {
        self.round
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:x}-{}", self.server, self.round)
    }
}

impl FromStr for Place {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let parts = text.split_once('-');
        let place = parts.and_then(|(server, round)| {
            Some(Self { server: u64::from_str_radix(server, 16).ok()?, round: round.parse().ok()? })
        });
        place.ok_or_else(|| "is no id of an event of ours".to_owned())
    }
}

/// A topic as it was in a round in which it had changed.
#[derive(Debug)]
pub struct Frame {
    /// When.
    pub place: Place,
    /// Which.
    pub topic: Topic,
    /// `{"topic": …, "at": …, "data": …}`: one line of JSON.
    pub json: Bytes,
    /// The document alone, to be compared with.
    data: Vec<u8>,
}

/// A topic of a tenant that is watched.
#[derive(Debug)]
pub(super) struct Entry {
    tenant: String,
    topic: Topic,
    latest: Mutex<Option<Arc<Frame>>>,
}

impl Entry {
    /// As it was last seen; `None` before its first reading.
    pub(super) fn latest(&self) -> Option<Arc<Frame>> {
        lock(&self.latest).clone()
    }
}

/// How far the hub is.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Progress {
    /// The last round that is complete: no frame of it is missing.
    pub(super) round: u64,
    /// When the last round ended in which everything could be read.
    pub(super) read_at: Option<DateTime<Utc>>,
    /// The server stops.
    pub(super) closed: bool,
}

/// Reads what is watched. Clones are the same hub; its work ends with the last of them.
#[derive(Debug, Clone)]
pub struct Hub(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    store: StoreHandle,
    server: u64,
    entries: Mutex<HashMap<(String, Topic), Weak<Entry>>>,
    progress: watch::Sender<Progress>,
    /// A topic is watched that was not.
    wanted: Arc<Notify>,
    works: std::sync::Once,
}

impl Hub {
    /// A hub over a store. It reads nothing before something is watched.
    pub fn new(store: StoreHandle) -> Self {
        let (progress, _) = watch::channel(Progress { round: 0, read_at: None, closed: false });
        let (server, wanted, works) = (Uuid::new_v4().as_u64_pair().0, Arc::default(), std::sync::Once::new());
        Self(Arc::new(Shared { store, server, entries: Mutex::default(), progress, wanted, works }))
    }

    /// Ends all feeds, for good.
    pub fn close(&self) {
        self.0.progress.send_modify(|progress| progress.closed = true);
    }

    /// The place of a client that has seen everything up to a round.
    pub(super) fn place(&self, round: u64) -> Place {
        Place { server: self.0.server, round }
    }

    pub(super) fn progress(&self) -> watch::Receiver<Progress> {
        self.0.progress.subscribe()
    }

    /// Watches a topic of a tenant. `None` when the tenant, or all of them together, watch too many already.
    pub(super) fn watch(&self, tenant: &str, topic: Topic) -> Option<Arc<Entry>> {
        self.work();
        let mut entries = lock(&self.0.entries);
        let key = (tenant.to_owned(), topic);
        if let Some(entry) = entries.get(&key).and_then(Weak::upgrade) {
            return Some(entry);
        }
        let is_full = |entries: &HashMap<(String, Topic), Weak<Entry>>| {
            entries.len() >= TOPICS_MAX || entries.keys().filter(|(of, _)| of == tenant).count() >= TENANT_TOPICS_MAX
        };
        if is_full(&entries) {
            entries.retain(|_, entry| entry.strong_count() > 0);
            if is_full(&entries) {
                return None;
            }
        }
        let entry = Arc::new(Entry { tenant: key.0.clone(), topic, latest: Mutex::default() });
        entries.insert(key, Arc::downgrade(&entry));
        self.0.wanted.notify_one();
        Some(entry)
    }

    /// How many topics are watched.
    pub fn watched(&self) -> usize {
        self.0.living().len()
    }

    /// How many clients watch, whatever they watch: one for each stream and each socket.
    pub fn clients(&self) -> usize {
        self.0.progress.receiver_count()
    }

    /// Begins to read, if it has not begun.
    fn work(&self) {
        self.0.works.call_once(|| {
            let (hub, wanted) = (Arc::downgrade(&self.0), Arc::clone(&self.0.wanted));
            tokio::spawn(rounds(hub, wanted));
        });
    }
}

/// Round after round, while anything is watched.
async fn rounds(hub: Weak<Shared>, wanted: Arc<Notify>) {
    let mut wait = SOON;
    loop {
        let Some(shared) = hub.upgrade() else { return };
        let entries = shared.living();
        let idle = entries.is_empty();
        if !idle {
            let changed = shared.round(&entries).await;
            wait = if changed { SOON } else { (wait * 2).min(LATE) };
        }
        // What is not watched any more must not be kept by this task.
        drop((entries, shared));
        let until = Instant::now() + wait;
        tokio::select! {
            () = wanted.notified() => {}
            () = tokio::time::sleep_until(until), if !idle => {}
        }
    }
}

impl Shared {
    /// What is watched. Forgets the rest.
    fn living(&self) -> Vec<Arc<Entry>> {
        let mut entries = lock(&self.entries);
        entries.retain(|_, entry| entry.strong_count() > 0);
        entries.values().filter_map(Weak::upgrade).collect()
    }

    /// Reads every topic once. Returns whether any has changed.
    async fn round(&self, entries: &[Arc<Entry>]) -> bool {
        let place = Place { server: self.server, round: self.progress.borrow().round + 1 };
        let (mut changed, mut failed) = (false, false);
        for entry in entries {
            match read(&self.store, &entry.tenant, entry.topic).await {
                Ok(data) => changed |= entry.show(place, data),
                Err(error) => {
                    failed = true;
                    tracing::debug!(topic = %entry.topic, %error, "a topic cannot be read; what was shown stays");
                }
            }
        }
        let read_at = Utc::now();
        self.progress.send_modify(|progress| {
            progress.round = place.round;
            progress.read_at = if failed { progress.read_at } else { Some(read_at) };
        });
        changed
    }
}

impl Entry {
    /// Shows a reading, unless it is what was shown last. Returns whether it was shown.
    fn show(&self, place: Place, data: Vec<u8>) -> bool {
        let mut latest = lock(&self.latest);
        if latest.as_ref().is_some_and(|frame| frame.data == data) {
            return false;
        }
        let json = line(self.topic, &data);
        *latest = Some(Arc::new(Frame { place, topic: self.topic, json, data }));
        true
    }
}

/// A document with the topic and the time around it.
fn line(topic: Topic, data: &[u8]) -> Bytes {
    let at = Utc::now().to_rfc3339_opts(SecondsFormat::Millis, true);
    let head = format!("{{\"topic\":\"{topic}\",\"at\":\"{at}\",\"data\":");
    Bytes::from([head.as_bytes(), data, b"}"].concat())
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_written_as_it_is_read() {
        let place = Place { server: 0xfeed, round: 7 };
        assert_eq!(place.to_string().parse(), Ok(place));
        for odd in ["", "7", "x-7", "feed-", "feed--1", "feed-7-8"] {
            odd.parse::<Place>().expect_err(odd);
        }
    }

    #[tokio::test]
    async fn one_tenant_cannot_take_what_all_may_watch() {
        let store = gristmill_store::testing::TestStore::sqlite(false).await;
        let hub = Hub::new(store.handle());
        let topic = |number: usize| Topic::Job(Uuid::from_u128(number as u128).into());
        let held: Vec<_> =
            (0..TENANT_TOPICS_MAX).map(|number| hub.watch("one", topic(number)).expect("watched")).collect();
        assert!(hub.watch("one", topic(TENANT_TOPICS_MAX)).is_none());
        assert!(hub.watch("one", topic(0)).is_some(), "what is watched already is no further reading");
        assert!(hub.watch("other", topic(0)).is_some());
        drop(held);
        assert!(hub.watch("one", topic(TENANT_TOPICS_MAX)).is_some(), "there is room again");
    }

    #[test]
    fn what_is_as_it_was_is_not_shown_again() {
        let entry = Entry { tenant: "main".to_owned(), topic: Topic::Queues, latest: Mutex::default() };
        let at = |round| Place { server: 1, round };
        assert!(entry.show(at(1), b"[]".to_vec()));
        assert!(!entry.show(at(2), b"[]".to_vec()));
        assert_eq!(entry.latest().expect("shown").place, at(1));
        assert!(entry.show(at(3), b"[1]".to_vec()));
        let frame = entry.latest().expect("shown");
        assert!(at(3).has_seen(&frame) && at(4).has_seen(&frame) && !at(2).has_seen(&frame));
        assert!(!Place { server: 2, round: 9 }.has_seen(&frame), "another process counts its own rounds");
        let text = String::from_utf8(frame.json.to_vec()).expect("a text");
        assert!(text.starts_with(r#"{"topic":"queues","at":""#) && text.ends_with(r#","data":[1]}"#), "{text}");
    }
}
