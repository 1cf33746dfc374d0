//! Limits and turns: everything that waits is considered, and `core` chooses.

use std::collections::{BTreeMap, BTreeSet};

use async_trait::async_trait;
use chrono::TimeDelta;
use gristmill_core::id::JobId;
use gristmill_core::job::{ClaimedJob, JobState, Priority};
use gristmill_core::limit::{Facts, Group, Key, Limit, QueueSpec, Running, Turn, choose, hindrances};

use super::ReferenceStore;
use super::claim::{is_over, may, take};
use super::control::finish;
use super::state::most;
use super::state::{Job, LimitRow, State, later};
use super::transition::Transition;
use crate::check;
use crate::error::Result;
use crate::limits::{check_limit, check_origin, limit_view, served_at, spent, used_most_micros, wait};
use crate::{
    Claim, ControlReport, Dispatched, JobBlockers, LimitOrigin, LimitView, Limited, LimitedClaim, Limits, Purpose,
    SaveLimit,
};

/// What distinguishes one group from another.
type Name = (String, Priority, String, Key);

/// Which queues and kinds are managed.
pub(super) fn limited(state: &State) -> Limited {
    Limited::of(state.limits.values().map(|row| &row.spec), state.queue_specs.clone())
}

#[async_trait]
impl Limits for ReferenceStore {
    async fn limited(&self) -> Result<Limited> {
        Ok(limited(&Transition::begin(self).state))
    }

    async fn limits(&self) -> Result<Vec<LimitView>> {
        let t = Transition::begin(self);
        let running = running(&t.state);
        let view = |(name, row): (&String, &LimitRow)| {
            limit_view(name.clone(), row.origin, row.spec.clone(), row.updated_at, &running)
        };
        Ok(t.state.limits.iter().map(view).collect())
    }

    async fn save_limit(&self, save: &SaveLimit) -> Result<(LimitView, Dispatched)> {
        check_limit(save)?;
        let mut t = Transition::begin(self);
        check_origin(&save.name, t.state.limits.get(&save.name).map(|row| row.origin), save.origin)?;
        let was = limited(&t.state);
        let row = LimitRow { origin: save.origin, spec: save.spec.clone(), updated_at: t.now };
        t.state.limits.insert(save.name.clone(), row);
        let most = t.now + TimeDelta::microseconds(used_most_micros(&save.spec));
        for (_, used_to) in t.state.buckets.iter_mut().filter(|((name, _), _)| *name == save.name) {
            *used_to = (*used_to).min(most);
        }
        free(&mut t, &was);
        let view = limit_view(save.name.clone(), save.origin, save.spec.clone(), t.now, &running(&t.state));
        Ok((view, t.commit()?.dispatched))
    }

    async fn drop_limit(&self, name: &str, origin: LimitOrigin, dry_run: bool) -> Result<ControlReport> {
        let mut t = Transition::begin(self);
        let was = limited(&t.state);
        let Some(row) = t.state.limits.remove(name) else { return Ok(ControlReport::default()) };
        check_origin(name, Some(row.origin), origin)?;
        t.state.buckets.retain(|(of, _), _| of != name);
        free(&mut t, &was);
        finish(t, ControlReport { affected: 1, samples: vec![name.to_owned()], ..ControlReport::default() }, dry_run)
    }

    async fn save_queue(&self, name: &str, spec: &QueueSpec) -> Result<Dispatched> {
        check::name("queue", name)?;
        let mut t = Transition::begin(self);
        let was = limited(&t.state);
        if spec.is_default() {
            t.state.queue_specs.remove(name);
        } else {
            t.state.queue_specs.insert(name.to_owned(), spec.clone());
        }
        free(&mut t, &was);
        Ok(t.commit()?.dispatched)
    }

    async fn raise_aged(&self, limit: u32) -> Result<Dispatched> {
        let mut t = Transition::begin(self);
        let now = t.now;
        t.state.buckets.retain(|_, used_to| *used_to >= now);
        let due = |job: &Job| {
            let after = t.state.queue_specs.get(&job.queue).and_then(|spec| spec.age_after)?;
            let since = job.queued_at.max(job.aged_at)?;
            (job.state == JobState::Queued && job.priority != Priority::High && later(since, after.0) <= now)
                .then_some(job.id)
        };
        let due: Vec<JobId> = t.state.jobs.values().filter_map(|job| due(job)).take(most(limit)).collect();
        for id in &due {
            let Some(job) = t.state.job_mut(*id) else { continue };
            job.priority = Priority::from_rank(job.priority.rank() - 1).unwrap_or(Priority::High);
            job.aged_at = Some(now);
            let job = job.clone();
            t.ready(Purpose::Dispatch, &job);
        }
        Ok(Dispatched { moved: due.len() as u64, ..t.commit()?.dispatched })
    }

    async fn blockers(&self, id: JobId) -> Result<JobBlockers> {
        let t = Transition::begin(self);
        let Some(job) = t.state.jobs.get(&id) else { return Ok(JobBlockers::default()) };
        let hindrances = hindrances(&facts(&t), &job.queue, &job.kind, &group(job).key);
        let mut rows = t.state.outbox.values();
        let in_outbox = rows.any(|row| row.purpose == Purpose::Dispatch && row.jobs.contains(&id));
        Ok(JobBlockers { hindrances, in_outbox })
    }
}

pub(super) fn claim_limited(store: &ReferenceStore, claim: &Claim) -> Result<LimitedClaim> {
    let mut t = Transition::begin(store);
    if is_over(&t, claim) {
        return Ok(LimitedClaim::default());
    }
    let limited = limited(&t.state);
    let wanted = |job: &Job| claim.queues.is_empty() || claim.queues.contains(&job.queue);
    let waiting: Vec<(Group, JobId)> = t
        .state
        .jobs
        .values()
        .filter(|job| job.state == JobState::Queued && limited.has(&job.queue, &job.kind) && wanted(job))
        .filter(|job| may(store, &t.state, claim, job))
        .map(|job| (group(job), job.id))
        .collect();
    let mut groups: BTreeMap<Name, (Group, Vec<JobId>)> = BTreeMap::new();
    for (group, id) in waiting {
        let name = (group.queue.clone(), group.priority, group.kind.clone(), group.key.clone());
        groups.entry(name).or_insert_with(|| (group, Vec::new())).1.push(id);
    }
    let facts = facts(&t);
    let all: Vec<Group> = groups.values().map(|(group, _)| group.clone()).collect();
    let choice = choose(&facts, &all, claim.limit);
    let mut chosen = Vec::new();
    for pick in &choice.picks {
        let jobs = groups.values().find(|(group, _)| *group == pick.group).map(|(_, jobs)| jobs.as_slice());
        chosen.extend(jobs.unwrap_or_default().iter().take(most(pick.jobs)).copied());
    }
    let mut claimed: Vec<ClaimedJob> = take(&mut t, claim, &chosen);
    claimed.sort_by_key(|job| (job.priority, job.fence.job));
    t.state.buckets.extend(spent(&facts, &claimed));
    let at = served_at(&facts);
    t.state.turns.extend(choice.turns.iter().map(|(priority, key)| (priority.clone(), Turn { key: key.clone(), at })));
    let wait = wait(&choice, t.now);
    t.commit()?;
    Ok(LimitedClaim { claimed, wait })
}

fn group(job: &Job) -> Group {
    Group {
        queue: job.queue.clone(),
        priority: job.priority,
        kind: job.kind.clone(),
        key: Key::of(&job.tenant, job.key.as_deref()),
        first: job.id,
    }
}

fn facts(t: &Transition<'_>) -> Facts {
    let limits = t.state.limits.iter().map(|(name, row)| Limit { name: name.clone(), spec: row.spec.clone() });
    Facts {
        now: t.now,
        limits: limits.collect(),
        running: running(&t.state),
        buckets: t.state.buckets.clone(),
        turns: t.state.turns.clone(),
        cut: BTreeSet::new(),
    }
}

fn running(state: &State) -> Vec<Running> {
    let running = state.jobs.values().filter(|job| job.state == JobState::Running);
    let one = |job: &Job| {
        let Group { queue, kind, key, .. } = group(job);
        Running { queue, kind, key, jobs: 1 }
    };
    running.map(|job| one(job)).collect()
}

/// Jobs that are no longer managed have lost their messages: they are dispatched.
fn free(t: &mut Transition<'_>, was: &Limited) {
    let is = limited(&t.state);
    let freed = |job: &Job| was.has(&job.queue, &job.kind) && !is.has(&job.queue, &job.kind);
    let queued = t.state.jobs.values().filter(|job| job.state == JobState::Queued && freed(job));
    let mut waiting: Vec<_> = queued.filter(|job| !t.state.paused(job)).cloned().collect();
    waiting.sort_by_key(|job| (job.priority, job.id));
    for job in waiting {
        t.ready(Purpose::Dispatch, &job);
    }
}
