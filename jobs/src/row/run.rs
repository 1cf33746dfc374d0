//! Takes the rows of a chunk the short way, in as many parts as there are threads.

use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use gristmill_core::aggregate::{Datum, Merger};
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
            let quick = rows.fields(number, &mut reader, |row| self.quick(&stages, row, &mut gatherer, &mut writing));
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
    ///
    /// A panic in a stage is a doubt. One while a row is counted or written is none: half of it may have happened, so
    /// it ends the part, and the chunk goes the long way as a whole.
    fn quick(
        &self,
        stages: &Stages<'_>,
        row: Vec<Datum<'_>>,
        gatherer: &mut Gatherer<'_>,
        writing: &mut Option<Writing<'_>>,
    ) -> Option<bool> {
        let taken = catch_unwind(AssertUnwindSafe(|| self.take(stages, row)));
        let row = match taken.unwrap_or(Verdict::Doubt) {
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

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::row::compare::read;
    use crate::row::encode::Encoder;
    use crate::sink::Encoding;

    /// The outcome of three rows, when the plan is spoilt.
    async fn spoilt(spoil: impl FnOnce(&mut RowPlan, &Stages<'_>)) -> Option<ChunkOutcome> {
        let pool = ItemPool::new(1).expect("threads");
        let definition = json!({ "source": { "csv": "in.csv" }, "output": { "jsonl": "out" }, "parse": { "a": "integer" },
            "aggregate": { "n": "count", "sum": { "sum": "a" } } });
        let (pipeline, rows) = read(&definition, "a,b\n1,x\n2,y\n3,z\n", &pool, "three rows").await.expect("rows");
        let stages = pipeline.stages().expect("stages");
        let mut plan = RowPlan::of(stages, rows.columns()).expect("a short way");
        spoil(&mut plan, &stages);
        Arc::new(plan).run(&pipeline, &Arc::new(rows), &pool, &CancellationToken::new()).await.expect("not over")
    }

    #[tokio::test]
    async fn a_row_at_which_something_panics_is_counted_once_or_the_chunk_goes_the_long_way() {
        let nowhere = 1_000;
        let in_a_stage = spoilt(|plan, _| plan.parsed[0] = nowhere).await.expect("each goes the long way alone");
        assert_eq!((in_a_stage.passed(), json!(in_a_stage.partial)["n"].clone()), (3, json!({ "count": 3 })));
        let whole = spoilt(|_, _| {}).await.expect("nothing is wrong");
        assert_eq!((in_a_stage.partial, in_a_stage.encoded), (whole.partial, whole.encoded));
        let counting = |plan: &mut RowPlan, stages: &Stages<'_>| {
            plan.measured = stages.aggregation.places(|_| Some(nowhere)).expect("places");
        };
        assert_eq!(spoilt(counting).await, None);
        let writing = |plan: &mut RowPlan, _: &Stages<'_>| {
            plan.encoder = Encoder::new(&Encoding::JsonLines, &[("a".to_owned(), nowhere)]);
        };
        assert_eq!(spoilt(writing).await, None);
    }
}
