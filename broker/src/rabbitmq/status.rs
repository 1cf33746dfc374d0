//! The known state of the broker, combined from both connections.

use std::sync::{Mutex, PoisonError};

use tokio::sync::watch;
use tokio::time::Instant;

use crate::health::Health;

/// What a connection is for. The broker may block a publishing connection and then does not even read from it any more,
/// so acknowledgements must not travel on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    Publish,
    Consume,
}

impl Role {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Publish => "publish",
            Self::Consume => "consume",
        }
    }
}

/// Holds the state of each connection, and reports the worst of them.
#[derive(Debug)]
pub(crate) struct ConnectionStatus {
    states: Mutex<[Health; 2]>,
    shown: watch::Sender<Health>,
}

impl ConnectionStatus {
    /// Both are up until they report otherwise: a connection that was never opened is not missing.
    pub(crate) fn new() -> Self {
        Self { states: Mutex::new([Health::Up, Health::Up]), shown: watch::Sender::new(Health::Up) }
    }

    pub(crate) fn subscribe(&self) -> watch::Receiver<Health> {
        self.shown.subscribe()
    }

    pub(crate) fn get(&self, role: Role) -> Health {
        self.lock()[role as usize].clone()
    }

    pub(crate) fn up(&self, role: Role) {
        self.set(role, Health::Up);
    }

    pub(crate) fn blocked(&self, role: Role, reason: String) {
        let since = match self.get(role) {
            Health::Blocked { since, .. } => since,
            Health::Up | Health::Down { .. } => Instant::now(),
        };
        self.set(role, Health::Blocked { reason, since });
    }

    /// `since` stays that of the first loss, regardless of later attempts.
    pub(crate) fn down(&self, role: Role, reason: String) {
        let since = match self.get(role) {
            Health::Down { since, .. } => since,
            Health::Up | Health::Blocked { .. } => Instant::now(),
        };
        self.set(role, Health::Down { since, reason });
    }

    fn set(&self, role: Role, state: Health) {
        let mut states = self.lock();
        states[role as usize] = state;
        let worst = worst(&states);
        self.shown.send_if_modified(|shown| {
            let changed = *shown != worst;
            *shown = worst;
            changed
        });
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, [Health; 2]> {
        self.states.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn worst(states: &[Health; 2]) -> Health {
    let find = |wanted: fn(&Health) -> bool| states.iter().find(|state| wanted(state));
    find(|state| matches!(state, Health::Down { .. }))
        .or_else(|| find(|state| matches!(state, Health::Blocked { .. })))
        .cloned()
        .unwrap_or(Health::Up)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_worst_state_is_shown() {
        let status = ConnectionStatus::new();
        let shown = status.subscribe();
        status.blocked(Role::Publish, "low on memory".to_owned());
        status.down(Role::Consume, "reset".to_owned());
        assert!(matches!(&*shown.borrow(), Health::Down { reason, .. } if reason == "reset"));
        status.up(Role::Consume);
        assert!(matches!(&*shown.borrow(), Health::Blocked { reason, .. } if reason == "low on memory"));
        status.up(Role::Publish);
        assert!(shown.borrow().is_up());
    }

    #[test]
    fn a_loss_dates_from_its_beginning() {
        let status = ConnectionStatus::new();
        status.down(Role::Publish, "reset".to_owned());
        let Health::Down { since: first, .. } = status.get(Role::Publish) else { panic!("it is down") };
        status.down(Role::Publish, "refused".to_owned());
        let Health::Down { since, reason } = status.get(Role::Publish) else { panic!("it is down") };
        assert_eq!((since, reason.as_str()), (first, "refused"));
    }
}
