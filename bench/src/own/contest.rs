//! Gristmill's side of each row.

use super::{batch, drain, enqueue, latency};
use crate::fault::Result;
use crate::history;
use crate::metric::{Metric, Row, Setup};
use crate::size::Size;
use crate::stand::{Ground, Stand};

/// Stands of Gristmill: a fresh one for each measurement, or, with a history, one for each set-up, because putting in
/// millions of rows takes longer than measuring.
#[derive(Debug)]
pub struct Own {
    ground: Ground,
    history: u64,
    kept: Vec<Stand>,
}

impl Own {
    /// Makes none yet.
    pub fn new(ground: &Ground, history: u64) -> Self {
        Self { ground: ground.clone(), history, kept: Vec::new() }
    }

    /// Removes those that were kept.
    ///
    /// # Errors
    ///
    /// Those of the servers.
    pub async fn clear(self) -> Result<()> {
        for stand in self.kept {
            stand.clear().await?;
        }
        Ok(())
    }

    /// A stand to measure on.
    ///
    /// # Errors
    ///
    /// Those of the servers, and when the history does not agree with its counters.
    pub async fn take(&mut self, setup: Setup) -> Result<Stand> {
        if let Some(place) = self.kept.iter().position(|stand| stand.setup == setup) {
            return Ok(self.kept.swap_remove(place));
        }
        let stand = Stand::new(&self.ground, setup).await?;
        if self.history > 0 {
            history::put_in(&stand, self.history).await?;
        }
        Ok(stand)
    }

    /// Gives it back.
    ///
    /// # Errors
    ///
    /// Those of the servers.
    pub async fn give_back(&mut self, stand: Stand) -> Result<()> {
        if self.history == 0 {
            return stand.clear().await;
        }
        self.kept.push(stand);
        Ok(())
    }

    /// Measures a row. [`Row::Idle`] is measured for all set-ups together, by [`super::idle`].
    ///
    /// # Errors
    ///
    /// Those of the programs and the servers, and when a count is wrong.
    pub async fn measure(&mut self, row: Row, setup: Setup, size: Size) -> Result<Vec<(Metric, f64)>> {
        let ground = self.ground.clone();
        let mut figures = Vec::new();
        for part in parts(row, setup) {
            let stand = self.take(setup).await?;
            ground.settle().await?;
            figures.extend(part.measure(&ground, &stand, size).await?);
            if matches!(part, Part::ByClient | Part::ByCommand | Part::Singly(..)) && self.history > 0 {
                // What was only enqueued would be in the way of the next.
                history::work_off(&stand, size).await?;
            }
            self.give_back(stand).await?;
        }
        Ok(figures)
    }
}

/// What is measured on one stand.
#[derive(Debug, Clone, Copy)]
enum Part {
    ByClient,
    ByCommand,
    Singly(Metric, u32),
    Drain,
    Latency,
    Batch,
    Scale(Metric, usize),
}

fn parts(row: Row, setup: Setup) -> Vec<Part> {
    match row {
        Row::Enqueue => vec![Part::ByClient, Part::ByCommand],
        Row::Single => vec![Part::Singly(Metric::Single1, 1), Part::Singly(Metric::Single64, 64)],
        Row::Drain => vec![Part::Drain],
        Row::Latency => vec![Part::Latency],
        Row::Batch => vec![Part::Batch],
        Row::Idle => Vec::new(),
        // No other process can work on an embedded store.
        Row::Scale if setup == Setup::Sqlite => Vec::new(),
        Row::Scale => [(Metric::Scale1, 1), (Metric::Scale2, 2), (Metric::Scale4, 4)]
            .map(|(metric, workers)| Part::Scale(metric, workers))
            .to_vec(),
    }
}

impl Part {
    async fn measure(self, ground: &Ground, stand: &Stand, size: Size) -> Result<Vec<(Metric, f64)>> {
        match self {
            Self::ByClient => enqueue::by_client(ground, stand, size).await,
            Self::ByCommand => enqueue::by_command(ground, stand, size).await,
            Self::Singly(metric, callers) => {
                let jobs = if callers == 1 { size.single } else { size.single_64 };
                Ok(vec![(metric, enqueue::singly(ground, stand, jobs, callers).await?)])
            }
            Self::Drain => drain::by_one(ground, stand, size).await,
            Self::Latency => latency::measure(stand, size).await,
            Self::Batch => batch::measure(stand, size).await,
            Self::Scale(metric, workers) => Ok(vec![(metric, drain::by_many(ground, stand, size, workers).await?)]),
        }
    }
}
