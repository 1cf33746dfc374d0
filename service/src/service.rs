//! What the verbs are built on: the store, and access to the dispatcher.

use std::fmt::Debug;
use std::sync::Arc;

use async_trait::async_trait;
use gristmill_store::StoreHandle;

use gristmill_dispatcher::{Committed, Dispatcher, Overlap};

/// The verbs. Clones share store and dispatcher.
///
/// Views are read from the [store](Service::store) itself; every change goes through here.
#[derive(Debug, Clone)]
pub struct Service {
    pub(crate) store: StoreHandle,
    outlet: Outlet,
}

#[derive(Debug, Clone)]
enum Outlet {
    Connected(Dispatcher),
    OnDemand(Arc<dyn Connect>),
}

/// A dispatcher that is connected when there is something to publish: a command that only looks, or makes changes that
/// do not concern a broker, needs none.
#[async_trait]
pub trait Connect: Debug + Send + Sync {
    /// Returns the dispatcher, if it is already connected.
    fn connected(&self) -> Option<Dispatcher>;

    /// Connects and returns the dispatcher. `None` when it cannot be connected, which has been reported then: what is
    /// committed stays in the outbox, and a scheduler publishes it.
    async fn connect(&self) -> Option<Dispatcher>;
}

impl Service {
    /// Creates the verbs over a store and a dispatcher.
    pub fn new(store: StoreHandle, dispatcher: Dispatcher) -> Self {
        Self { store, outlet: Outlet::Connected(dispatcher) }
    }

    /// Creates the verbs over a store and a dispatcher that is connected when the first verb has something to publish.
    pub fn on_demand(store: StoreHandle, connect: Arc<dyn Connect>) -> Self {
        Self { store, outlet: Outlet::OnDemand(connect) }
    }

    /// The same verbs over the rows of a tenant alone, where the store's server keeps tenants apart.
    #[must_use]
    pub fn confined(&self, tenant: &str) -> Self {
        Self { store: self.store.clone().confined(tenant), outlet: self.outlet.clone() }
    }

    /// The store, for views.
    pub fn store(&self) -> &StoreHandle {
        &self.store
    }

    /// Awaits a transition and publishes what its commit left behind.
    pub(crate) async fn after<T: Committed, E>(&self, transition: impl Future<Output = Result<T, E>>) -> Result<T, E> {
        let committed = transition.await?;
        self.hand_over(&committed).await;
        Ok(committed)
    }

    /// Awaits a transition and publishes what its commit left behind beside the transitions that follow. The caller
    /// awaits [`Overlap::finished`] in the end.
    pub(crate) async fn after_beside<T: Committed, E>(
        &self,
        overlap: &mut Overlap,
        transition: impl Future<Output = Result<T, E>>,
    ) -> Result<T, E> {
        let committed = transition.await?;
        let (service, left) = (self.clone(), committed.left().to_vec());
        if left.iter().any(|left| left.moved > 0 || !left.dispatches.is_empty()) {
            overlap.beside(async move { service.hand_over(&left).await }).await;
        }
        Ok(committed)
    }

    /// The dispatcher, connected if it is not yet. `None` when it cannot be.
    pub(crate) async fn dispatcher(&self) -> Option<Dispatcher> {
        match &self.outlet {
            Outlet::Connected(dispatcher) => Some(dispatcher.clone()),
            Outlet::OnDemand(connect) => match connect.connected() {
                Some(dispatcher) => Some(dispatcher),
                None => connect.connect().await,
            },
        }
    }

    async fn hand_over(&self, committed: &impl Committed) {
        let dispatcher = match &self.outlet {
            Outlet::Connected(dispatcher) => Some(dispatcher.clone()),
            Outlet::OnDemand(connect) => match connect.connected() {
                Some(dispatcher) => Some(dispatcher),
                None if committed.left().iter().all(|left| left.dispatches.is_empty()) => None,
                None => connect.connect().await,
            },
        };
        if let Some(dispatcher) = dispatcher {
            dispatcher.hand_over(committed).await;
        }
    }
}
