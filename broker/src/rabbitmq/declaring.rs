//! Each queue is declared once for each connection, by one at a time.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::OwnedMutexGuard;

use super::link::{Live, Target};
use crate::error::BrokerError;

/// What is declared in one go.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum Declared {
    /// The three priorities of a queue.
    Lanes(String),
    /// The dead letters of a queue.
    Dead(String),
}

/// One at a time for each queue: who finds a queue that somebody is just making may publish before
/// it is ready. Different queues do not wait for each other, because one of them may not answer.
#[derive(Debug, Default)]
pub(crate) struct Declaring(Mutex<HashMap<Declared, Arc<tokio::sync::Mutex<()>>>>);

impl Declaring {
    async fn turn(&self, wanted: &Declared) -> OwnedMutexGuard<()> {
        let turn = Arc::clone(self.0.lock().unwrap_or_else(PoisonError::into_inner).entry(wanted.clone()).or_default());
        turn.lock_owned().await
    }
}

impl Target {
    /// Makes sure that it exists as it should, once for each connection.
    pub(crate) async fn ensure(&self, live: &Live, wanted: &Declared) -> Result<(), BrokerError> {
        let _turn = self.declaring.turn(wanted).await;
        if !live.is_declared(wanted) {
            match wanted {
                Declared::Lanes(queue) => self.declare(live).priorities(queue).await?,
                Declared::Dead(queue) => self.declare(live).dead(queue).await?,
            }
            live.remember(wanted.clone());
        }
        Ok(())
    }
}
