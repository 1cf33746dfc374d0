//! Limits and turns as the store keeps them, and the part of deciding by them that the databases share.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Debug;
use std::time::Duration;

use async_trait::async_trait;
use chrono::TimeDelta;
use gristmill_core::Instant;
use gristmill_core::id::JobId;
use gristmill_core::job::{ClaimedJob, Priority};
use gristmill_core::limit::gcra::Rate;

pub use gristmill_core::limit::{Blocker, Limit, LimitSpec, QueueSpec};
use gristmill_core::limit::{Buckets, Choice, Facts, Group, Key, Running};
use serde::{Deserialize, Serialize};

use crate::check;
use crate::error::{Result, StoreError};
use crate::schedules::ScheduleOrigin;
use crate::{ControlReport, Dispatched};

/// Where a limit was made: the same places as a schedule's.
pub type LimitOrigin = ScheduleOrigin;

/// How many keys of one kind and priority of a queue one claim considers at most. When more wait, and a limit
/// holds all of these back, the next claim considers the next ones.
pub(crate) const KEYS_LOOK: i64 = 1_000;

/// How many jobs of a priority are considered when jobs that waited too long are raised: the oldest ones.
pub(crate) const AGED_LOOK: i64 = 1_000;

/// How many waiting jobs a change of what is limited moves at most; the rest is moved every second.
pub(crate) const UNMANAGED_MAX: i64 = 20_000;

/// How many jobs that became limited while they waited one claim brings to those that take turns; the others are
/// brought every second.
pub(crate) const CAUGHT_MAX: i64 = 1_000;

/// How many keys a view of a limit names at most.
pub(crate) const USES_MAX: usize = 100;

/// Limits and turns: how many jobs may run, and whose turn it is.
#[async_trait]
pub trait Limits: Debug + Send + Sync + 'static {
    /// Returns which queues and kinds are claimed by limits and turns, and the settings of queues.
    async fn limited(&self) -> Result<Limited>;

    /// Returns every limit by name, with how many jobs under it run now.
    async fn limits(&self) -> Result<Vec<LimitView>>;

    /// Creates or changes a limit: it applies from the next claim on. [`StoreError::Conflict`] when it was made in
    /// another place. What it no longer limits is dispatched, since messages of limited jobs are dropped.
    async fn save_limit(&self, save: &SaveLimit) -> Result<(LimitView, Dispatched)>;

    /// Removes a limit that was made in that place. 1 affected, or 0 when there was none. What is no longer limited is
    /// dispatched, at most 20,000 jobs; the probe brings the rest.
    async fn drop_limit(&self, name: &str, origin: LimitOrigin, dry_run: bool) -> Result<ControlReport>;

    /// Sets what applies to a queue; an empty [`QueueSpec`] is deleted. Otherwise as [`Limits::save_limit`].
    async fn save_queue(&self, name: &str, spec: &QueueSpec) -> Result<Dispatched>;

    /// Moves at most `limit` jobs up one priority that have waited there for as long as their queue's `age_after`: the
    /// thousand oldest of each priority are considered. They are dispatched to their new priority. Deletes rates whose
    /// time has passed.
    async fn raise_aged(&self, limit: u32) -> Result<Dispatched>;

    /// Returns which limits keep a job from beginning, and whether its message waits to be published. Meaningful only
    /// while it is `queued`.
    async fn blockers(&self, job: JobId) -> Result<JobBlockers>;
}

/// A limit to be created or changed.
#[derive(Debug, Clone, PartialEq)]
pub struct SaveLimit {
    /// Its name.
    pub name: String,
    /// Where it is made.
    pub origin: LimitOrigin,
    /// What it allows.
    pub spec: LimitSpec,
}

/// A limit as it is shown.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct LimitView {
    /// Its name; also its key in lists.
    pub name: String,
    /// Where it was made.
    pub origin: LimitOrigin,
    /// What it allows.
    pub spec: LimitSpec,
    /// When it was last changed.
    #[cfg_attr(feature = "schema", schema(value_type = chrono::DateTime<chrono::Utc>))]
    pub updated_at: Instant,
    /// How many jobs that fall under it run now.
    pub running: u64,
    /// The same for each key, when the limit applies to each key separately: the hundred that run the most.
    pub uses: Vec<LimitUse>,
}

/// How much of a limit one key uses.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct LimitUse {
    /// The tenant that owns the jobs.
    pub tenant: String,
    /// The key; empty for jobs without one.
    pub key: String,
    /// How many of them run now.
    pub running: u64,
}

/// Which queues and kinds are claimed by limits and turns.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Limited {
    /// All jobs in these queues.
    pub queues: BTreeSet<String>,
    /// All jobs of these kinds, in any queue.
    pub kinds: BTreeSet<String>,
    /// The settings of queues that have any.
    pub specs: BTreeMap<String, QueueSpec>,
}

impl Limited {
    /// What follows from the limits and the settings of queues.
    pub(crate) fn of<'a>(limits: impl IntoIterator<Item = &'a LimitSpec>, specs: BTreeMap<String, QueueSpec>) -> Self {
        let fair = specs.iter().filter(|(_, spec)| spec.fair).map(|(name, _)| name.clone());
        let mut limited = Self { queues: fair.collect(), ..Self::default() };
        for spec in limits {
            if spec.queues.is_empty() {
                limited.kinds.extend(spec.kinds.iter().cloned());
            } else {
                limited.queues.extend(spec.queues.iter().cloned());
            }
        }
        Self { specs, ..limited }
    }

    /// Whether anything is limited.
    pub fn any(&self) -> bool {
        !self.queues.is_empty() || !self.kinds.is_empty()
    }

    /// Whether jobs of this kind in this queue are limited.
    pub fn has(&self, queue: &str, kind: &str) -> bool {
        self.queues.contains(queue) || self.kinds.contains(kind)
    }
}

/// What a claim by limits and turns found.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct LimitedClaim {
    /// Claimed: run them. By priority and age.
    pub claimed: Vec<ClaimedJob>,
    /// How long until the first of the jobs that wait for a rate may begin.
    pub wait: Option<Duration>,
}

/// What only the store knows about why a job waits.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct JobBlockers {
    /// The limits that keep it from beginning at the moment.
    pub hindrances: Vec<Blocker>,
    /// Whether it is committed but not yet published to the broker.
    pub in_outbox: bool,
}

/// Refuses a limit that cannot be kept.
pub(crate) fn check_limit(save: &SaveLimit) -> Result<()> {
    check::name("limit", &save.name)?;
    for queue in &save.spec.queues {
        check::name("queue", queue)?;
    }
    for kind in &save.spec.kinds {
        check::name("kind", kind)?;
    }
    save.spec.check().map_err(|wrong| match wrong.key {
        "" => StoreError::Invalid(format!("limit `{}` {}", save.name, wrong.message)),
        _ => StoreError::Invalid(format!("limit `{}`: {wrong}", save.name)),
    })
}

/// How far ahead a rate may be used up, in microseconds from now. Usage under earlier terms counts as no more than
/// that: a raised limit does not make jobs wait for what the old one had promised.
pub(crate) fn used_most_micros(spec: &LimitSpec) -> i64 {
    spec.interval_micros().map_or(0, |interval| interval.saturating_mul(i64::from(spec.burst())))
}

/// Refuses to let a command change what the configuration defines, and the other way round.
pub(crate) fn check_origin(name: &str, was: Option<LimitOrigin>, is: LimitOrigin) -> Result<()> {
    match was {
        Some(was) if was != is => Err(StoreError::Conflict(match was {
            LimitOrigin::File => format!(
                "limit `{name}` is in the configuration; change [limit.{name}] there, the scheduler follows the file"
            ),
            LimitOrigin::Command => {
                format!("limit `{name}` was made by a command; drop it with `gristmill limit drop {name}` first")
            }
        })),
        Some(_) | None => Ok(()),
    }
}

/// A limit with how much of it is in use.
pub(crate) fn limit_view(
    name: String,
    origin: LimitOrigin,
    spec: LimitSpec,
    updated_at: Instant,
    running: &[Running],
) -> LimitView {
    let mut uses: BTreeMap<&Key, u64> = BTreeMap::new();
    for some in running.iter().filter(|some| spec.covers(&some.queue, &some.kind)) {
        *uses.entry(&some.key).or_default() += some.jobs;
    }
    let total = uses.values().sum();
    let mut uses: Vec<LimitUse> = uses
        .into_iter()
        .filter(|_| spec.per_key)
        .map(|(key, running)| LimitUse { tenant: key.tenant.clone(), key: key.key.clone(), running })
        .collect();
    uses.sort_by_key(|used| std::cmp::Reverse(used.running));
    uses.truncate(USES_MAX);
    LimitView { name, origin, spec, updated_at, running: total, uses }
}

/// One priority of one queue with one kind in it: where a walk from key to key begins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Stream {
    pub(crate) queue: String,
    pub(crate) priority: Priority,
    pub(crate) kind: String,
}

/// One step of such a walk.
#[derive(Debug, Clone)]
pub(crate) struct Walked {
    /// Whether it came after the key that had the last turn, or from the beginning up to it.
    pub(crate) after: bool,
    pub(crate) group: Group,
    /// Counted from 1.
    pub(crate) step: i64,
}

/// The waiting keys that were seen. When a walk was cut short, nothing beyond that place counts in the whole priority:
/// otherwise the turns would skip the keys that were not seen.
pub(crate) fn window(walked: Vec<Walked>) -> (Vec<Group>, BTreeSet<(String, Priority)>) {
    let mut ends: BTreeMap<(String, Priority), (bool, Key)> = BTreeMap::new();
    for step in walked.iter().filter(|step| step.step >= KEYS_LOOK) {
        // Keys after the last turn come first.
        let end = (!step.after, step.group.key.clone());
        let known = ends.entry((step.group.queue.clone(), step.group.priority)).or_insert_with(|| end.clone());
        *known = (*known).clone().min(end);
    }
    let seen = walked.into_iter().filter(|step| {
        let end = ends.get(&(step.group.queue.clone(), step.group.priority));
        end.is_none_or(|end| (!step.after, &step.group.key) <= (end.0, &end.1))
    });
    (seen.map(|step| step.group).collect(), ends.into_keys().collect())
}

/// The buckets whose rates must be known to choose among groups.
pub(crate) fn wanted_buckets(limits: &[Limit], groups: &[Group]) -> BTreeSet<(String, Key)> {
    let rated = limits.iter().filter(|limit| limit.spec.rate.is_some());
    rated
        .flat_map(|limit| {
            let covered = groups.iter().filter(|group| limit.spec.covers(&group.queue, &group.kind));
            covered.map(|group| (limit.name.clone(), limit.spec.share(&group.key)))
        })
        .collect()
}

/// Until when the rates are used up once these jobs have been claimed.
pub(crate) fn spent(facts: &Facts, claimed: &[ClaimedJob]) -> Buckets {
    let mut begun: BTreeMap<(String, Key), (Rate, u64)> = BTreeMap::new();
    for limit in &facts.limits {
        let Some(interval) = limit.spec.interval_micros() else { continue };
        let rate = Rate { interval, burst: limit.spec.burst() };
        for job in claimed.iter().filter(|job| limit.spec.covers(&job.queue, &job.kind)) {
            let key = limit.spec.share(&Key::of(&job.tenant, job.key.as_deref()));
            begun.entry((limit.name.clone(), key)).or_insert((rate, 0)).1 += 1;
        }
    }
    begun
        .into_iter()
        .map(|(whose, (rate, jobs))| {
            let used_to = rate.spend(facts.buckets.get(&whose).copied(), facts.now, jobs);
            (whose, used_to)
        })
        .collect()
}

/// When the jobs chosen now have their turn: after all earlier turns, even if the clock is coarse or was set back.
/// Otherwise a queue could come again before others that were served in the same instant.
pub(crate) fn served_at(facts: &Facts) -> Instant {
    let last = facts.turns.values().map(|turn| turn.at).max();
    last.map_or(facts.now, |last| facts.now.max(last + TimeDelta::microseconds(1)))
}

/// How long until the first of the jobs that wait for a rate may begin.
pub(crate) fn wait(choice: &Choice, now: Instant) -> Option<Duration> {
    choice.next.map(|next| (next - now).to_std().unwrap_or(Duration::ZERO))
}

/// The limits that apply to any of these streams.
pub(crate) fn covering(limits: Vec<Limit>, streams: &[Stream]) -> Vec<Limit> {
    let covers = |limit: &Limit| streams.iter().any(|stream| limit.spec.covers(&stream.queue, &stream.kind));
    limits.into_iter().filter(covers).collect()
}

/// A group of one job, to find out what blocks it.
pub(crate) fn group_of(stream: Stream, key: Key, first: JobId) -> Group {
    Group { queue: stream.queue, priority: stream.priority, kind: stream.kind, key, first }
}
