//! One claim: a micro-batch of ids from the broker, or the store's own choice.

use std::sync::Arc;
use std::time::Duration;

use gristmill_broker::Health;
use gristmill_core::id::WorkerId;
use gristmill_core::job::ClaimedJob;
use gristmill_service::dispatcher::Dispatcher;
use gristmill_store::{Claim, Result, StoreHandle};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::in_flight::InFlight;
use crate::intake::Intake;

/// The most jobs in one claim.
pub(crate) const CLAIM_MAX: usize = 500;

/// How many times as long a worker waits that hears of work.
const SELDOM: u32 = 5;

/// How often the store is asked whether any queue or kind is claimed by limits and turns.
const MANAGED_EVERY: Duration = Duration::from_secs(1);

/// Claims for one process.
#[derive(Debug)]
pub(crate) struct Claimer {
    pub(crate) store: StoreHandle,
    pub(crate) dispatcher: Dispatcher,
    /// `None` when the broker carries no ids.
    pub(crate) intake: Option<Intake>,
    pub(crate) claim: Claim,
    /// After this long without a broker, work is taken from the store.
    pub(crate) fallback_after: Duration,
    pub(crate) in_flight: InFlight,
    /// A claim has failed, but may have been committed all the same.
    pub(crate) unsure: bool,
    pub(crate) turns: Turns,
    /// What the last wait for work returned: a hint that comes while this process claims ends the next one.
    pub(crate) hints_seen: u64,
    /// Ends the wait for work, and nothing else: a claim under way is finished.
    pub(crate) stop: CancellationToken,
}

/// What is known of the queues and kinds that are claimed by limits and turns.
#[derive(Debug, Default)]
pub(crate) struct Turns {
    /// Whether there are any.
    any: bool,
    looked: Option<Instant>,
    /// Whether they come first in this claim: they and the others take turns.
    first: bool,
    /// After this long, the first of those that wait for a rate may begin.
    wait: Option<Duration>,
}

impl Claimer {
    /// Claims once, at most `limit` jobs. When there is nothing to claim, waits for a hint, at most `wait`.
    ///
    /// # Errors
    ///
    /// Store errors. Messages taken for the claim are given back; jobs that the store has claimed nevertheless
    /// are given back before the next claim.
    pub(crate) async fn claim(&mut self, worker: WorkerId, limit: usize, wait: Duration) -> Result<Vec<ClaimedJob>> {
        if self.unsure {
            self.release_unknown().await?;
        }
        self.ask(worker, limit);
        self.look_for_managed().await;
        let claimed = if self.turns.any { self.in_turns(wait).await } else { self.unmanaged(wait).await };
        self.answered(&claimed);
        claimed
    }

    /// Whether claims may overlap now: only plain claims from the store, all under the same incarnation, may. A claim
    /// without an answer must be cleared up first, and the store must be asked every second for what is managed.
    pub(crate) fn may_overlap(&self) -> bool {
        let looked = self.turns.looked.is_some_and(|looked| looked.elapsed() < MANAGED_EVERY);
        let from_store = self.intake.is_none() || self.broker_is_away();
        from_store && looked && !self.turns.any && !self.unsure
    }

    /// Begins a claim from the store that may overlap with others. [`Claimer::answered`] takes what became of it.
    pub(crate) fn begin(
        &mut self,
        worker: WorkerId,
        limit: usize,
    ) -> impl Future<Output = Result<Vec<ClaimedJob>>> + Send + use<> {
        self.ask(worker, limit);
        let (store, claim) = (Arc::clone(&self.store), self.claim.clone());
        async move { store.claim_next(&claim).await }
    }

    fn ask(&mut self, worker: WorkerId, limit: usize) {
        self.claim.worker = worker;
        self.claim.limit = u32::try_from(limit.min(CLAIM_MAX)).unwrap_or(u32::MAX);
    }

    /// Notes what became of a claim.
    pub(crate) fn answered(&mut self, claimed: &Result<Vec<ClaimedJob>>) {
        match claimed {
            Ok(claimed) => self.in_flight.claimed(claimed),
            // Whatever the error says: only an answer proves that nothing has been committed.
            Err(_) => self.unsure = true,
        }
    }

    /// Gives back what a claim without an answer has left `running`: no worker would run it until its deadline. Does so
    /// under the incarnation of that claim, even when another one has begun since.
    async fn release_unknown(&mut self) -> Result<()> {
        let known = self.in_flight.known();
        let released = self.dispatcher.after(self.store.release_unknown(self.claim.worker, &known)).await?;
        self.unsure = false;
        if released.moved > 0 {
            tracing::info!(worker.id = %self.claim.worker, "jobs of a claim whose result was lost are queued again");
        }
        Ok(())
    }

    /// Gives back what is buffered here.
    pub(crate) async fn leave(self) {
        if let Some(intake) = self.intake {
            intake.stop().await;
        }
    }

    /// Whether the broker has been down or blocked for so long that what waits in the outbox must not wait for it.
    fn broker_is_away(&self) -> bool {
        match &*self.dispatcher.broker().health().borrow() {
            Health::Up => false,
            Health::Blocked { since, .. } | Health::Down { since, .. } => since.elapsed() >= self.fallback_after,
        }
    }

    /// Asks only now and then: a worker that has no such queue must not pay for those of others with each claim.
    async fn look_for_managed(&mut self) {
        let woken = self.intake.as_ref().is_some_and(Intake::was_woken);
        if woken {
            self.turns.any = true;
        } else if self.turns.looked.is_none_or(|looked| looked.elapsed() >= MANAGED_EVERY) {
            self.turns.looked = Some(Instant::now());
            // What the store cannot answer now, it answers in a second.
            if let Ok(limited) = self.store.limited().await {
                self.turns.any = limited.any();
            }
        }
    }

    /// Claims managed and unmanaged jobs, each first every other time, so that neither keeps the other from the slots.
    async fn in_turns(&mut self, wait: Duration) -> Result<Vec<ClaimedJob>> {
        let all = self.claim.limit;
        self.turns.first = !self.turns.first;
        let first = self.turns.first;
        let mut claimed = if first { self.by_turns().await? } else { self.unmanaged(Duration::ZERO).await? };
        self.claim.limit = all.saturating_sub(u32::try_from(claimed.len()).unwrap_or(u32::MAX));
        if self.claim.limit > 0 {
            match if first { self.unmanaged(Duration::ZERO).await } else { self.by_turns().await } {
                Ok(more) => claimed.extend(more),
                Err(error) if claimed.is_empty() => return Err(error),
                // What has been claimed is run; what this claim may have claimed is given back before the next one.
                Err(error) => {
                    tracing::debug!(%error, "half of a claim failed");
                    self.unsure = true;
                }
            }
        }
        if !claimed.is_empty() || wait.is_zero() {
            return Ok(claimed);
        }
        self.unmanaged(self.turns.wait.map_or(wait, |next| next.min(wait))).await
    }

    async fn by_turns(&mut self) -> Result<Vec<ClaimedJob>> {
        let found = self.store.claim_limited(&self.claim).await?;
        self.turns.wait = found.wait;
        Ok(found.claimed)
    }

    /// Claims by message, or from the store where no message comes.
    async fn unmanaged(&mut self, wait: Duration) -> Result<Vec<ClaimedJob>> {
        let by_message = !self.broker_is_away();
        match &mut self.intake {
            Some(intake) if by_message => {
                intake.refresh(&self.store, &self.dispatcher).await;
                let quiet = intake.quiet(self.fallback_after);
                if !quiet.is_empty() {
                    let claimed = self.store.claim_next(&Claim { queues: quiet, ..self.claim.clone() }).await?;
                    if !claimed.is_empty() {
                        intake.found_on_quiet();
                        tracing::debug!(jobs = claimed.len(), "no message came for these jobs");
                        return Ok(claimed);
                    }
                }
                // Where limits hold jobs back, an attempt that ends here may have made room for one.
                let dispatcher = self.turns.any.then_some(&self.dispatcher);
                intake.claim(&self.store, &self.claim, wait, dispatcher).await
            }
            Some(_) | None => self.claim_next(wait).await,
        }
    }

    /// How long to wait for a hint before the store is asked all the same. Where hints are heard, that only finds what
    /// was missed, and what no hint tells: that another worker's job has made room under a limit.
    fn patience(&self, poll: Duration) -> Duration {
        if self.store.hears_of_work() && !self.turns.any { poll.saturating_mul(SELDOM) } else { poll }
    }

    async fn claim_next(&mut self, wait: Duration) -> Result<Vec<ClaimedJob>> {
        let claimed = self.store.claim_next(&self.claim).await?;
        if claimed.is_empty() && !wait.is_zero() {
            let wait = self.patience(wait);
            tokio::select! {
                biased;
                () = self.stop.cancelled() => {}
                seen = self.store.wait_for_work(self.hints_seen, wait) => self.hints_seen = seen,
                () = self.dispatcher.work() => {}
            }
        }
        Ok(claimed)
    }
}
