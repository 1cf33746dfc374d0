//! History: what has passed is moved into minutes and hours, shown, and removed.

use async_trait::async_trait;
use gristmill_core::Instant;
use gristmill_core::history::HistoryStep;

use super::ReferenceStore;
use super::state::{HistoryKey, most};
use super::transition::Transition;
use crate::error::Result;
use crate::{HISTORY_POINTS_MAX, History, HistoryFilter, HistoryPoint};

#[async_trait]
impl History for ReferenceStore {
    /// Here a row is what passed in a minute.
    async fn fold_history(&self, limit: u32) -> Result<u64> {
        let mut t = Transition::begin(self);
        let mut moved = 0;
        while moved < u64::from(limit)
            && let Some(((tenant, minute, queue, kind), passed)) = t.state.flow.pop_first()
        {
            for step in HistoryStep::ALL {
                let key = (tenant.clone(), step, step.begin(minute), queue.clone(), kind.clone());
                t.state.history.entry(key).or_default().add(&passed);
            }
            moved += 1;
        }
        t.commit()?;
        Ok(moved)
    }

    async fn history(&self, filter: &HistoryFilter) -> Result<Vec<HistoryPoint>> {
        let t = Transition::begin(self);
        let asked = |(tenant, step, at, queue, kind): &HistoryKey| {
            (tenant, step) == (&filter.tenant, &filter.step)
                && (filter.from..filter.until).contains(at)
                && filter.queue.as_ref().is_none_or(|asked| asked == queue)
                && filter.kind.as_ref().is_none_or(|asked| asked == kind)
        };
        let found = t.state.history.iter().filter(|(key, _)| asked(key));
        let limit = most(filter.limit.min(HISTORY_POINTS_MAX));
        let mut points: Vec<HistoryPoint> = found
            .rev()
            .take(limit)
            .map(|((_, _, at, queue, kind), passed)| HistoryPoint {
                at: *at,
                queue: queue.clone(),
                kind: kind.clone(),
                passed: passed.clone(),
            })
            .collect();
        points.reverse();
        Ok(points)
    }

    async fn prune_history(&self, step: HistoryStep, before: Instant, limit: u32) -> Result<u64> {
        let mut t = Transition::begin(self);
        let old = t.state.history.keys().filter(|(_, of, at, ..)| *of == step && *at < before);
        let mut old: Vec<HistoryKey> = old.cloned().collect();
        old.sort_by_key(|(_, _, at, ..)| *at);
        old.truncate(most(limit));
        for key in &old {
            t.state.history.remove(key);
        }
        t.commit()?;
        Ok(old.len() as u64)
    }
}
