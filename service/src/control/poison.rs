//! Poison messages: drop.

use gristmill_core::audit::Action;
use gristmill_store::{ControlReport, Page, Result};

use super::{add, some};
use crate::Service;
use crate::order::Order;

/// How many messages are dropped in one transaction, and requested at a time.
const GROUP: u32 = 1_000;

impl Service {
    /// Forgets messages that were kept, in groups, each one transaction. Unknown numbers are skipped.
    ///
    /// # Errors
    ///
    /// Store errors; earlier groups stay forgotten.
    pub async fn drop_poison(&self, order: &Order, ids: &[i64]) -> Result<ControlReport> {
        let mut total = ControlReport::default();
        for group in ids.chunks(GROUP as usize) {
            let store = order.at(&self.store, Action::PoisonDrop, some(group));
            add(&mut total, self.after(store.drop_poison(group, order.dry_run)).await?);
        }
        Ok(total)
    }

    /// Returns the numbers of all messages that are kept now. They are gathered before the first one goes, so that
    /// messages that arrive meanwhile are not touched.
    ///
    /// # Errors
    ///
    /// Store errors.
    pub async fn all_poison(&self) -> Result<Vec<i64>> {
        let mut ids = Vec::new();
        let mut page = Page { after: None, limit: GROUP };
        loop {
            let found = self.store.poison(&page).await?;
            ids.extend(found.iter().map(|one| one.id));
            match found.last() {
                Some(last) if found.len() == GROUP as usize => page.after = Some(last.id.to_string()),
                Some(_) | None => return Ok(ids),
            }
        }
    }
}
