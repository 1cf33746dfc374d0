//! Each queue is declared once per connection, by one caller at a time.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::OwnedMutexGuard;

/// What is declared in one go.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum Declared {
    /// The three priorities of a queue.
    Priorities(String),
    /// The dead letters of a queue.
    Dead(String),
}

/// One caller at a time per queue: a caller that finds a queue still being declared by another might publish before it
/// is ready. Different queues do not wait for each other, because one of them may not answer.
#[derive(Debug, Default)]
pub(crate) struct Declaring(Mutex<HashMap<Declared, Arc<tokio::sync::Mutex<()>>>>);

impl Declaring {
    /// Waits until no other caller declares the same.
    pub(crate) async fn turn(&self, wanted: &Declared) -> OwnedMutexGuard<()> {
        let turn = Arc::clone(self.0.lock().unwrap_or_else(PoisonError::into_inner).entry(wanted.clone()).or_default());
        turn.lock_owned().await
    }
}
