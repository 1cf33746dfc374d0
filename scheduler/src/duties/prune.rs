//! Prune: deletes what is kept for longer than `[retention]` says, a step at a time.
//!
//! A pass begins with each beat. After a step it pauses for nine times as long as the step took, so that it never takes
//! more than a tenth of a connection's time, however much there is to delete and however slow the database is.

use std::path::PathBuf;
use std::time::Duration;

use futures::future::BoxFuture;
use gristmill_service::retention::{Pruner, PrunerOptions, Step, prune_acknowledged, prune_events, prune_logs};
use gristmill_service::start::RunContext;
use gristmill_store::Result;
use tokio::time::Instant;

use super::Common;
use crate::duty::{Duty, Next, Wake};
use crate::watch::old;

/// How many times as long as a step the pause after it is.
const PAUSE: u32 = 9;

/// The longest pause.
const PAUSE_MAX: Duration = Duration::from_secs(600);

/// Every this many passes also what looks too young is walked: an id holds the time of a client's clock.
const WHOLE_EVERY: u64 = 24;

/// Deletes what is kept for too long.
pub(super) struct Prune {
    common: Common,
    every: Duration,
    options: PrunerOptions,
    /// The watched folders, where schedules are served.
    context: Option<RunContext>,
    passes: u64,
    pruner: Option<Pruner>,
}

impl Prune {
    pub(super) fn new(common: Common, every: Duration, options: PrunerOptions, context: Option<RunContext>) -> Self {
        Self { common, every, options, context, passes: 0, pruner: None }
    }

    fn begin(&mut self) -> Pruner {
        let options = PrunerOptions { whole: self.passes.is_multiple_of(WHOLE_EVERY), ..self.options.clone() };
        self.passes += 1;
        Pruner::new(self.common.store.clone(), options)
    }

    async fn step(&mut self) -> Result<Next> {
        let mut pruner = match self.pruner.take() {
            Some(pruner) => pruner,
            None => {
                self.remove_files().await?;
                prune_logs(&self.common.store, &self.options.settings).await?;
                prune_acknowledged(&self.common.store, &self.options.settings).await?;
                prune_events(&self.common.store, &self.options.settings).await?;
                self.begin()
            }
        };
        let begun = Instant::now();
        let step = pruner.step().await;
        let pause = begun.elapsed().saturating_mul(PAUSE).min(PAUSE_MAX);
        match step {
            Ok(Step::Over) => Ok(Next::Beat),
            Ok(Step::Worked(report)) => {
                for (noun, rows) in &report.deleted {
                    tracing::debug!(noun = %noun, rows, "deleted after its time");
                }
                self.pruner = Some(pruner);
                Ok(Next::In(pause))
            }
            // Given up: what it holds in hand may be out of date by the next beat.
            Err(error) => Err(error),
        }
    }

    /// Removes old files of watched folders.
    async fn remove_files(&self) -> Result<()> {
        let Some(context) = &self.context else { return Ok(()) };
        let Some(before) = self.options.settings.watched_files.before(self.common.store.now().await?) else {
            return Ok(());
        };
        let folders: Vec<PathBuf> =
            context.snapshot.borrow().watches.values().map(|watch| watch.folder.clone().into()).collect();
        let removed = tokio::task::spawn_blocking(move || old::remove(&folders, before)).await.unwrap_or(0);
        if removed > 0 {
            tracing::info!(files = removed, "old files of watched folders are removed");
        }
        Ok(())
    }
}

impl Duty for Prune {
    fn name(&self) -> &'static str {
        "prune"
    }

    fn every(&self) -> Duration {
        self.every
    }

    fn work(&mut self, _: Wake) -> BoxFuture<'_, Result<Next>> {
        Box::pin(self.step())
    }
}
