//! Limits: set, drop.

use gristmill_core::audit::Action;
use gristmill_store::{ControlReport, LimitOrigin, LimitSpec, LimitView, Result, SaveLimit, StoreError};

use crate::Service;
use crate::order::Order;

impl Service {
    /// Creates a limit in the store, or changes one that was created there. It applies to what is claimed next. `None`
    /// at a dry run.
    ///
    /// # Errors
    ///
    /// `Invalid` when it makes no sense, `Conflict` when the configuration has one of that name, and those of the store.
    pub async fn set_limit(&self, order: &Order, name: &str, spec: LimitSpec) -> Result<Option<LimitView>> {
        spec.check().map_err(|wrong| StoreError::Invalid(format!("the limit {}", wrong.message)))?;
        if order.dry_run {
            return Ok(None);
        }
        let save = SaveLimit { name: name.to_owned(), origin: LimitOrigin::Command, spec };
        let (limit, _) = self.after(order.at(&self.store, Action::LimitSet, name).save_limit(&save)).await?;
        Ok(Some(limit))
    }

    /// Drops a limit that was created in the store: 1 affected, or 0 when there was none.
    ///
    /// # Errors
    ///
    /// Store errors.
    pub async fn drop_limit(&self, order: &Order, name: &str) -> Result<ControlReport> {
        let store = order.at(&self.store, Action::LimitDrop, name);
        self.after(store.drop_limit(name, LimitOrigin::Command, order.dry_run)).await
    }
}
