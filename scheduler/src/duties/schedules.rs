//! Schedules: decides and starts what is due by the clock, at its very instant when that is known.

use std::sync::Arc;
use std::time::Duration;

use chrono::TimeDelta;
use futures::future::BoxFuture;
use gristmill_store::Result;

use super::Common;
use crate::clock::LOST_AFTER;
use crate::duty::{Duty, Next, Wake};
use crate::leadership::Leadership;
use crate::schedules::{RunContext, ScheduleRunner};

/// How long a stop waits for batches that are being planned.
const PLANNING_ENDS: Duration = Duration::from_secs(20);

/// The delay to the next pass when a due tick is not decided yet: it is being planned, or is more than one pass
/// decides.
const AGAIN_AFTER: Duration = Duration::from_millis(100);

/// No pass follows another one sooner than this.
const AT_LEAST: Duration = Duration::from_millis(5);

/// Makes passes over the schedules.
pub(super) struct Schedules {
    common: Common,
    every: Duration,
    runner: ScheduleRunner,
    leadership: Arc<Leadership>,
}

impl Schedules {
    pub(super) fn new(common: Common, every: Duration, context: RunContext, leadership: &Arc<Leadership>) -> Self {
        let runner = ScheduleRunner::new(Arc::clone(&common.store), common.dispatcher.clone(), context);
        Self { common, every, runner, leadership: Arc::clone(leadership) }
    }

    /// Makes one pass by the database's clock. The next pass is requested when a tick comes before the next beat can be
    /// late.
    async fn pass(&mut self) -> Result<Next> {
        let store = &self.common.store;
        let now = store.now().await?;
        self.runner.run_once(now, self.leadership.id()).await?;
        let now = store.now().await?;
        let ahead = TimeDelta::from_std(self.every + LOST_AFTER).unwrap_or(TimeDelta::days(1));
        let next = store.due_schedules(now + ahead, 1).await?.first().and_then(|view| view.next_at);
        Ok(next.map_or(Next::Beat, |next| Next::In((next - now).to_std().unwrap_or(AGAIN_AFTER).max(AT_LEAST))))
    }
}

impl Duty for Schedules {
    fn name(&self) -> &'static str {
        "schedules"
    }

    fn every(&self) -> Duration {
        self.every
    }

    fn work(&mut self, _: Wake) -> BoxFuture<'_, Result<Next>> {
        Box::pin(self.pass())
    }

    /// Finishes what is being planned: another scheduler would start it over.
    fn end(&mut self) -> BoxFuture<'_, ()> {
        Box::pin(async move {
            if tokio::time::timeout(PLANNING_ENDS, self.runner.planned()).await.is_err() {
                tracing::warn!("batches of schedules were still being planned; their ticks are started anew");
            }
        })
    }
}
