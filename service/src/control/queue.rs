//! Queues: pause, resume.

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
        self.after(self.store.pause_queue(&order.tenant, queue, Some(&pause), order.dry_run)).await
    }

    /// Lets jobs of a queue be claimed again.
    ///
    /// # Errors
    ///
    /// Store errors.
    pub async fn resume_queue(&self, order: &Order, queue: &str) -> Result<ControlReport> {
        self.after(self.store.pause_queue(&order.tenant, queue, None, order.dry_run)).await
    }
}
