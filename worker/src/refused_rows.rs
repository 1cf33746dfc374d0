//! Takes the rows that a user's own table refuses out of a chunk's completion: their items are set aside, and all others
//! are written.

use gristmill_store::{Completions, RefusedRow, SqlRows, StoreError, failpoint};

use crate::attempt::Settled;

/// How often a completion is mended: between the search and the write another session may have written the same keys.
const SEARCHES_MAX: u32 = 3;

/// The rows of one chunk that have been refused so far.
#[derive(Debug, Default)]
pub(crate) struct RefusedRows {
    searches: u32,
    /// The places of those that are still to be written, among all rows of the chunk.
    places: Vec<usize>,
    refused: Vec<RefusedRow>,
}

impl RefusedRows {
    /// Searches the rows of a completion and takes the refused ones out. Returns whether it may be offered again.
    ///
    /// # Errors
    ///
    /// Why the table, and no row of it, is at fault.
    pub(crate) async fn take_out(&mut self, store: &dyn Completions, one: &mut Settled) -> Result<bool, StoreError> {
        let (Some(rows), Some(without)) = (&mut one.completion.sql, &one.terms.without_rows) else { return Ok(false) };
        if self.searches == SEARCHES_MAX {
            return Ok(false);
        }
        if self.searches == 0 {
            self.places = (0..rows.rows.len()).collect();
        }
        self.searches += 1;
        let found = store.refused_rows(rows).await?;
        failpoint::point("row.refused");
        self.note(rows, found);
        one.completion.chunk = Some(without.result(&self.refused).map_err(StoreError::Invalid)?);
        Ok(true)
    }

    fn note(&mut self, rows: &mut SqlRows, found: Vec<RefusedRow>) {
        // From the last one on, so that the places of those before stay as they are.
        for row in found.into_iter().rev() {
            rows.rows.remove(row.index);
            self.refused.push(RefusedRow { index: self.places.remove(row.index), ..row });
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_row_keeps_its_place_among_all_rows_of_its_chunk() {
        let all = (0..6).map(|id| json!({ "id": id })).collect();
        let mut rows = SqlRows { table: "t".to_owned(), columns: vec!["id".to_owned()], rows: all };
        let mut refused = RefusedRows { places: (0..6).collect(), ..RefusedRows::default() };
        let found =
            |places: &[usize]| places.iter().map(|at| RefusedRow { index: *at, reason: String::new() }).collect();
        refused.note(&mut rows, found(&[1, 4]));
        refused.note(&mut rows, found(&[1]));
        let mut places: Vec<usize> = refused.refused.iter().map(|row| row.index).collect();
        places.sort_unstable();
        assert_eq!(places, [1, 2, 4]);
        assert_eq!(rows.rows, [json!({ "id": 0 }), json!({ "id": 3 }), json!({ "id": 5 })]);
    }
}
