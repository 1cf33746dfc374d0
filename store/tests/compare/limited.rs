//! Limits, settings of queues, and jobs that wait: what an operation does there, and what can be seen of them.

use gristmill_core::duration::Span;
use gristmill_core::id::JobId;
use gristmill_store::{
    Blocker, JobFilter, LimitOrigin, LimitSpec, LimitView, Page, QueueSpec, Result, SaveLimit, Wait, why,
};

use crate::apply::Told;
use crate::look::said;
use crate::made::{LONG, queue_name, turn_key};
use crate::operation::{KEYS, Limited, Operation};
use crate::side::{Pair, Side, TENANTS, batch_name};

/// What limits may name.
const KINDS: [&str; 5] = ["work", "odd", "chunk", "aggregate", "webhook"];

pub(crate) async fn apply(told: &mut Told<'_>, pair: &Pair<'_>, operation: &Operation) -> Result<String> {
    let side = told.side;
    let store = &side.store;
    match operation {
        Operation::SaveLimit { limit, limited, file } => {
            let save = SaveLimit { name: limit_name(*limit), origin: origin(*file), spec: spec(limited) };
            let (view, dispatched) = store.save_limit(&save).await?;
            Ok(format!("{} {}", told_limit(&view), told.dispatched(&dispatched).await))
        }
        Operation::DropLimit { limit, file, dry } => {
            let control_report = store.drop_limit(&limit_name(*limit), origin(*file), *dry).await?;
            let dispatched = told.dispatched(&control_report.dispatched).await;
            Ok(format!("affected {} {:?} {dispatched}", control_report.affected, control_report.samples))
        }
        Operation::SaveQueue { queue, fair, ages } => {
            let spec = QueueSpec { fair: *fair, age_after: ages.then_some(Span(LONG)) };
            let dispatched = store.save_queue(&queue_name(*queue), &spec).await?;
            Ok(told.dispatched(&dispatched).await)
        }
        Operation::RaiseAged { waited, all } => {
            let some: Vec<String> = waited.iter().map(|job| pair.job(*job)).collect();
            for name in if *all { &pair.jobs } else { &some } {
                store.wait_long(side.id(name)).await;
            }
            // As many as there are: which of more come first is not defined.
            let dispatched = store.raise_aged(1_000).await?;
            Ok(told.dispatched(&dispatched).await)
        }
        Operation::PassRates => {
            store.pass_rates().await;
            Ok(String::new())
        }
        Operation::Why { jobs } => {
            let mut told = Vec::new();
            for name in jobs.iter().map(|job| pair.job(*job)) {
                let Some(job) = store.job(TENANTS[0], side.id(&name)).await? else { continue };
                let waits = why(&store.handle(), &job).await?;
                // Only on a server is a scheduler a process of its own.
                let waits = waits.iter().filter(|wait| **wait != Wait::NoScheduler);
                let waits: Vec<String> = waits.map(told_wait).collect();
                told.push(format!("{name} {} {waits:?}", job.state));
            }
            Ok(told.join("; "))
        }
        other => unreachable!("{other:?} is not about limits"),
    }
}

fn limit_name(limit: usize) -> String {
    format!("limit{limit}")
}

fn origin(file: bool) -> LimitOrigin {
    if file { LimitOrigin::File } else { LimitOrigin::Command }
}

/// A rate is one in hours, so that nothing becomes free while the operations run.
fn spec(limited: &Limited) -> LimitSpec {
    let Limited { queues, kinds, per_key, concurrency, rate } = limited;
    LimitSpec {
        queues: queues.iter().map(|queue| queue_name(*queue)).collect(),
        kinds: kinds.iter().map(|kind| KINDS[kind % KINDS.len()].to_owned()).collect(),
        per_key: *per_key,
        concurrency: *concurrency,
        rate: rate.map(|(rate, _)| rate),
        per: rate.map(|_| Span(LONG)),
        burst: rate.map(|(_, burst)| burst),
    }
}

/// Everything that can be seen of limits, one per line.
pub(crate) async fn look(side: &Side, lines: &mut Vec<String>) {
    let store = &side.store;
    lines.extend(store.limits().await.expect("listed").iter().map(told_limit));
    lines.push(format!("{:?}", store.limited().await.expect("asked")));
    for key in 0..KEYS {
        let key = Some(turn_key(usize::try_from(key).unwrap_or(0)));
        let filter = JobFilter { tenant: TENANTS[0].to_owned(), key: key.clone(), ..JobFilter::default() };
        let mut names = Vec::new();
        for job in store.jobs(&filter, &Page { after: None, limit: 1_000 }).await.expect("listed") {
            names.push(side.name(job.id).await);
        }
        names.sort();
        lines.push(format!("{key:?}: {names:?}"));
    }
}

fn told_limit(view: &LimitView) -> String {
    let LimitView { name, origin, spec, running, uses, .. } = view;
    format!("{name} {origin} {spec:?} running {running} {uses:?}")
}

/// What keeps a queued job from beginning, and whether it is on its way.
pub(crate) async fn told_standing(side: &Side, job: JobId) -> String {
    let blockers = side.store.blockers(job).await.expect("asked");
    let hindrances: Vec<String> = blockers
        .hindrances
        .iter()
        .map(|hindrance| match hindrance {
            Blocker::Concurrency { .. } => format!("{hindrance:?}"),
            Blocker::Rate { limit, .. } => format!("the rate of {limit}"),
        })
        .collect();
    format!("hindered by {hindrances:?}, in the outbox {}", blockers.in_outbox)
}

/// What a job waits for, without the instants, which differ between the sides.
fn told_wait(wait: &Wait) -> String {
    match wait {
        Wait::Time { .. } => "its time".to_owned(),
        Wait::Rate { limit, .. } => format!("the rate of {limit}"),
        Wait::QueuePaused { queue, pause } => format!("{queue} is paused {}", said(pause.as_ref())),
        Wait::BatchPaused { batch, pause } => format!("{} is paused {}", batch_name(*batch), said(pause.as_ref())),
        other => format!("{other:?}"),
    }
}
