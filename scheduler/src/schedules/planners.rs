//! How many batches are planned at once: few of one source, so that one which does not answer holds up only its own.

use std::collections::HashMap;
use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError};

use gristmill_core::schedule::{ScheduleSpec, Target};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::RunContext;

/// How many batches of one source are planned at once.
pub(super) const OF_ONE_SOURCE: usize = 2;

/// How many batches are planned at once. Those that wait for their own source do not count.
const IN_ALL: usize = 32;

/// The planners of a scheduler.
#[derive(Debug)]
pub(super) struct Planners {
    all: Arc<Semaphore>,
    sources: Mutex<HashMap<String, Arc<Semaphore>>>,
}

/// The right to plan.
#[derive(Debug)]
pub(super) struct Turn {
    _source: Option<OwnedSemaphorePermit>,
    _all: Option<OwnedSemaphorePermit>,
}

impl Default for Planners {
    fn default() -> Self {
        Self { all: Arc::new(Semaphore::new(IN_ALL)), sources: Mutex::default() }
    }
}

impl Planners {
    /// Waits for the turn of a source, and then for one of all turns.
    pub(super) fn turn(&self, source: String) -> impl Future<Output = Turn> + Send + use<> {
        let (of_source, all) = (self.of(source), Arc::clone(&self.all));
        async move {
            // None of them is ever closed.
            let source = of_source.acquire_owned().await.ok();
            Turn { _source: source, _all: all.acquire_owned().await.ok() }
        }
    }

    fn of(&self, source: String) -> Arc<Semaphore> {
        let mut sources = self.sources.lock().unwrap_or_else(PoisonError::into_inner);
        // Sources that have no planner, and for which none waits, are forgotten.
        sources.retain(|_, turns| Arc::strong_count(turns) > 1);
        Arc::clone(sources.entry(source).or_insert_with(|| Arc::new(Semaphore::new(OF_ONE_SOURCE))))
    }
}

/// What may hold up a plan: the database that its batch reads, or the batch's own files.
pub(super) fn source_of(run_context: &RunContext, spec: &ScheduleSpec) -> String {
    let Ok(Target::Batch(name)) = spec.target() else { return String::new() };
    let snapshot = run_context.snapshot.borrow();
    let sql = snapshot.batches.get(name).and_then(|batch| batch.source.sql.as_ref());
    sql.map_or_else(|| format!("batch {name}"), |sql| sql.url.clone())
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;

    use super::*;

    fn now(planners: &Planners, source: &str) -> Option<Turn> {
        planners.turn(source.to_owned()).now_or_never()
    }

    #[test]
    fn planners_of_one_source_do_not_hold_up_those_of_another() {
        let planners = Planners::default();
        let frozen: Vec<Turn> = (0..OF_ONE_SOURCE).map(|_| now(&planners, "frozen").expect("a turn")).collect();
        let waiting: Vec<_> = (0..1_000).map(|_| Box::pin(planners.turn("frozen".to_owned()))).collect();
        assert!(now(&planners, "frozen").is_none(), "it has its two");
        let others: Vec<Turn> =
            (OF_ONE_SOURCE..IN_ALL).map(|other| now(&planners, &other.to_string()).expect("a turn")).collect();
        assert!(now(&planners, "one more").is_none(), "there are no more in all");
        drop(others);
        drop(frozen);
        assert!(now(&planners, "frozen").is_some());
        drop(waiting);
    }
}
