//! Queues: pause, resume.

use gristmill_core::audit::Action;
use gristmill_store::{ControlReport, Result};

use super::pause;
use crate::Service;
use crate::order::Order;

impl Service {
    /// Stops claiming from a queue; what runs is finished. The first pause and its reason stay.
    ///
    /// # Errors
    ///
    /// Store errors.
    pub async fn pause_queue(&self, order: &Order, queue: &str) -> Result<ControlReport> {
        let pause = pause(order);
        let store = order.at(&self.store, Action::QueuePause, queue);
        self.after(store.pause_queue(&order.tenant, queue, Some(&pause), order.dry_run)).await
    }

    /// Lets jobs of a queue be claimed again.
    ///
    /// # Errors
    ///
    /// Store errors.
    pub async fn resume_queue(&self, order: &Order, queue: &str) -> Result<ControlReport> {
        let store = order.at(&self.store, Action::QueueResume, queue);
        self.after(store.pause_queue(&order.tenant, queue, None, order.dry_run)).await
    }
}
