//! The claim loop, from free slots to running attempts.
//!
//! While the last claim brought all that was asked for, work is plenty: then up to two claims are under way at once, so
//! that the database works on one while the jobs of the other run, and each waits a moment for more slots to be free,
//! since a claim of few costs nearly as much as a claim of many. When it brought less, jobs are scarce: then each claim
//! begins as soon as a slot is free, alone, and waits for a hint when it finds nothing.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::time::Duration;

use gristmill_core::backoff;
use gristmill_core::id::WorkerId;
use gristmill_core::job::ClaimedJob;
use gristmill_store::{Result, StoreError};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep_until, timeout};
use tokio_util::sync::CancellationToken;

use crate::attempt::{ActiveGuard, ClaimedAttempt, RunnableJob};
use crate::claim::{CLAIM_MAX, Claimer};
use crate::lease::{Lease, Over};
use crate::metrics::{self, Clocks};

/// The most claims under way at once. More would only wait for each other in the database.
const CLAIMS_MAX: usize = 2;

/// The longest that a claim waits for more free slots while work is plenty.
const LINGER: Duration = Duration::from_millis(2);

/// Claims for one process, and hands out what it claims.
pub(crate) struct Claiming {
    claimer: Claimer,
    slots: Arc<Semaphore>,
    /// How many slots there are.
    all: usize,
    /// How many claims may be under way at once.
    claims_max: usize,
    parts: Parts,
    under_way: VecDeque<UnderWay>,
    /// The last claim brought all that was asked for.
    plenty: bool,
    /// How many claims have failed since one did not.
    failures: u32,
    /// No claim begins before this: the last one has failed.
    rest: Option<Instant>,
}

/// What it works with.
pub(crate) struct Parts {
    pub(crate) lease: Arc<Lease>,
    pub(crate) active: Arc<AtomicUsize>,
    pub(crate) clocks: Arc<Clocks>,
    pub(crate) jobs: mpsc::Sender<RunnableJob>,
    pub(crate) poll: Duration,
}

/// A claim on a task of its own: once begun it is finished, since it may have been committed.
struct UnderWay {
    worker: WorkerId,
    claiming: JoinHandle<Result<Vec<ClaimedJob>>>,
    free: OwnedSemaphorePermit,
    over: Over,
}

/// What the loop waits for.
enum Next {
    /// The oldest claim under way has its answer.
    Answer(Result<Vec<ClaimedJob>>),
    /// These slots are free.
    Free(OwnedSemaphorePermit),
    /// No claim may begin any more.
    Stop,
}

/// The runner of the jobs has ended by itself.
struct RunnerEnded;

impl Claiming {
    pub(crate) fn new(claimer: Claimer, slots: Arc<Semaphore>, parts: Parts) -> Self {
        let all = slots.available_permits();
        let under_way = VecDeque::new();
        // An embedded database has one writer: two claims of half the slots would cost it two commits.
        let claims_max = if claimer.store.embedded() { 1 } else { CLAIMS_MAX };
        Self { claimer, slots, all, claims_max, parts, under_way, plenty: false, failures: 0, rest: None }
    }

    /// Claims until the claimer is stopped. Claims under way are finished: what they claimed must be run, or else given
    /// back at the end of the drain.
    pub(crate) async fn run(mut self) -> Claimer {
        let stop = self.claimer.stop.clone();
        let mut stopped = false;
        while !(stopped && self.under_way.is_empty()) {
            let handed_out = match self.next(&stop, !stopped).await {
                Next::Answer(claimed) => self.answered(claimed).await,
                Next::Free(free) => self.begin(free).await,
                Next::Stop => {
                    stopped = true;
                    Ok(())
                }
            };
            stopped |= handed_out.is_err();
        }
        self.claimer
    }

    async fn next(&mut self, stop: &CancellationToken, begins: bool) -> Next {
        let begins = begins && self.has_room();
        let (slots, wanted, rest) = (Arc::clone(&self.slots), self.wanted(), self.rest);
        tokio::select! {
            biased;
            // In the order in which the claims began, so that older jobs begin first.
            claimed = answer(&mut self.under_way) => Next::Answer(claimed),
            free = free(slots, wanted, rest, stop), if begins => free.map_or(Next::Stop, Next::Free),
        }
    }

    /// Whether another claim may begin beside those under way.
    fn has_room(&self) -> bool {
        let Some(first) = self.under_way.front() else { return true };
        let same = first.worker == self.parts.lease.current().id;
        self.plenty && same && self.under_way.len() < self.claims_max && self.claimer.may_overlap()
    }

    /// How many slots must be free for a claim to begin at once: while work is plenty each of two claims may have half
    /// of them, a single one all.
    fn wanted(&self) -> usize {
        if self.plenty { (self.all / self.claims_max).clamp(1, CLAIM_MAX) } else { 1 }
    }

    /// Begins a claim: on a task of its own where others may overlap with it, and otherwise here.
    async fn begin(&mut self, free: OwnedSemaphorePermit) -> std::result::Result<(), RunnerEnded> {
        let incarnation = self.parts.lease.current();
        let (worker, over, limit) = (incarnation.id, incarnation.over, free.num_permits());
        if self.plenty && self.claimer.may_overlap() {
            let claiming = tokio::spawn(self.claimer.begin(worker, limit));
            self.under_way.push_back(UnderWay { worker, claiming, free, over });
            return Ok(());
        }
        let claimed = self.claimer.claim(worker, limit, self.parts.poll).await;
        self.finished(claimed, free, &over).await
    }

    async fn answered(&mut self, claimed: Result<Vec<ClaimedJob>>) -> std::result::Result<(), RunnerEnded> {
        self.claimer.answered(&claimed);
        let Some(UnderWay { free, over, .. }) = self.under_way.pop_front() else { return Ok(()) };
        self.finished(claimed, free, &over).await
    }

    async fn finished(
        &mut self,
        claimed: Result<Vec<ClaimedJob>>,
        free: OwnedSemaphorePermit,
        over: &Over,
    ) -> std::result::Result<(), RunnerEnded> {
        match claimed {
            Ok(claimed) => {
                (self.failures, self.rest) = (0, None);
                self.plenty = claimed.len() >= free.num_permits().min(CLAIM_MAX);
                self.hand_out(claimed, free, over).await
            }
            Err(error) => {
                self.failed(&error);
                Ok(())
            }
        }
    }

    fn failed(&mut self, error: &StoreError) {
        self.plenty = false;
        self.failures += 1;
        if self.failures == 1 {
            tracing::warn!(%error, "claiming will be tried again");
        }
        self.rest = Some(Instant::now() + backoff::CLAIMING.wait(self.failures, 1.0));
    }

    async fn hand_out(
        &self,
        claimed: Vec<ClaimedJob>,
        mut free: OwnedSemaphorePermit,
        over: &Over,
    ) -> std::result::Result<(), RunnerEnded> {
        let Parts { active, clocks, jobs, .. } = &self.parts;
        metrics::claimed(claimed.len());
        // All are counted before the first one runs: else the completer would see an idle worker
        // between two jobs of the same claim.
        let runnable: Vec<RunnableJob> = claimed
            .into_iter()
            .filter_map(|job| {
                clocks.claimed(&job);
                let guard = self.claimer.in_flight.guard(&job);
                let slot = free.split(1)?;
                let attempt = ClaimedAttempt { job, guard, over: over.clone() };
                Some(RunnableJob { attempt, slot, active: ActiveGuard::new(active) })
            })
            .collect();
        drop(free);
        for job in runnable {
            jobs.send(job).await.map_err(|_| RunnerEnded)?;
        }
        Ok(())
    }
}

/// Waits for the answer of the oldest claim under way; for ever when there is none.
async fn answer(under_way: &mut VecDeque<UnderWay>) -> Result<Vec<ClaimedJob>> {
    let Some(first) = under_way.front_mut() else { return std::future::pending().await };
    match (&mut first.claiming).await {
        Ok(claimed) => claimed,
        Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
        Err(_) => Err(StoreError::Unavailable("the claim was broken off with its process".to_owned())),
    }
}

/// Waits for a free slot, and a moment longer until as many are free as are wanted; returns every slot that is free
/// then. `None` when it is time to stop.
async fn free(
    slots: Arc<Semaphore>,
    wanted: usize,
    rest: Option<Instant>,
    stop: &CancellationToken,
) -> Option<OwnedSemaphorePermit> {
    let first = async {
        if let Some(rest) = rest {
            sleep_until(rest).await;
        }
        Arc::clone(&slots).acquire_owned().await.ok()
    };
    let mut all = tokio::select! {
        biased;
        () = stop.cancelled() => return None,
        first = first => first?,
    };
    // It does not matter whether they came in time: those that are free now are taken in any case.
    if let Some(more) = u32::try_from(wanted).ok().and_then(|wanted| wanted.checked_sub(1)).filter(|more| *more > 0)
        && let Ok(Ok(more)) = timeout(LINGER, Arc::clone(&slots).acquire_many_owned(more)).await
    {
        all.merge(more);
    }
    let more = slots.available_permits().min(CLAIM_MAX.saturating_sub(all.num_permits()));
    if let Some(more) = u32::try_from(more).ok().and_then(|more| slots.try_acquire_many_owned(more).ok()) {
        all.merge(more);
    }
    Some(all)
}
