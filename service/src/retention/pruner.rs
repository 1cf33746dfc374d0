//! A pass over everything that may be deleted, as a sequence of small steps.
//!
//! A step looks at one page, or archives one group, or deletes one group; it never holds a lock longer than that. A
//! pass that is dropped between two steps leaves nothing half done: a batch whose deletion has begun is continued by
//! the next pass.

use std::collections::{BTreeSet, VecDeque};

use gristmill_core::Instant;
use gristmill_core::batch::BatchState;
use gristmill_core::id::BatchId;
use gristmill_jobs::sink;
use gristmill_store::{
    ExpiredRow, ExpiryLook, ExpiryPage, Prune, PruneNoun, PruneReport, Result, StoreError, StoreHandle,
};

use super::archive::{Archive, ArchiveFile};
use super::settings::RetentionSettings;

/// How many rows one step deletes or archives at most.
const GROUP_ROWS: usize = 500;

/// How many rows go with those that one step deletes at most, such as attempts.
const GROUP_WEIGHT: u64 = 5_000;

/// How many rows one look walks.
const PAGE_ROWS: u32 = 2_000;

/// What is walked, in this order: batches first, because what belongs to them waits for them.
pub(super) const WALKS: [PruneNoun; 9] = [
    PruneNoun::Batches,
    PruneNoun::Jobs,
    PruneNoun::Ticks,
    PruneNoun::Backfills,
    PruneNoun::Emails,
    PruneNoun::Poison,
    PruneNoun::Discarded,
    PruneNoun::Keys,
    PruneNoun::Queues,
];

/// What a batch consists of, besides its row.
const PARTS: [PruneNoun; 3] = [PruneNoun::Chunks, PruneNoun::Results, PruneNoun::Quarantine];

/// What a pass goes by.
#[derive(Debug, Clone, Default)]
pub struct PrunerOptions {
    /// How long what is kept.
    pub settings: RetentionSettings,
    /// Queues that the configuration names: their counters stay.
    pub queues: BTreeSet<String>,
    /// Whether ids that look too young are walked as well: an id holds the time of its creation on the client's clock.
    pub whole: bool,
}

impl PrunerOptions {
    /// Whether a row may be deleted.
    pub(super) fn expires(&self, row: &ExpiredRow, now: Instant) -> bool {
        let named = row.noun == PruneNoun::Queues && self.queues.contains(&row.name);
        !named && self.settings.expires(row, now)
    }

    /// The first look at a noun. `None` when nothing of it may be deleted.
    pub(super) fn look(&self, noun: PruneNoun, now: Instant) -> Option<ExpiryLook> {
        let bound = self.settings.bound(noun, now)?;
        let created_before = (!self.whole).then_some(bound);
        Some(ExpiryLook { created_before, limit: PAGE_ROWS, ..ExpiryLook::first(noun) })
    }
}

/// What a step did.
#[derive(Debug, Clone, PartialEq)]
pub enum Step {
    /// It deleted rows, or none.
    Worked(PruneReport),
    /// The pass is over.
    Over,
}

/// A pass under way.
#[derive(Debug)]
pub struct Pruner {
    store: StoreHandle,
    options: PrunerOptions,
    archive: Option<Archive>,
    /// What is still to be walked.
    walks: VecDeque<PruneNoun>,
    look: Option<ExpiryLook>,
    /// Batches that may be deleted.
    batches: VecDeque<ExpiredRow>,
    /// The batch that is being deleted, and what of it is still to be walked.
    deleting: Option<Deleting>,
    hand: Option<Hand>,
}

#[derive(Debug)]
struct Deleting {
    row: ExpiredRow,
    batch: BatchId,
    parts: VecDeque<PruneNoun>,
    look: Option<ExpiryLook>,
    /// Whether its own row has been dealt with.
    over: bool,
}

/// Rows that are to be deleted.
#[derive(Debug)]
struct Hand {
    noun: PruneNoun,
    batch: Option<BatchId>,
    rows: Vec<ExpiredRow>,
    day: Instant,
    /// How many of them are in the archive's file.
    archived: usize,
    file: Option<ArchiveFile>,
    /// Whether the file is in place, or none is wanted.
    safe: bool,
}

impl Pruner {
    /// A pass over everything.
    pub fn new(store: StoreHandle, options: PrunerOptions) -> Self {
        let archive = &options.settings.archive;
        let archive = (!archive.is_empty()).then(|| Archive::new(archive));
        Self {
            store,
            options,
            archive,
            walks: WALKS.into(),
            look: None,
            batches: VecDeque::new(),
            deleting: None,
            hand: None,
        }
    }

    /// A pass over batches whose deletion has begun.
    pub fn of_batches(store: StoreHandle, options: PrunerOptions, batches: Vec<ExpiredRow>) -> Self {
        Self { walks: VecDeque::new(), batches: batches.into(), ..Self::new(store, options) }
    }

    /// A pass over the jobs given.
    pub fn of_jobs(store: StoreHandle, options: PrunerOptions, rows: Vec<ExpiredRow>, now: Instant) -> Self {
        let mut pruner = Self { walks: VecDeque::new(), ..Self::new(store, options) };
        pruner.take(PruneNoun::Jobs, None, rows, now);
        pruner
    }

    /// Makes one step.
    ///
    /// # Errors
    ///
    /// Store errors, and [`StoreError::Unavailable`] when the archive cannot be written: then nothing was deleted that
    /// is not in it. The pass may be continued, or given up.
    pub async fn step(&mut self) -> Result<Step> {
        if let Some(hand) = self.hand.take() {
            return self.work(hand).await.map(Step::Worked);
        }
        if let Some(deleting) = self.deleting.take() {
            return self.go_on(deleting).await.map(|()| Step::Worked(PruneReport::default()));
        }
        if let Some(row) = self.batches.pop_front() {
            return self.begin(row).await.map(|()| Step::Worked(PruneReport::default()));
        }
        self.walk().await
    }

    /// Looks at the next page.
    async fn walk(&mut self) -> Result<Step> {
        let look = match self.look.take() {
            Some(look) => Some(look),
            None => match self.walks.pop_front() {
                Some(noun) => self.options.look(noun, self.store.now().await?),
                None => return Ok(Step::Over),
            },
        };
        let Some(look) = look else { return Ok(Step::Worked(PruneReport::default())) };
        let ExpiryPage { now, rows, next } = self.store.expired(&look).await?;
        let rows: Vec<ExpiredRow> = rows.into_iter().filter(|row| self.options.expires(row, now)).collect();
        match look.noun {
            PruneNoun::Batches => self.batches.extend(rows),
            noun => self.take(noun, None, rows, now),
        }
        self.look = next.map(|next| ExpiryLook { after: Some(next), ..look });
        Ok(Step::Worked(PruneReport::default()))
    }

    fn take(&mut self, noun: PruneNoun, batch: Option<BatchId>, rows: Vec<ExpiredRow>, day: Instant) {
        if !rows.is_empty() {
            let bookkeeping = matches!(noun, PruneNoun::Discarded | PruneNoun::Keys | PruneNoun::Queues);
            let safe = bookkeeping || self.archive.is_none();
            self.hand = Some(Hand { noun, batch, rows, day, archived: 0, file: None, safe });
        }
    }

    /// Marks a batch: from then on nothing of it runs again.
    async fn begin(&mut self, row: ExpiredRow) -> Result<()> {
        let batch = BatchId(row.key.parse().map_err(|_| StoreError::Database(format!("`{}` is no id", row.key)))?);
        match self.store.begin_deletion(&row.tenant, batch, row.at, false).await {
            Ok(_) => {}
            // It was redriven since it was seen, or is gone.
            Err(StoreError::Conflict(_) | StoreError::NotFound(_)) => return Ok(()),
            Err(error) => return Err(error),
        }
        self.deleting = Some(Deleting { row, batch, parts: PARTS.into(), look: None, over: false });
        Ok(())
    }

    /// Looks at the next part of a batch, and in the end at its own row.
    async fn go_on(&mut self, mut deleting: Deleting) -> Result<()> {
        if deleting.over {
            return Ok(());
        }
        let look = deleting.look.take().or_else(|| {
            let noun = deleting.parts.pop_front()?;
            Some(ExpiryLook { batch: Some(deleting.batch), limit: PAGE_ROWS, ..ExpiryLook::first(noun) })
        });
        let Some(look) = look else {
            self.remove_parts(&deleting).await?;
            let now = self.store.now().await?;
            self.take(PruneNoun::Batches, None, vec![deleting.row.clone()], now);
            deleting.over = true;
            self.deleting = Some(deleting);
            return Ok(());
        };
        let ExpiryPage { now, rows, next } = self.store.expired(&look).await?;
        self.take(look.noun, Some(deleting.batch), rows, now);
        deleting.look = next.map(|next| ExpiryLook { after: Some(next), ..look });
        self.deleting = Some(deleting);
        Ok(())
    }

    /// Removes the parts that a cancelled batch has left: no aggregate has listed or removed them.
    async fn remove_parts(&self, deleting: &Deleting) -> Result<()> {
        let batch = deleting.batch;
        let view = self.store.batch(&deleting.row.tenant, batch).await?;
        if view.is_none_or(|view| view.state != BatchState::Cancelled) {
            return Ok(());
        }
        let Some(output) = self.store.batch_plan(batch).await?.and_then(|plan| plan.definition.output) else {
            return Ok(());
        };
        let removed = tokio::task::spawn_blocking(move || sink::remove_unlisted(&output, batch)).await;
        match removed {
            Ok(Ok(files)) if files > 0 => {
                tracing::info!(batch.id = %batch, files, "parts of a cancelled batch are removed")
            }
            Ok(Ok(_)) => {}
            // Its rows are not kept for the sake of files that may be on another machine.
            Ok(Err(error)) => tracing::warn!(batch.id = %batch, error = %error, "parts of a cancelled batch stay"),
            Err(error) => return Err(StoreError::Unavailable(error.to_string())),
        }
        Ok(())
    }

    /// Archives or deletes one group. What is in hand stays there when it fails.
    async fn work(&mut self, mut hand: Hand) -> Result<PruneReport> {
        let report = if hand.safe { self.delete(&mut hand).await } else { self.archive(&mut hand).await };
        match report {
            Ok(report) => {
                if !hand.rows.is_empty() {
                    self.hand = Some(hand);
                }
                Ok(report)
            }
            Err(error) => {
                // Archived anew from the beginning: the file that was under way is gone.
                (hand.archived, hand.file) = (0, None);
                self.hand = Some(hand);
                Err(error)
            }
        }
    }

    async fn archive(&self, hand: &mut Hand) -> Result<PruneReport> {
        let Some(archive) = &self.archive else {
            hand.safe = true;
            return Ok(PruneReport::default());
        };
        let group = &hand.rows[hand.archived..(hand.archived + GROUP_ROWS).min(hand.rows.len())];
        let keys: Vec<String> = group.iter().map(|row| row.key.clone()).collect();
        let documents = self.store.documents(hand.noun, hand.batch, &keys).await?;
        let file = match hand.file.take() {
            Some(file) => file,
            None => archive.begin(hand.noun, hand.day).await?,
        };
        let file = file.append(documents).await?;
        hand.archived += keys.len();
        if hand.archived < hand.rows.len() {
            hand.file = Some(file);
        } else {
            file.finish().await?;
            hand.safe = true;
        }
        Ok(PruneReport::default())
    }

    async fn delete(&self, hand: &mut Hand) -> Result<PruneReport> {
        let rows = group(&hand.rows);
        let prune = Prune {
            noun: hand.noun,
            batch: hand.batch,
            rows: hand.rows[..rows].iter().map(|row| (row.key.clone(), row.at)).collect(),
            keys: self.options.settings.idempotency_keys.0,
        };
        let report = self.store.prune(&prune).await?;
        hand.rows.drain(..rows);
        Ok(report)
    }
}

/// How many of the first rows make one group.
fn group(rows: &[ExpiredRow]) -> usize {
    let mut weight = 0;
    let fits = |row: &&ExpiredRow| {
        weight += u64::from(row.weight);
        weight <= GROUP_WEIGHT
    };
    rows.iter().take(GROUP_ROWS).take_while(fits).count().max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_group_is_bounded_by_its_rows_and_by_what_goes_with_them() {
        let row = |weight| ExpiredRow {
            noun: PruneNoun::Jobs,
            key: String::new(),
            at: None,
            tenant: String::new(),
            name: String::new(),
            unsolved: false,
            deleting: false,
            weight,
        };
        assert_eq!(group(&vec![row(1); 1_000]), GROUP_ROWS);
        assert_eq!(group(&vec![row(101); 1_000]), 49);
        assert_eq!(group(&[row(1_000_000), row(1)]), 1, "one that is too heavy by itself still goes");
        assert_eq!(group(&[row(1)]), 1);
    }
}
