//! History: what has passed through queues is moved into minutes and hours, asked for, and removed after its time.

use gristmill_core::Instant;
use gristmill_core::history::HistoryStep;
use gristmill_store::{FOLD_ROWS_MAX, HISTORY_POINTS_MAX, HistoryFilter, Result, StoreHandle};

use crate::documents::{HistoryBy, HistoryDocument, series};
use crate::retention::RetentionSettings;

/// How many steps one call of [`fold`] makes at most, so that one that has fallen behind gives way to others in between.
const FOLDS_MAX: u32 = 20;

/// How many points one step removes at most.
const PRUNE_MAX: u32 = 1_000;

/// The longest time for which minutes are shown unless they are asked for.
const MINUTES_UNASKED: chrono::TimeDelta = chrono::TimeDelta::hours(6);

/// What is asked of history.
#[derive(Debug, Clone, PartialEq)]
pub struct HistoryAsk {
    /// From when on.
    pub from: Instant,
    /// Until when.
    pub until: Instant,
    /// How long each point is; minutes up to six hours, otherwise hours, when that is not said.
    pub step: Option<HistoryStep>,
    /// Of this queue.
    pub queue: Option<String>,
    /// Of this kind.
    pub kind: Option<String>,
    /// What has a series of its own.
    pub by: HistoryBy,
}

impl HistoryAsk {
    /// Everything in a range of time.
    pub fn all(from: Instant, until: Instant) -> Self {
        Self { from, until, step: None, queue: None, kind: None, by: HistoryBy::Total }
    }

    /// How long each point is.
    pub fn step(&self) -> HistoryStep {
        let short = self.until - self.from <= MINUTES_UNASKED;
        self.step.unwrap_or(if short { HistoryStep::Minute } else { HistoryStep::Hour })
    }

    /// What it selects; the step in which the range begins is in it as a whole.
    pub fn filter(&self, tenant: &str) -> HistoryFilter {
        let step = self.step();
        HistoryFilter {
            tenant: tenant.to_owned(),
            step,
            from: step.begin(self.from),
            until: self.until,
            queue: self.queue.clone(),
            kind: self.kind.clone(),
            limit: HISTORY_POINTS_MAX,
        }
    }
}

/// How much passed in a range of time.
///
/// # Errors
///
/// Those of the store.
pub async fn history(store: &StoreHandle, tenant: &str, ask: &HistoryAsk) -> Result<HistoryDocument> {
    let filter = ask.filter(tenant);
    let points = store.history(&filter).await?;
    let truncated = points.len() >= filter.limit as usize;
    let (step, from, until, by) = (filter.step, filter.from, filter.until, ask.by);
    Ok(HistoryDocument { step, from, until, by, truncated, series: series(&points, by) })
}

/// Moves what has passed into minutes and hours. Returns how many rows it was.
///
/// # Errors
///
/// Those of the store.
pub async fn fold(store: &StoreHandle) -> Result<u64> {
    let mut total = 0;
    for _ in 0..FOLDS_MAX {
        let moved = store.fold_history(FOLD_ROWS_MAX).await?;
        total += moved;
        if moved < u64::from(FOLD_ROWS_MAX) {
            break;
        }
    }
    Ok(total)
}

/// Removes minutes and hours that are kept for long enough. Returns how many points it was.
///
/// # Errors
///
/// Those of the store.
pub async fn prune(store: &StoreHandle, settings: &RetentionSettings) -> Result<u64> {
    let (mut total, now) = (0, store.now().await?);
    for (step, keep) in [(HistoryStep::Minute, settings.history_minutes), (HistoryStep::Hour, settings.history_hours)] {
        let Some(before) = keep.before(now) else { continue };
        loop {
            let removed = store.prune_history(step, before, PRUNE_MAX).await?;
            total += removed;
            if removed < u64::from(PRUNE_MAX) {
                break;
            }
        }
    }
    Ok(total)
}
