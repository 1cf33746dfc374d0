//! Errors by their fingerprints: acknowledge, reopen.

use gristmill_core::audit::Action;
use gristmill_store::{ControlReport, NewAcknowledgement, Result};

use super::pause;
use crate::Service;
use crate::order::Order;

impl Service {
    /// Notes that an error was seen: it needs no look until it comes again.
    ///
    /// # Errors
    ///
    /// Store errors, and that it is no fingerprint.
    pub async fn acknowledge_error(&self, order: &Order, fingerprint: &str) -> Result<ControlReport> {
        let by = pause(order).by.unwrap_or_default();
        let (tenant, reason) = (order.tenant.clone(), order.reason.clone());
        let ack = NewAcknowledgement { tenant, fingerprint: fingerprint.to_owned(), by, reason };
        let store = order.at(&self.store, Action::ErrorAcknowledge, fingerprint);
        self.after(store.acknowledge_error(&ack, order.dry_run)).await
    }

    /// Takes that back.
    ///
    /// # Errors
    ///
    /// Store errors, and that it is no fingerprint.
    pub async fn reopen_error(&self, order: &Order, fingerprint: &str) -> Result<ControlReport> {
        let store = order.at(&self.store, Action::ErrorReopen, fingerprint);
        self.after(store.reopen_error(&order.tenant, fingerprint, order.dry_run)).await
    }
}
