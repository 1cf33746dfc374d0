//! Whether this process leads, and its row among the workers.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use gristmill_core::id::WorkerId;
use gristmill_store::{NewWorker, Result, StoreHandle};
use tokio::sync::watch;
use tokio::time::Instant;
use uuid::Uuid;

/// The name of the leadership in the store.
const LEADERSHIP: &str = "scheduler";

/// How long leadership lasts without renewal, which happens every second. Short, because only double work depends on
/// it.
const LEADS_FOR: Duration = Duration::from_secs(5);

/// How long the scheduler's own row counts as alive without a beat.
const LEASE: Duration = Duration::from_secs(15);

/// How often it beats: two beats in a row may be lost.
const BEAT: Duration = Duration::from_secs(5);

/// One process's part in the leadership.
pub(crate) struct Leadership {
    store: StoreHandle,
    who: watch::Sender<NewWorker>,
    leads: watch::Sender<bool>,
    /// When the last beat arrived.
    beaten: Mutex<Instant>,
}

impl Leadership {
    /// Registers this process. It does not lead yet.
    pub(crate) async fn enter(store: StoreHandle) -> Result<Self> {
        let who = gristmill_service::process::incarnation("scheduler", LEASE);
        store.register_worker(&who).await?;
        let (who, leads) = (watch::Sender::new(who), watch::Sender::new(false));
        Ok(Self { store, who, leads, beaten: Mutex::new(Instant::now()) })
    }

    /// Reports every [`BEAT`] that this process is alive, and asks whether it leads. An embedded store has only one
    /// process at work, which need not wait until the leadership of a dead one has expired.
    pub(crate) async fn renew(&self) -> Result<()> {
        if self.beaten().elapsed() >= BEAT {
            self.beat().await?;
        }
        let leads = self.store.embedded() || self.store.lead(LEADERSHIP, self.id(), LEADS_FOR).await?.is_some();
        let changed = self.leads.send_if_modified(|led| std::mem::replace(led, leads) != leads);
        if changed {
            tracing::info!(leads, "leadership changed");
        }
        Ok(())
    }

    async fn beat(&self) -> Result<()> {
        // From before the question: the lease begins when it is carried out.
        let (at, who) = (Instant::now(), self.who.borrow().clone());
        if !self.store.beat(who.id, LEASE, 0).await? {
            let fresh = NewWorker { id: WorkerId(Uuid::now_v7()), ..who };
            self.store.register_worker(&fresh).await?;
            self.who.send_replace(fresh);
        }
        *self.beaten.lock().unwrap_or_else(PoisonError::into_inner) = at;
        Ok(())
    }

    fn beaten(&self) -> Instant {
        *self.beaten.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether this process leads, and when that changes.
    pub(crate) fn leads(&self) -> watch::Receiver<bool> {
        self.leads.subscribe()
    }

    /// This incarnation of the process.
    pub(crate) fn id(&self) -> WorkerId {
        self.who.borrow().id
    }

    /// Gives up at once what other processes would have to wait for.
    pub(crate) async fn leave(&self) {
        let id = self.id();
        let left = async {
            if *self.leads.borrow() && !self.store.embedded() {
                self.store.lead(LEADERSHIP, id, Duration::ZERO).await?;
            }
            self.store.retire_worker(id).await
        };
        if let Err(error) = left.await {
            tracing::warn!(%error, "the scheduler's lease runs out by itself");
        }
    }
}
