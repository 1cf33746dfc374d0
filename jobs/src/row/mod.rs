//! The short way through the stages, for rows of separated values and of JSON lines.
//!
//! A row is a list of texts, or of plain values, under names that are the same for all rows of a file. Whatever the stages do to it is done
//! at places that are known before the first row comes: no names are looked up, no text is copied that does not change,
//! and no row becomes an object. What leaves the stages is counted and written at once.
//!
//! The stages themselves stay the truth. A definition that does more than is known here goes through them as a whole
//! ([`RowPlan::of`] gives `None`), and so does each single row of which it is not plain that it passes, so that whatever
//! is refused, is refused by them and with their words. The test `a_row_takes_the_short_way_to_where_the_long_way_ends`
//! compares both ways over random definitions and files.

#[cfg(test)]
mod compare;
mod encode;
mod expression;
mod names;
mod plan;
mod program;
mod run;
mod valid;

use gristmill_core::definition::{BatchDefinition, CHUNK_ITEMS_DEFAULT};

use crate::pipeline::Pipeline;
use crate::source::ChunkSize;

pub(crate) use plan::RowPlan;

/// How much makes a chunk of a batch: what the definition says, or as much as suits the input where its rows can take
/// the short way. All other items take their time, or take so much memory that a number keeps them in hand.
pub fn chunk_size(definition: &BatchDefinition, pipeline: &Pipeline) -> ChunkSize {
    let fits = || {
        let stages = pipeline.stages().filter(|_| definition.source.csv.is_some() || definition.source.jsonl.is_some());
        !definition.source.is_composite() && stages.is_some_and(RowPlan::may_be)
    };
    match definition.chunk {
        Some(items) => ChunkSize::Items(items),
        None if fits() => ChunkSize::Fitting,
        None => ChunkSize::Items(CHUNK_ITEMS_DEFAULT),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::pool::ItemPool;
    use crate::process::Processors;

    #[test]
    fn only_rows_that_may_go_the_short_way_make_chunks_that_fit() {
        let pool = ItemPool::new(1).expect("threads");
        let size = |source: &str, more: Value| {
            let mut definition = json!({ "source": { source: "in" } });
            definition.as_object_mut().expect("an object").extend(more.as_object().expect("an object").clone());
            let definition: BatchDefinition = serde_json::from_value(definition).expect("a definition");
            let pipeline = Pipeline::compile("b", &definition, "".as_ref(), &Processors::default(), &pool);
            chunk_size(&definition, &pipeline.expect("stages"))
        };
        let five_hundred = ChunkSize::Items(500);
        assert_eq!(size("csv", json!({})), ChunkSize::Fitting);
        assert_eq!(size("csv", json!({ "transform": ".a = decimal_mul(.b; .c)" })), ChunkSize::Fitting);
        assert_eq!(size("csv", json!({ "transform": "with_entries(.)" })), five_hundred);
        assert_eq!(size("csv", json!({ "output": { "sql": { "table": "t", "columns": ["a"] } } })), five_hundred);
        assert_eq!(size("jsonl", json!({})), ChunkSize::Fitting);
        assert_eq!(size("csv", json!({ "chunk": 7 })), ChunkSize::Items(7));
    }
}
