//! The completer: writes down how attempts ended, many in one transaction, and publishes what follows.

use std::collections::{BTreeMap, HashSet};
use std::sync::atomic::AtomicUsize;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use gristmill_core::backoff;
use gristmill_core::batch::BatchState;
use gristmill_core::job::Fence;
use gristmill_core::settle::Verdict;
use gristmill_service::dispatcher::Dispatcher;
use gristmill_service::failure_budget::FailureBudgets;
use gristmill_store::{CompleteReport, Completion, Completions, StoreError, failpoint};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::attempt::{Settled, Terms};
use crate::ended::Endings;
use crate::gatherer::Gatherer;
use crate::logs::LogWriter;
use crate::refused_rows::RefusedRows;
use crate::{Report, metrics};

/// The most attempts in one transaction. More would hold the rows of hot batches longer than the
/// commit costs.
const GROUP_MAX: usize = 500;

/// How often one attempt is offered to a store that refuses it for a reason that should not last.
const TRIES_MAX: u32 = 3;

/// How often an unavailable store is tried when the process ends. After that the lease runs out instead.
const LAST_TRIES_MAX: u32 = 8;

/// The same for a user's table that is locked: each try waits for it for two seconds.
const LAST_SINK_TRIES_MAX: u32 = 2;

/// Writes down attempts. Clones share it.
#[derive(Debug, Clone)]
pub(crate) struct Completer(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    store: Arc<dyn Completions>,
    dispatcher: Dispatcher,
    budgets: FailureBudgets,
    logs: LogWriter,
    /// Fires when no more attempts will end: what is there is written, and then the completer ends.
    closing: CancellationToken,
    publishing: TaskTracker,
    tally: Mutex<Report>,
}

impl Completer {
    pub(crate) fn new(
        store: Arc<dyn Completions>,
        dispatcher: Dispatcher,
        logs: LogWriter,
        closing: CancellationToken,
    ) -> Self {
        let budgets = FailureBudgets::new(store.clone());
        let (publishing, tally) = (TaskTracker::new(), Mutex::default());
        Self(Arc::new(Inner { store, dispatcher, budgets, logs, closing, publishing, tally }))
    }

    /// Writes down what comes, until `closing` fires and nothing more waits. `active` is how many attempts may still
    /// send something. What has rows for a user's own table is gathered apart: such a table may be locked.
    pub(crate) async fn run(self, ended: Endings, active: Arc<AtomicUsize>, flush: Duration) -> Report {
        let closing = &self.0.closing;
        let live = tokio::spawn(self.0.logs.clone().keep(closing.clone()));
        let gatherer = |ended, group_max| Gatherer { ended, group_max, flush, active: &active, closing };
        let write = |group| {
            let completer = self.clone();
            async move { completer.write(group).await }
        };
        tokio::join!(gatherer(ended.most, GROUP_MAX).run(&write), gatherer(ended.sinks, 1).run(&write));
        self.published().await;
        // It ends by the same token; a panic in it has lost lines, and nothing else.
        let _ = live.await;
        self.tally()
    }

    /// Writes down a group. A chunk with rows for the user's own table is written alone: its rows may be refused, and
    /// then only its own attempt has failed. So is one whose items become messages, because it has so many.
    pub(crate) async fn write(&self, group: Vec<Settled>) {
        let (revoked, group): (Vec<_>, Vec<_>) =
            group.into_iter().partition(|one| one.completion.verdict == Verdict::Revoked);
        self.called_off(&revoked);
        self.0.logs.write_of(group.iter().map(|one| &one.completion.fence)).await;
        let is_large = |one: &Settled| one.completion.sql.is_some() || one.completion.messages.is_some();
        let (alone, together): (Vec<_>, Vec<_>) = group.into_iter().partition(is_large);
        if !together.is_empty() {
            self.commit(together).await;
        }
        for one in alone {
            self.commit(vec![one]).await;
        }
    }

    /// Nothing is written for attempts that were called off: the store has closed them already.
    fn called_off(&self, revoked: &[Settled]) {
        if revoked.is_empty() {
            return;
        }
        for one in revoked {
            metrics::settled(&one.terms.kind, one.completion.ending.as_str(), 1);
        }
        self.tallied().fenced += revoked.len() as u64;
        metrics::fenced(revoked.len() as u64);
    }

    /// Waits until what followed from the commits has been published, or stays in the outbox.
    pub(crate) async fn published(&self) {
        self.0.publishing.close();
        self.0.publishing.wait().await;
        self.0.publishing.reopen();
    }

    pub(crate) fn tally(&self) -> Report {
        *self.tallied()
    }

    fn tallied(&self) -> MutexGuard<'_, Report> {
        // Nothing in here can panic halfway.
        self.0.tally.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Commits all of them together or each by itself: one that the store refuses must not hold up the others.
    async fn commit(&self, group: Vec<Settled>) {
        let (mut completions, mut terms): (Vec<_>, Vec<_>) =
            group.into_iter().map(|one| (one.completion, one.terms)).unzip();
        match self.persist(&completions).await {
            Ok(report) => self.after(&completions, &terms, report).await,
            Err(error) if completions.len() == 1 => {
                if let (Some(completion), Some(terms)) = (completions.pop(), terms.pop()) {
                    self.without_refused_rows(Settled { completion, terms }, error).await;
                }
            }
            Err(_) => {
                for (completion, terms) in completions.into_iter().zip(terms) {
                    let one = [completion];
                    match self.persist(&one).await {
                        Ok(report) => self.after(&one, &[terms], report).await,
                        Err(error) => {
                            let [completion] = one;
                            self.refused(Settled { completion, terms }, &error).await;
                        }
                    }
                }
            }
        }
    }

    /// Rows that the user's own table refuses cost their items; anything else that the store refuses costs the attempt.
    async fn without_refused_rows(&self, mut one: Settled, mut error: StoreError) {
        let mut search = RefusedRows::default();
        while matches!(error, StoreError::Sink(_)) {
            match search.take_out(&*self.0.store, &mut one).await {
                Ok(true) => {}
                Ok(false) => break,
                Err(other) => {
                    error = other;
                    break;
                }
            }
            let completion = std::slice::from_ref(&one.completion);
            match self.persist(completion).await {
                Ok(report) => return self.after(completion, std::slice::from_ref(&one.terms), report).await,
                Err(other) => error = other,
            }
        }
        self.refused(one, &error).await;
    }

    /// The result of the attempt cannot be stored: the attempt has failed, and the reason is kept.
    async fn refused(&self, one: Settled, error: &StoreError) {
        if error.is_transient() {
            tracing::error!(job.id = %one.completion.fence.job, %error, "the attempt's ending is not written down: its lease will run out");
            return;
        }
        let failed = one.refused(error.to_string());
        let completion = [failed.completion];
        match self.persist(&completion).await {
            Ok(report) => self.after(&completion, &[failed.terms], report).await,
            Err(error) => {
                tracing::error!(job.id = %completion[0].fence.job, %error, "the store does not even take the failure: the job's deadline will");
            }
        }
    }

    /// Retries for ever while the store is unavailable: repeating the same completions does no harm if the first try
    /// was committed after all.
    async fn persist(&self, completions: &[Completion]) -> Result<CompleteReport, StoreError> {
        let aggregates = completions.iter().any(|completion| completion.batch_end.is_some());
        for attempt in 1u32.. {
            if aggregates {
                failpoint::point("aggregate.before_commit");
            }
            let error = match self.0.store.complete(completions).await {
                Ok(report) => {
                    tell(aggregates, &report);
                    return Ok(report);
                }
                Err(error) => error,
            };
            let enough = match &error {
                StoreError::Sink(_) => true,
                StoreError::SinkLocked(_) => self.0.closing.is_cancelled() && attempt >= LAST_SINK_TRIES_MAX,
                error if error.is_transient() => self.0.closing.is_cancelled() && attempt >= LAST_TRIES_MAX,
                _ => attempt >= TRIES_MAX,
            };
            if enough {
                return Err(error);
            }
            if attempt == 1 {
                tracing::warn!(%error, attempts = completions.len(), "completing will be tried again");
            }
            tokio::time::sleep(backoff::WRITING.wait(attempt, 1.0)).await;
        }
        Err(StoreError::Unavailable("the completer has no tries left".to_owned()))
    }

    async fn after(&self, completions: &[Completion], terms: &[Terms], report: CompleteReport) {
        self.count(completions, terms, &report);
        let mut dispatched = vec![report.dispatched];
        match self.0.budgets.enforce(&report.progress).await {
            Ok(halted) => dispatched.extend(halted),
            // The reconciler judges the same budgets.
            Err(error) => tracing::warn!(%error, "failure budgets were not judged"),
        }
        self.0.dispatcher.beside(&self.0.publishing, &dispatched);
    }

    fn count(&self, completions: &[Completion], terms: &[Terms], report: &CompleteReport) {
        let fenced: HashSet<Fence> = report.fenced.iter().copied().collect();
        let mut released = 0;
        let mut groups: BTreeMap<(&str, &'static str), u64> = BTreeMap::new();
        for (completion, terms) in completions.iter().zip(terms) {
            if fenced.contains(&completion.fence) {
                tracing::info!(job.id = %completion.fence.job, attempt = completion.fence.attempt, "attempt fenced: its job was taken away meanwhile");
                continue;
            }
            *groups.entry((&terms.kind, completion.ending.as_str())).or_default() += 1;
            released += u64::from(completion.verdict == Verdict::Release);
            count_items(completion);
        }
        for ((kind, ending), attempts) in groups {
            metrics::settled(kind, ending, attempts);
        }
        let mut tally = self.tallied();
        tally.settled += report.settled;
        tally.fenced += fenced.len() as u64;
        tally.released += released;
        metrics::fenced(fenced.len() as u64);
    }
}

/// Fires the failpoints for what was committed and is not published anywhere yet.
fn tell(aggregates: bool, report: &CompleteReport) {
    if aggregates {
        failpoint::point("aggregate.committed");
    }
    if report.progress.iter().any(|progress| progress.state == BatchState::Aggregating) {
        failpoint::point("fan_in.committed");
    }
}

fn count_items(completion: &Completion) {
    if let (Verdict::Done, Some(chunk)) = (completion.verdict, &completion.chunk) {
        metrics::items("ok", chunk.ok);
        metrics::items("skipped", chunk.skipped);
        metrics::items("quarantined", chunk.quarantined);
    }
}
