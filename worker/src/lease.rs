//! The process's lease on what it claims: entering, beating, and starting anew when it is lost.

use std::sync::Arc;
use std::time::Duration;

use gristmill_core::id::WorkerId;
use gristmill_store::{Dispatched, NewWorker, Result, Workers};
use tokio::sync::watch;
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::in_flight::InFlight;

/// One life of the process as the store sees it.
#[derive(Debug, Clone)]
pub(crate) struct Incarnation {
    /// A new one for each incarnation.
    pub(crate) id: WorkerId,
    /// Fires when it is over.
    pub(crate) over: Over,
}

/// The two ways in which an incarnation ends for the attempts under it.
#[derive(Debug, Clone)]
pub(crate) struct Over {
    /// Fires when the process stops: what still runs is given back.
    pub(crate) stopped: CancellationToken,
    /// Fires when the lease is lost: whatever still runs is fenced.
    pub(crate) lost: CancellationToken,
}

impl Over {
    fn new(halt: &CancellationToken) -> Self {
        Self { stopped: halt.child_token(), lost: CancellationToken::new() }
    }
}

/// The lease of this process, one incarnation after the other.
#[derive(Debug)]
pub(crate) struct Lease {
    store: Arc<dyn Workers>,
    who: NewWorker,
    /// Calls off every attempt of every incarnation.
    halt: CancellationToken,
    current: watch::Sender<Incarnation>,
}

impl Lease {
    /// Enters the first incarnation.
    pub(crate) async fn enter(store: Arc<dyn Workers>, who: NewWorker, halt: CancellationToken) -> Result<Self> {
        store.register_worker(&who).await?;
        let first = Incarnation { id: who.id, over: Over::new(&halt) };
        Ok(Self { store, who, halt, current: watch::Sender::new(first) })
    }

    pub(crate) fn current(&self) -> Incarnation {
        self.current.borrow().clone()
    }

    /// Beats until stopped. An unavailable store changes nothing: while it is away no scheduler can rescue our jobs
    /// either, and afterwards the database's clock decides.
    pub(crate) async fn keep(
        &self,
        every: Duration,
        running: impl Fn() -> u32,
        in_flight: &InFlight,
        stop: &CancellationToken,
    ) {
        let mut beats = tokio::time::interval(every);
        beats.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut silent = false;
        loop {
            tokio::select! {
                biased;
                () = stop.cancelled() => return,
                _ = beats.tick() => {}
            }
            match self.beat_and_hold(running(), in_flight).await {
                Ok(()) => silent = false,
                Err(error) if !silent => {
                    silent = true;
                    tracing::warn!(%error, "the lease could not be prolonged");
                }
                Err(_) => {}
            }
        }
    }

    /// Prolongs the lease, and holds what has ended and waits to be written down: it must not be rescued as timed out
    /// while we live.
    async fn beat_and_hold(&self, running: u32, in_flight: &InFlight) -> Result<()> {
        if self.beat(running).await? {
            self.store.hold(self.who.lease, &in_flight.unwritten()).await?;
        }
        Ok(())
    }

    /// Prolongs the lease. When it is lost, calls off what runs, enters a new incarnation and returns `false`.
    pub(crate) async fn beat(&self, running: u32) -> Result<bool> {
        let old = self.current();
        if self.store.beat(old.id, self.who.lease, running).await? {
            return Ok(true);
        }
        old.over.lost.cancel();
        let fresh = NewWorker { id: WorkerId(Uuid::now_v7()), ..self.who.clone() };
        self.store.register_worker(&fresh).await?;
        tracing::warn!(lost = %old.id, worker.id = %fresh.id, "the lease was lost, what ran is called off; a new incarnation begins");
        self.current.send_replace(Incarnation { id: fresh.id, over: Over::new(&self.halt) });
        Ok(false)
    }

    /// Ends the last incarnation: what is still running under it is queued again.
    pub(crate) async fn retire(&self) -> Result<Dispatched> {
        let last = self.current();
        last.over.stopped.cancel();
        self.store.retire_worker(last.id).await
    }
}
