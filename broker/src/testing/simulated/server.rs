//! The broker of a simulation: what it holds, and how it goes wrong.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use gristmill_core::dispatch::{Dispatch, Purpose};
use gristmill_core::id::JobId;
use gristmill_core::job::Priority;
use gristmill_testkit::Random;
use tokio::time::Instant;

use crate::message::Message;

/// What goes wrong, and how often: per thousand messages, unless noted otherwise.
#[derive(Debug, Clone, Copy, Default)]
pub struct Weather {
    /// Refused: a `nack`.
    pub refused: u64,
    /// Kept, but the confirm never arrives.
    pub unresponsive: u64,
    /// Confirmed and lost afterwards. Never a copy of a dead letter.
    pub lost: u64,
    /// Kept twice.
    pub doubled: u64,
    /// Delivered only seconds later.
    pub late: u64,
    /// Delivered before earlier ones.
    pub overtakes: u64,
    /// Followed by an unreadable one.
    pub poison: u64,
    /// How often a message may be given back before it goes to the queue of returned ones: a number, not a share. Far
    /// less than on the real broker, so that it happens.
    pub gives_up: u32,
}

/// Faults that no broker should have: for tests of whether the simulation notices them.
#[derive(Debug, Clone, Copy, Default)]
pub struct Vices {
    /// Forgets a message as soon as it is handed out, as if it were acknowledged before the claim.
    pub acks_by_itself: bool,
    /// Confirms everything it receives, kept or not, as if confirms did not matter.
    pub confirms_blindly: bool,
}

/// What has happened to messages.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Tally {
    /// Taken from publishers.
    pub published: u64,
    /// Confirmed and lost, purged, or refused.
    pub lost: u64,
    /// More copies than were sent.
    pub doubled: u64,
    /// Unreadable.
    pub poison: u64,
    /// Delivered.
    pub delivered: u64,
    /// Delivered before.
    pub returned: u64,
}

/// What is there now.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Census {
    /// Waiting to be delivered.
    pub ready: usize,
    /// Delivered and not acknowledged.
    pub unacked: usize,
    /// Given back too often.
    pub given_up: usize,
}

/// A consumer, and how long it holds a message before it hands it out or gives it back.
pub(super) type Taker = (TakerId, Duration);

/// One message.
#[derive(Debug, Clone)]
pub(super) struct Parcel {
    pub(super) bytes: Vec<u8>,
    pub(super) priority: Priority,
    pub(super) queue: String,
    from: Instant,
    pub(super) returns: u32,
}

/// A consumer, by its number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct TakerId(pub(super) u64);

#[derive(Debug)]
pub(super) struct Server {
    pub(super) random: Random,
    pub(super) weather: Weather,
    pub(super) vices: Vices,
    pub(super) tally: Tally,
    ready: BTreeMap<(String, Priority), VecDeque<Parcel>>,
    given_up: VecDeque<Parcel>,
    unacked: BTreeMap<u64, (TakerId, Parcel)>,
    /// Of those, what its consumer has not handed out, and until when it waits for that.
    waiting: BTreeMap<u64, Instant>,
    copies: BTreeSet<JobId>,
    tags: u64,
    takers: u64,
    pub(super) deepest: u32,
}

/// The broker's answer to a publisher about one row.
pub(super) enum Word {
    Confirmed,
    Nothing,
}

impl Server {
    pub(super) fn new(random: Random) -> Self {
        Self {
            random,
            weather: Weather::default(),
            vices: Vices::default(),
            tally: Tally::default(),
            ready: BTreeMap::new(),
            given_up: VecDeque::new(),
            unacked: BTreeMap::new(),
            waiting: BTreeMap::new(),
            copies: BTreeSet::new(),
            tags: 0,
            takers: 0,
            deepest: 0,
        }
    }

    pub(super) fn taker(&mut self) -> TakerId {
        self.takers += 1;
        TakerId(self.takers)
    }

    /// Accepts the ids of one row, each with its own fate.
    pub(super) fn accept(&mut self, row: &Dispatch) -> Word {
        let mut word = Word::Confirmed;
        for job in &row.jobs {
            if matches!(self.accept_one(row, *job), Word::Nothing) {
                word = Word::Nothing;
            }
        }
        if self.vices.confirms_blindly { Word::Confirmed } else { word }
    }

    fn accept_one(&mut self, row: &Dispatch, job: JobId) -> Word {
        let weather = self.weather;
        self.tally.published += 1;
        if self.random.happens(weather.refused) {
            self.tally.lost += 1;
            return Word::Nothing;
        }
        let word = if self.random.happens(weather.unresponsive) { Word::Nothing } else { Word::Confirmed };
        if row.purpose == Purpose::DeadLetter {
            self.copies.insert(job);
            return word;
        }
        if self.random.happens(weather.lost) {
            self.tally.lost += 1;
            return word;
        }
        let mut copies = 1;
        if self.random.happens(weather.doubled) {
            self.tally.doubled += 1;
            copies = 2;
        }
        for _ in 0..copies {
            self.keep(&row.queue, row.priority, Message::new(job, row.queue.as_str()).encode());
        }
        if self.random.happens(weather.poison) {
            self.poison(&row.queue, row.priority);
        }
        word
    }

    pub(super) fn poison(&mut self, queue: &str, priority: Priority) {
        self.tally.poison += 1;
        let bytes = match self.random.below(4) {
            0 => b"{\"v\":1,\"job_id\":\"".to_vec(),
            1 => br#"{"v":7,"job_id":"0190b0a0-0000-7000-8000-000000000001","queue":"q"}"#.to_vec(),
            2 => vec![0xff; 64],
            _ => Vec::new(),
        };
        self.keep(queue, priority, bytes);
    }

    pub(super) fn keep(&mut self, queue: &str, priority: Priority, bytes: Vec<u8>) {
        let late = self.random.happens(self.weather.late);
        let wait = if late { self.random.millis(100, 5_000) } else { Duration::ZERO };
        let parcel = Parcel { bytes, priority, queue: queue.to_owned(), from: Instant::now() + wait, returns: 0 };
        self.put(parcel);
    }

    fn put(&mut self, parcel: Parcel) {
        let overtakes = self.random.happens(self.weather.overtakes);
        let queue = parcel.queue.clone();
        let waiting = self.ready.entry((queue.clone(), parcel.priority)).or_default();
        if overtakes {
            waiting.push_front(parcel)
        } else {
            waiting.push_back(parcel)
        }
        self.deepest = self.deepest.max(self.depth(&queue));
    }

    /// Delivers what the taker may have now, urgent priorities first.
    pub(super) fn take(&mut self, who: Taker, queues: &BTreeSet<String>, max: usize) -> Vec<(u64, Parcel)> {
        let now = Instant::now();
        let mut taken = Vec::new();
        for priority in Priority::ALL {
            for queue in queues {
                let Some(waiting) = self.ready.get_mut(&(queue.clone(), priority)) else { continue };
                let mut still = VecDeque::new();
                while let Some(parcel) = waiting.pop_front() {
                    if parcel.from <= now && taken.len() < max { taken.push(parcel) } else { still.push_back(parcel) }
                }
                *waiting = still;
            }
        }
        self.hand_out(who, taken)
    }

    /// Delivers what was given back too often.
    pub(super) fn take_given_up(&mut self, who: Taker, max: usize) -> Vec<(u64, Parcel)> {
        let taken = self.given_up.drain(..max.min(self.given_up.len())).collect();
        self.hand_out(who, taken)
    }

    fn hand_out(&mut self, (who, hold): Taker, parcels: Vec<Parcel>) -> Vec<(u64, Parcel)> {
        self.tally.delivered += parcels.len() as u64;
        let mut handed = Vec::new();
        for parcel in parcels {
            self.tags += 1;
            if !self.vices.acks_by_itself {
                self.unacked.insert(self.tags, (who, parcel.clone()));
                self.waiting.insert(self.tags, Instant::now() + hold);
            }
            handed.push((self.tags, parcel));
        }
        handed
    }

    /// A consumer has handed these out: they wait for an acknowledgement now.
    pub(super) fn handed_out(&mut self, tags: impl Iterator<Item = u64>) {
        for tag in tags {
            self.waiting.remove(&tag);
        }
    }

    /// Consumers give back what they have not handed out in time.
    pub(super) fn reclaim(&mut self) {
        let now = Instant::now();
        let due: Vec<u64> = self.waiting.iter().filter(|(_, until)| **until <= now).map(|(tag, _)| *tag).collect();
        self.requeue(due.into_iter());
    }

    /// Returns when something may be delivered that these queues or other consumers hold, if not now.
    pub(super) fn next_due(&self, queues: &BTreeSet<String>) -> Option<Instant> {
        let of_ours = self.ready.iter().filter(|((queue, _), _)| queues.contains(queue));
        let late = of_ours.flat_map(|(_, waiting)| waiting.iter().map(|parcel| parcel.from));
        late.chain(self.waiting.values().copied()).min()
    }

    pub(super) fn ack(&mut self, tags: impl Iterator<Item = u64>) {
        for tag in tags {
            self.unacked.remove(&tag);
        }
    }

    pub(super) fn requeue(&mut self, tags: impl Iterator<Item = u64>) {
        for tag in tags {
            self.waiting.remove(&tag);
            if let Some((_, parcel)) = self.unacked.remove(&tag) {
                self.give_back(parcel);
            }
        }
    }

    fn give_back(&mut self, parcel: Parcel) {
        self.tally.returned += 1;
        let parcel = Parcel { returns: parcel.returns + 1, ..parcel };
        if parcel.returns > self.weather.gives_up { self.given_up.push_back(parcel) } else { self.put(parcel) }
    }

    /// Whether a consumer may still acknowledge it.
    pub(super) fn is_held(&self, tag: u64) -> bool {
        self.vices.acks_by_itself || self.unacked.contains_key(&tag)
    }

    /// How many unacknowledged messages a consumer holds.
    pub(super) fn held_by(&self, who: TakerId) -> usize {
        self.unacked.values().filter(|(holder, _)| *holder == who).count()
    }

    /// Its connection is gone: what it held goes to others.
    pub(super) fn forget(&mut self, who: TakerId) {
        let held: Vec<u64> =
            self.unacked.iter().filter(|(_, (holder, _))| *holder == who).map(|(tag, _)| *tag).collect();
        self.requeue(held.into_iter());
    }

    pub(super) fn forget_all(&mut self) {
        let held: Vec<u64> = self.unacked.keys().copied().collect();
        self.requeue(held.into_iter());
    }

    /// Drops everything that waits, and keeps what has been delivered, as `queue_purge` does.
    pub(super) fn purge(&mut self) -> usize {
        let lost = self.ready.values().map(VecDeque::len).sum::<usize>() + self.given_up.len();
        self.ready.clear();
        self.given_up.clear();
        self.tally.lost += lost as u64;
        lost
    }

    /// Drops a queue with what waits in it, and returns how much that was.
    pub(super) fn delete(&mut self, queue: &str) -> u32 {
        let messages = self.depth(queue);
        self.ready.retain(|(name, _), _| name != queue);
        self.tally.lost += u64::from(messages);
        messages
    }

    pub(super) fn depth(&self, queue: &str) -> u32 {
        let ours = self.ready.iter().filter(|((name, _), _)| name == queue);
        u32::try_from(ours.map(|(_, waiting)| waiting.len()).sum::<usize>()).unwrap_or(u32::MAX)
    }

    pub(super) fn census(&self) -> Census {
        Census {
            ready: self.ready.values().map(VecDeque::len).sum(),
            unacked: self.unacked.len(),
            given_up: self.given_up.len(),
        }
    }

    pub(super) fn copies(&self) -> BTreeSet<JobId> {
        self.copies.clone()
    }
}
