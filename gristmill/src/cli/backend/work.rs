//! Workers: list; and the work in this process while a command waits.

use std::time::Duration;

use gristmill_client::http::Call;
use gristmill_store::WorkerView;

use super::Backend;
use crate::exit_code::{CommandError, Result};
use crate::runtime::serve::stop;
use crate::runtime::signals::Signals;
use crate::runtime::work::{Work, Working};

/// How often the store is asked while a command waits.
const ASK_STORE: Duration = Duration::from_millis(150);

/// How often a server is.
const ASK_SERVER: Duration = Duration::from_millis(400);

impl Backend<'_> {
    /// Every process that is alive or was seen within the last day.
    pub(crate) async fn workers(&self) -> Result<Vec<WorkerView>> {
        match self {
            Self::Store(local) => Ok(local.store().workers().await?),
            Self::Server(server) => server.look(&Call::get(&["workers"])).await,
        }
    }

    /// How often it is asked while a command waits.
    pub(crate) fn ask_every(&self) -> Duration {
        match self {
            Self::Store(_) => ASK_STORE,
            Self::Server(_) => ASK_SERVER,
        }
    }

    /// Begins to work here if that is wanted and no other process works. The work of a server is done where it is.
    pub(crate) async fn begin_work(&self, work: Work) -> Result<Working> {
        match self {
            Self::Store(local) => Working::begin(local.process, local.store(), work).await,
            Self::Server(_) if work == Work::Always => {
                Err(CommandError::usage("--work always: the work of a server is done by its own workers")
                    .hint("leave it out, or work on the database itself"))
            }
            Self::Server(_) => Ok(Working::idle()),
        }
    }

    /// Checks, now and then, whether the processes that work still do.
    pub(crate) async fn look_after(&self, working: &mut Working) -> Result<()> {
        match self {
            Self::Store(local) => working.look(local.process, local.store()).await,
            Self::Server(_) => Ok(()),
        }
    }

    /// Ends the work that this process has begun.
    pub(crate) async fn end_work(&self, working: Working, signals: &mut Signals) -> Result<()> {
        match self {
            Self::Store(local) => stop(local.process, local.store(), working, signals).await.map(drop),
            Self::Server(_) => Ok(()),
        }
    }
}
