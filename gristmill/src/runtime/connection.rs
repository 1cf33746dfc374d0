//! The broker and the dispatcher of a process, connected when they are needed.

use std::sync::Arc;

use gristmill_broker::{Broker, Settings};
use gristmill_service::dispatcher::Dispatcher;
use gristmill_store::StoreHandle;
use tokio::sync::OnceCell;

use crate::exit_code::{CommandError, Result};

/// One connection to the broker, which everything in a process shares.
#[derive(Debug)]
pub(crate) struct Connection {
    settings: Settings,
    broker: OnceCell<Broker>,
    dispatcher: OnceCell<Dispatcher>,
}

impl Connection {
    /// Creates it without connecting anything yet.
    pub(crate) fn new(settings: Settings) -> Self {
        Self { settings, broker: OnceCell::new(), dispatcher: OnceCell::new() }
    }

    /// Whether a broker carries ids, by the settings alone.
    pub(crate) fn carries(&self) -> bool {
        self.settings.url != "in-process"
    }

    /// Returns the broker.
    ///
    /// # Errors
    ///
    /// When it refuses for good.
    pub(crate) async fn broker(&self) -> Result<Broker> {
        let connect = || async { Broker::connect(&self.settings).await.map_err(CommandError::from) };
        self.broker.get_or_try_init(connect).await.cloned()
    }

    /// Returns the dispatcher from this store over the broker.
    ///
    /// # Errors
    ///
    /// When the broker refuses for good.
    pub(crate) async fn dispatcher(&self, store: &StoreHandle) -> Result<Dispatcher> {
        let open = || async { Ok(Dispatcher::new(Arc::clone(store), self.broker().await?, self.settings.window)) };
        self.dispatcher.get_or_try_init(open).await.cloned()
    }

    /// Returns the dispatcher, if it is already connected.
    pub(crate) fn connected(&self) -> Option<&Dispatcher> {
        self.dispatcher.get()
    }

    /// Waits until what is under way to the broker has arrived.
    pub(crate) async fn close(&self) {
        if let Some(broker) = self.broker.get() {
            broker.close().await;
        }
    }
}
