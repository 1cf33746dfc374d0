//! SIGINT and SIGTERM: the first asks to stop well, the second to stop at once.

use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::exit_code::{CommandError, Exit, Result};

/// The signals that ask the program to stop.
pub(crate) struct Signals {
    interrupt: Signal,
    terminate: Signal,
}

impl Signals {
    /// Takes the signals away from their default, which is to end the program at once.
    ///
    /// # Errors
    ///
    /// When the system refuses.
    pub(crate) fn listen() -> Result<Self> {
        let listen = |kind| {
            signal(kind)
                .map_err(|error| CommandError::new(Exit::Internal, format!("cannot listen to signals: {error}")))
        };
        Ok(Self { interrupt: listen(SignalKind::interrupt())?, terminate: listen(SignalKind::terminate())? })
    }

    /// Waits for the next one and gives the exit code that it means.
    pub(crate) async fn next(&mut self) -> Exit {
        tokio::select! {
            _ = self.interrupt.recv() => Exit::Interrupted,
            _ = self.terminate.recv() => Exit::Terminated,
        }
    }
}
