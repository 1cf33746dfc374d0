//! The broker and the dispatcher of a command, connected when they are needed.

use std::sync::Arc;

use async_trait::async_trait;
use gristmill_broker::{Broker, Settings};
use gristmill_service::Connect;
use gristmill_service::dispatcher::Dispatcher;
use gristmill_store::StoreHandle;
use tokio::sync::OnceCell;

use crate::cli::output::Output;
use crate::exit_code::{CommandError, Result};

/// One connection to the broker, which all that a command does shares.
#[derive(Debug)]
pub(crate) struct Connection {
    settings: Settings,
    output: Output,
    broker: OnceCell<Broker>,
    dispatcher: OnceCell<Dispatcher>,
}

impl Connection {
    /// Connects nothing yet.
    pub(crate) fn new(settings: Settings, output: Output) -> Self {
        Self { settings, output, broker: OnceCell::new(), dispatcher: OnceCell::new() }
    }

    /// Whether a broker carries ids, by the settings alone.
    pub(crate) fn carries(&self) -> bool {
        self.settings.url != "in-process"
    }

    /// The broker.
    ///
    /// # Errors
    ///
    /// When it refuses for good.
    pub(crate) async fn broker(&self) -> Result<Broker> {
        let connect = || async { Broker::connect(&self.settings).await.map_err(CommandError::from) };
        self.broker.get_or_try_init(connect).await.cloned()
    }

    /// The dispatcher from this store over the broker.
    ///
    /// # Errors
    ///
    /// When the broker refuses for good.
    pub(crate) async fn dispatcher(&self, store: &StoreHandle) -> Result<Dispatcher> {
        let open = || async { Ok(Dispatcher::new(Arc::clone(store), self.broker().await?, self.settings.window)) };
        self.dispatcher.get_or_try_init(open).await.cloned()
    }

    /// Lets what is under way to the broker arrive.
    pub(crate) async fn close(&self) {
        if let Some(broker) = self.broker.get() {
            broker.close().await;
        }
    }
}

/// Publishes what a command has made claimable. What cannot be published now stays in the outbox for the scheduler:
/// that is no failure of the command, and said in a note.
#[derive(Debug)]
pub(crate) struct OnDemand {
    /// The command's connection.
    pub(crate) connection: Arc<Connection>,
    /// The store whose outbox is published.
    pub(crate) store: StoreHandle,
}

#[async_trait]
impl Connect for OnDemand {
    fn connected(&self) -> Option<Dispatcher> {
        self.connection.dispatcher.get().cloned()
    }

    async fn connect(&self) -> Option<Dispatcher> {
        match self.connection.dispatcher(&self.store).await {
            Ok(dispatcher) => Some(dispatcher),
            Err(error) => {
                let note = "warning: it is committed; the scheduler publishes it when the broker is back";
                self.connection.output.note(&format!("{note}: {error}"));
                None
            }
        }
    }
}
