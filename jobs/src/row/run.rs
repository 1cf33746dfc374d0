//! Takes the rows of a chunk the short way, in as many parts as there are threads.

use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use gristmill_core::aggregate::Merger;
use tokio_util::sync::CancellationToken;

use super::encode::Writing;
use super::plan::{RowPlan, Verdict};
use crate::pipeline::{ChunkOutcome, Gatherer, Pipeline, Stages};
use crate::pool::{Cancelled, ItemPool};
use crate::source::Rows;

/// The fewest rows that are worth a thread of their own.
const PART_ROWS_MIN: usize = 1_024;

/// After so many rows a part looks whether the attempt is over.
const ROWS_BETWEEN_LOOKS: usize = 64;

impl RowPlan {
    /// Takes all rows through the stages. `Ok(None)`: something went wrong that concerns no single row, so that the
    /// chunk has to go the long way.
    ///
    /// # Errors
    ///
    /// When the attempt is over.
    pub(crate) async fn run(
        self: &Arc<Self>,
        pipeline: &Arc<Pipeline>,
        rows: &Arc<Rows>,
        pool: &ItemPool,
        cancel: &CancellationToken,
    ) -> Result<Option<ChunkOutcome>, Cancelled> {
        let size = rows.len().div_ceil(pool.threads()).max(PART_ROWS_MIN);
        let parts = (0..rows.len()).step_by(size).map(|from| from..(from + size).min(rows.len())).collect();
        let (me, pipeline, rows, stop) = (Arc::clone(self), Arc::clone(pipeline), Arc::clone(rows), cancel.clone());
        let done = pool.map(parts, cancel, move |part| me.part(&pipeline, &rows, part, &stop)).await?;
        let parts: Option<Vec<ChunkOutcome>> = done.into_iter().map(|part| part.ok().flatten()).collect();
        Ok(parts.and_then(|parts| self.joined(parts)))
    }

    fn joined(&self, parts: Vec<ChunkOutcome>) -> Option<ChunkOutcome> {
        let mut whole = ChunkOutcome::default();
        if let Some(encoder) = &self.encoder {
            whole.encoded.bytes = encoder.header().ok()?;
        }
        let mut merger = Merger::default();
        for part in parts {
            merger.merge(part.partial).ok()?;
            whole.skipped += part.skipped;
            whole.set_aside.extend(part.set_aside);
            whole.encoded.items += part.encoded.items;
            whole.encoded.bytes.extend_from_slice(&part.encoded.bytes);
        }
        whole.partial = merger.finish();
        Some(whole)
    }

    fn part(
        &self,
        pipeline: &Pipeline,
        rows: &Rows,
        part: Range<usize>,
        stop: &CancellationToken,
    ) -> Option<ChunkOutcome> {
        let stages = pipeline.stages()?;
        let mut gatherer = pipeline.gatherer();
        let mut writing = self.encoder.as_ref().map(|encoder| encoder.begin());
        let mut reader = rows.reader();
        let mut items = 0;
        for number in part {
            if number % ROWS_BETWEEN_LOOKS == 0 && stop.is_cancelled() {
                return None;
            }
            let quick = rows.fields(number, &mut reader, |fields| {
                let quick = catch_unwind(AssertUnwindSafe(|| self.quick(&stages, fields, &mut gatherer, &mut writing)));
                quick.unwrap_or(Some(false))
            });
            match quick {
                Some(Some(true)) => items += 1,
                // Doubt, or no row: the stages say what becomes of it.
                None | Some(Some(false)) => {
                    if let Some(written) = gatherer.take(pipeline.alone(rows.record(number))) {
                        writing.as_mut().map_or(Ok(()), |writing| writing.item(&written)).ok()?;
                        items += 1;
                    }
                }
                Some(None) => gatherer.skip(),
            }
        }
        let mut outcome = gatherer.outcome();
        outcome.encoded.items = items;
        outcome.encoded.bytes = writing.map_or(Ok(Vec::new()), Writing::finish).ok()?;
        Some(outcome)
    }

    /// Takes one row. `Some(true)`: it is counted and written; `Some(false)`: nothing has happened; `None`: it is
    /// skipped on purpose.
    fn quick(
        &self,
        stages: &Stages<'_>,
        fields: &[&str],
        gatherer: &mut Gatherer<'_>,
        writing: &mut Option<Writing<'_>>,
    ) -> Option<bool> {
        let row = match self.take(stages, fields) {
            Verdict::Passed(row) => row,
            Verdict::Skipped => return None,
            Verdict::Doubt => return Some(false),
        };
        if !gatherer.absorb_at(&self.measured, |place| &row[place]) {
            return Some(false);
        }
        if let Some(writing) = writing {
            writing.row(&row);
        }
        Some(true)
    }
}
