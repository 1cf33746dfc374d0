//! What a pass would delete: the same looks and the same rules, and no deed.

use std::collections::BTreeMap;

use gristmill_core::Instant;
use gristmill_core::id::BatchId;
use gristmill_store::{ExpiryLook, PruneNoun, Result, StoreHandle};

use super::pruner::{PrunerOptions, WALKS};

/// What a pass would delete now.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Survey {
    /// For each noun how many rows, and when the oldest of them ended.
    pub rows: BTreeMap<PruneNoun, (u64, Option<Instant>)>,
}

impl Survey {
    fn add(&mut self, noun: PruneNoun, rows: u64, at: Option<Instant>) {
        let (count, oldest) = self.rows.entry(noun).or_default();
        *count += rows;
        *oldest = match (*oldest, at) {
            (Some(one), Some(other)) => Some(one.min(other)),
            (one, other) => one.or(other),
        };
    }
}

/// Counts what a pass would delete. The jobs of a batch count as the chunks that it has; what goes with them in turn
/// (results, quarantined items) is not counted.
///
/// # Errors
///
/// Store errors.
pub async fn survey(store: &StoreHandle, options: &PrunerOptions) -> Result<Survey> {
    let mut survey = Survey::default();
    for noun in WALKS {
        let Some(mut look) = options.look(noun, store.now().await?) else { continue };
        loop {
            let page = store.expired(&look).await?;
            for row in page.rows.iter().filter(|row| options.expires(row, page.now)) {
                survey.add(row.noun, 1, row.at);
                if row.noun == PruneNoun::Batches
                    && let Ok(id) = row.key.parse()
                    && let Some(batch) = store.batch(&row.tenant, BatchId(id)).await?
                    && batch.chunks > 0
                {
                    survey.add(PruneNoun::Chunks, batch.chunks, row.at);
                }
            }
            match page.next {
                Some(next) => look = ExpiryLook { after: Some(next), ..look },
                None => break,
            }
        }
    }
    Ok(survey)
}
