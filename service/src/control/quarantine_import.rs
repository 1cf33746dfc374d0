//! Quarantined items that were mended elsewhere run again: all of them, or, when anything is wrong with what is
//! imported, none.

use std::collections::HashMap;

use gristmill_core::audit::Action;
use gristmill_core::id::BatchId;
use gristmill_store::{
    ItemPatch, Page, PatchRedrive, PatchReport, QuarantineFilter, QuarantineView, QuarantineWhich, StoreError,
};

use crate::Service;
use crate::order::Order;
use crate::pages::PAGE_ROWS;
use crate::quarantine_sheet::{Problem, Sheet, mended};
use crate::quarantine_table::columns;

/// How many items that are not of the batch are looked for elsewhere.
const STRANGERS_MAX: usize = 20;

/// What is imported, and how.
#[derive(Debug, Clone, PartialEq)]
pub struct Import {
    /// The batch whose items they are.
    pub batch: BatchId,
    /// The items, as they were mended.
    pub sheet: Sheet,
    /// Redrive those that were not changed as well.
    pub also_unchanged: bool,
    /// How many items make a chunk.
    pub chunk: u64,
}

/// What an import did, or would do.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Imported {
    /// What became of the items.
    pub report: PatchReport,
    /// How many were not changed, and stay in quarantine.
    pub unchanged: usize,
    /// How many another caller has redriven meanwhile.
    pub meanwhile: u64,
}

/// Why nothing was imported.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    /// Everything that is wrong with what is imported.
    #[error("{} things are wrong with what is imported", .0.len())]
    Problems(Vec<Problem>),
    /// What the store said.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Service {
    /// Returns the columns of a batch's source, and all items of the batch that were ever set aside.
    ///
    /// # Errors
    ///
    /// Store errors: `NotFound` when there is no such batch.
    pub async fn quarantine_of(
        &self,
        tenant: &str,
        batch: BatchId,
    ) -> Result<(Vec<String>, Vec<QuarantineView>), StoreError> {
        let missing = || StoreError::NotFound(format!("there is no batch {batch} of `{tenant}`"));
        self.store.batch(tenant, batch).await?.ok_or_else(missing)?;
        let plan = self.store.batch_plan(batch).await?;
        let first = plan.and_then(|plan| plan.fingerprint.files.into_iter().next());
        let filter = QuarantineFilter { tenant: tenant.to_owned(), batch: Some(batch), ..QuarantineFilter::default() };
        let (mut items, mut page) = (Vec::new(), Page { after: None, limit: PAGE_ROWS });
        loop {
            let rows = self.store.quarantine(&filter, &page).await?;
            page.after = rows.last().filter(|_| rows.len() == PAGE_ROWS as usize).map(|item| item.id.to_string());
            items.extend(rows);
            if page.after.is_none() {
                break;
            }
        }
        Ok((first.map(|file| file.columns).unwrap_or_default(), items))
    }

    /// Runs items once more as they were mended, in one transaction. One that was redriven meanwhile is passed over.
    ///
    /// # Errors
    ///
    /// Everything that is wrong with what is imported, each with its line: then nothing has changed; store errors.
    pub async fn import_quarantine(&self, order: &Order, import: Import) -> Result<Imported, ImportError> {
        let Import { batch, sheet, also_unchanged, chunk } = import;
        let (source, items) = self.quarantine_of(&order.tenant, batch).await?;
        let columns = columns(&source, items.iter().map(|item| &item.item));
        let columns = columns.map_err(|message| ImportError::Problems(vec![Problem { line: None, message }]))?;
        let known: HashMap<i64, QuarantineView> = items.into_iter().map(|item| (item.id, item)).collect();
        let strangers = self.strangers(&order.tenant, batch, &sheet, &known).await?;
        if !strangers.is_empty() {
            return Err(ImportError::Problems(strangers));
        }
        let mended = mended(&sheet, &known, &columns, &source).map_err(ImportError::Problems)?;
        let mut replace = mended.changed;
        let unchanged = if also_unchanged { 0 } else { mended.unchanged.len() };
        if also_unchanged {
            replace.extend(mended.unchanged);
        }
        if replace.is_empty() {
            return Ok(Imported { unchanged, ..Imported::default() });
        }
        let (items, asked) = (replace.keys().copied().collect(), replace.len() as u64);
        let which = QuarantineWhich { items, ..QuarantineWhich::default() };
        let patching = PatchRedrive { batch, which, mend: ItemPatch::Replace(replace), chunk };
        let store = order.at(&self.store, Action::QuarantineRedrive, batch);
        let report = self.after(store.redrive_patched(&order.tenant, &patching, order.dry_run)).await?;
        let meanwhile = asked.saturating_sub(report.redriven + report.kept);
        Ok(Imported { report, unchanged, meanwhile })
    }

    /// Items that this batch does not have: whether another one does is said.
    async fn strangers(
        &self,
        tenant: &str,
        batch: BatchId,
        sheet: &Sheet,
        known: &HashMap<i64, QuarantineView>,
    ) -> Result<Vec<Problem>, StoreError> {
        let mut problems = Vec::new();
        let strange: Vec<_> =
            sheet.ids().filter(|(_, number)| !known.contains_key(number)).take(STRANGERS_MAX).collect();
        for (line, number) in strange {
            let message = match self.quarantined(tenant, number).await? {
                Some(other) => format!("item {number} is one of batch {}, not of {batch}", other.batch),
                None => format!("there is no item {number}; was the number changed?"),
            };
            problems.push(Problem { line: Some(line), message });
        }
        Ok(problems)
    }

    async fn quarantined(&self, tenant: &str, number: i64) -> Result<Option<QuarantineView>, StoreError> {
        let filter = QuarantineFilter { tenant: tenant.to_owned(), ..QuarantineFilter::default() };
        let page = Page { after: number.checked_sub(1).map(|before| before.to_string()), limit: 1 };
        Ok(self.store.quarantine(&filter, &page).await?.into_iter().find(|item| item.id == number))
    }
}
