//! How many jobs to take from which waiting ones: by priority, then in turns, and never over a limit.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use serde::{Deserialize, Serialize};

use super::gcra::Rate;
use super::{Buckets, Key, Limit};
use crate::Instant;
use crate::id::JobId;
use crate::job::Priority;

/// Waiting jobs that are alike for every limit: of one kind, on one queue, with one priority, of one key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Group {
    /// Their queue.
    pub queue: String,
    /// Their priority.
    pub priority: Priority,
    /// Their kind.
    pub kind: String,
    /// Their key.
    pub key: Key,
    /// The oldest that may be claimed. The number of jobs in the group is not needed.
    pub first: JobId,
}

/// How many jobs of one sort are running.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Running {
    /// From which queue.
    pub queue: String,
    /// Of which kind.
    pub kind: String,
    /// Their key.
    pub key: Key,
    /// How many.
    pub jobs: u64,
}

/// Which key had the last turn in a priority of a queue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Turn {
    /// The key that had the last turn.
    pub key: Key,
    /// When that was.
    pub at: Instant,
}

/// The turns of each priority of each queue.
pub type Turns = BTreeMap<(String, Priority), Turn>;

/// Everything that a choice depends on.
#[derive(Debug, Clone)]
pub struct Facts {
    /// The database's current time.
    pub now: Instant,
    /// The limits.
    pub limits: Vec<Limit>,
    /// What is running, at least everything that falls under a concurrency limit.
    pub running: Vec<Running>,
    /// The instant up to which each rate is used up.
    pub buckets: Buckets,
    /// Who had the last turns.
    pub turns: Turns,
    /// Priorities of queues on which more keys wait than were looked at.
    pub cut: BTreeSet<(String, Priority)>,
}

/// This many of a group, the oldest first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pick {
    /// The group.
    pub group: Group,
    /// How many at most: there may be fewer.
    pub jobs: u32,
}

/// What was chosen.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Choice {
    /// How many to take from which group.
    pub picks: Vec<Pick>,
    /// Where the turns stand after that.
    pub turns: BTreeMap<(String, Priority), Key>,
    /// When the first of the jobs that wait only for a rate becomes free.
    pub next: Option<Instant>,
}

/// Why a job may not begin now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(tag = "why", rename_all = "snake_case")]
pub enum Blocker {
    /// As many are running as are allowed.
    Concurrency {
        /// The limit's name.
        limit: String,
        /// How many are running.
        running: u64,
        /// How many are allowed.
        most: u32,
    },
    /// As many have begun as are allowed.
    Rate {
        /// The limit's name.
        limit: String,
        /// When the next may begin.
        #[cfg_attr(feature = "schema", schema(value_type = chrono::DateTime<chrono::Utc>))]
        next: Instant,
    },
}

/// Chooses at most `want` jobs. Urgent priorities come first; within a priority the queues take turns, the least
/// recently served first; on a queue the keys take turns, beginning after the one that came last. A group that a limit
/// holds back does not hold back any other.
pub fn choose(facts: &Facts, groups: &[Group], want: u32) -> Choice {
    let mut ledger = Ledger::of(facts);
    let mut choice = Choice::default();
    let mut left = want;
    for priority in Priority::ALL {
        let mut circles = circles(facts, groups, priority);
        for circle in &circles {
            if let Some(last) = circle.keys.back().filter(|_| facts.cut.contains(&(circle.queue.clone(), priority))) {
                // Keys that could not be served go behind the others next time; otherwise the others would never be
                // reached.
                choice.turns.insert((circle.queue.clone(), priority), last.0.clone());
            }
        }
        while left > 0 && !circles.is_empty() {
            circles.retain_mut(|circle| {
                if left == 0 {
                    return true;
                }
                let Some((key, group)) = circle.next(&mut ledger) else { return false };
                left -= 1;
                choice.turns.insert((circle.queue.clone(), priority), key);
                take(&mut choice.picks, group);
                true
            });
        }
    }
    choice.next = ledger.next;
    choice
}

/// Everything that keeps one sort of job from beginning now.
pub fn hindrances(facts: &Facts, queue: &str, kind: &str, key: &Key) -> Vec<Blocker> {
    let ledger = Ledger::of(facts);
    let covering = facts.limits.iter().filter(|limit| limit.spec.covers(queue, kind));
    covering.flat_map(|limit| ledger.hindrances(limit, key)).collect()
}

fn take(picks: &mut Vec<Pick>, group: &Group) {
    match picks.iter_mut().find(|pick| pick.group == *group) {
        Some(pick) => pick.jobs += 1,
        None => picks.push(Pick { group: group.clone(), jobs: 1 }),
    }
}

/// The keys that wait with one priority of one queue, in the order of their turns.
struct Circle<'a> {
    queue: String,
    keys: VecDeque<(Key, VecDeque<&'a Group>)>,
}

impl<'a> Circle<'a> {
    /// Returns the next key whose turn it is and that may begin. A key that may not begin now is out for the rest of
    /// this choice, because taking jobs only uses up more.
    fn next(&mut self, ledger: &mut Ledger<'_>) -> Option<(Key, &'a Group)> {
        while let Some((key, mut groups)) = self.keys.pop_front() {
            while let Some(group) = groups.pop_front() {
                if ledger.begin(group) {
                    groups.push_back(group);
                    self.keys.push_back((key.clone(), groups));
                    return Some((key, group));
                }
            }
        }
        None
    }
}

fn circles<'a>(facts: &Facts, groups: &'a [Group], priority: Priority) -> Vec<Circle<'a>> {
    let mut queues: BTreeMap<&str, BTreeMap<&Key, Vec<&Group>>> = BTreeMap::new();
    for group in groups.iter().filter(|group| group.priority == priority) {
        queues.entry(&group.queue).or_default().entry(&group.key).or_default().push(group);
    }
    let turn = |queue: &str| facts.turns.get(&(queue.to_owned(), priority));
    let mut circles: Vec<(Option<Instant>, Circle<'a>)> = Vec::with_capacity(queues.len());
    for (queue, mut keys) in queues {
        let last = turn(queue).map(|turn| &turn.key);
        let after = last
            .map_or_else(BTreeMap::new, |last| keys.extract_if(.., |key, _| *key > last).collect::<BTreeMap<_, _>>());
        let order = after.into_iter().chain(keys);
        let keys = order.map(|(key, mut groups)| {
            groups.sort_by_key(|group| group.first);
            (key.clone(), groups.into())
        });
        circles.push((turn(queue).map(|turn| turn.at), Circle { queue: queue.to_owned(), keys: keys.collect() }));
    }
    circles.sort_by_key(|(at, _)| *at);
    circles.into_iter().map(|(_, circle)| circle).collect()
}

/// How much of each limit is used up, by the name of the limit and its key.
struct Ledger<'a> {
    facts: &'a Facts,
    running: BTreeMap<(&'a str, Key), u64>,
    begun: BTreeMap<(&'a str, Key), u64>,
    next: Option<Instant>,
}

impl<'a> Ledger<'a> {
    fn of(facts: &'a Facts) -> Self {
        let mut running: BTreeMap<(&str, Key), u64> = BTreeMap::new();
        for limit in facts.limits.iter().filter(|limit| limit.spec.concurrency.is_some()) {
            for some in facts.running.iter().filter(|some| limit.spec.covers(&some.queue, &some.kind)) {
                *running.entry((&limit.name, limit.spec.share(&some.key))).or_default() += some.jobs;
            }
        }
        Self { facts, running, begun: BTreeMap::new(), next: None }
    }

    /// Lets one job of a group begin, if no limit prevents it.
    fn begin(&mut self, group: &Group) -> bool {
        let facts = self.facts;
        let covering = || facts.limits.iter().filter(|limit| limit.spec.covers(&group.queue, &group.kind));
        let found: Vec<Blocker> = covering().flat_map(|limit| self.hindrances(limit, &group.key)).collect();
        if !found.is_empty() {
            self.note(&found);
            return false;
        }
        for limit in covering() {
            let whose = (limit.name.as_str(), limit.spec.share(&group.key));
            if limit.spec.rate.is_some() {
                *self.begun.entry(whose.clone()).or_default() += 1;
            }
            if limit.spec.concurrency.is_some() {
                *self.running.entry(whose).or_default() += 1;
            }
        }
        true
    }

    /// Remembers when the first rate becomes free. When a concurrency slot becomes free cannot be known.
    fn note(&mut self, found: &[Blocker]) {
        let mut next = None;
        for hindrance in found {
            match hindrance {
                Blocker::Concurrency { .. } => return,
                Blocker::Rate { next: at, .. } => next = next.max(Some(*at)),
            }
        }
        self.next = [self.next, next].into_iter().flatten().min();
    }

    fn hindrances(&self, limit: &Limit, key: &Key) -> Vec<Blocker> {
        let share = limit.spec.share(key);
        let mut found = Vec::new();
        if let Some(most) = limit.spec.concurrency {
            let running = self.running.get(&(limit.name.as_str(), share.clone())).copied().unwrap_or(0);
            if running >= u64::from(most) {
                found.push(Blocker::Concurrency { limit: limit.name.clone(), running, most });
            }
        }
        if let Some(interval) = limit.spec.interval_micros() {
            let rate = Rate { interval, burst: limit.spec.burst() };
            let used = self.facts.buckets.get(&(limit.name.clone(), share.clone())).copied();
            let begun = self.begun.get(&(limit.name.as_str(), share)).copied().unwrap_or(0);
            if rate.free(used, self.facts.now) <= begun {
                let used = rate.spend(used, self.facts.now, begun);
                found.push(Blocker::Rate { limit: limit.name.clone(), next: rate.next(Some(used), self.facts.now) });
            }
        }
        found
    }
}
