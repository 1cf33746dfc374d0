//! Which rows a user's own table refuses for what is in them.
//!
//! All rows are tried together, and what is refused in halves, from left to right, each piece under a savepoint that is
//! kept when the table takes it: of two rows with the same key the second one is refused. For *k* refused rows of *n*
//! that takes at most 2·k·⌈log₂ n⌉ + 1 statements.

use std::ops::Range;

use crate::RefusedRow;
use crate::error::StoreError;

/// Why a table refuses a piece.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// One of the rows in it is at fault: a value that does not fit, a constraint.
    Row(String),
    /// A row in it, or the table: a trigger raised an error. It is the row when other rows are taken.
    Unclear(String),
}

/// The search among the rows of one chunk.
#[derive(Debug)]
pub(crate) struct RowSearch {
    /// The pieces that have not been tried, the next one last.
    open: Vec<Range<usize>>,
    refused: Vec<RefusedRow>,
    /// Whether the table has taken a row, or refused one that was clearly at fault.
    takes: bool,
}

impl RowSearch {
    pub(crate) fn new(rows: usize) -> Self {
        Self {
            open: std::iter::once(0..rows).filter(|all| !all.is_empty()).collect(),
            refused: Vec::new(),
            takes: false,
        }
    }

    /// The rows to be tried next.
    pub(crate) fn next_piece(&mut self) -> Option<Range<usize>> {
        self.open.pop()
    }

    /// The table has taken the piece.
    pub(crate) fn taken(&mut self) {
        self.takes = true;
    }

    /// The table has refused the piece.
    pub(crate) fn refused(&mut self, piece: Range<usize>, refusal: Refusal) {
        if piece.len() > 1 {
            let middle = piece.start + piece.len().div_ceil(2);
            self.open.push(middle..piece.end);
            self.open.push(piece.start..middle);
            return;
        }
        let reason = match refusal {
            Refusal::Row(reason) => {
                self.takes = true;
                reason
            }
            Refusal::Unclear(reason) => reason,
        };
        self.refused.push(RefusedRow { index: piece.start, reason });
    }

    /// What was found.
    ///
    /// # Errors
    ///
    /// [`StoreError::Sink`] when no row was taken, and none was clearly at fault: then it is the table.
    pub(crate) fn found(self) -> Result<Vec<RefusedRow>, StoreError> {
        match self.refused.first() {
            Some(first) if !self.takes => Err(StoreError::Sink(first.reason.clone())),
            _ => Ok(self.refused),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Searches among rows of which these are refused, and counts the statements.
    fn search(rows: usize, bad: &[usize], refusal: fn(String) -> Refusal) -> (Result<Vec<usize>, StoreError>, usize) {
        let (mut search, mut statements) = (RowSearch::new(rows), 0);
        while let Some(piece) = search.next_piece() {
            statements += 1;
            match bad.iter().find(|row| piece.contains(row)) {
                Some(row) => search.refused(piece, refusal(format!("row {row}"))),
                None => search.taken(),
            }
        }
        let found = search.found().map(|rows| {
            rows.into_iter()
                .map(|row| {
                    assert_eq!(row.reason, format!("row {}", row.index));
                    row.index
                })
                .collect()
        });
        (found, statements)
    }

    #[test]
    fn every_set_of_refused_rows_is_found_exactly() {
        for rows in 0..=8_usize {
            for set in 0..1_u32 << rows {
                let bad: Vec<usize> = (0..rows).filter(|row| set & (1 << row) != 0).collect();
                let (found, _) = search(rows, &bad, Refusal::Row);
                assert_eq!(found.expect("rows are at fault"), bad, "of {rows}");
            }
        }
    }

    #[test]
    fn one_culprit_costs_few_statements() {
        for culprit in 0..500 {
            let (found, statements) = search(500, &[culprit], Refusal::Unclear);
            assert_eq!(found.expect("a row"), [culprit]);
            assert!(statements <= 2 * 9 + 1, "{statements}");
        }
    }

    #[test]
    fn a_table_that_takes_no_row_at_all_is_at_fault_itself() {
        let (found, _) = search(5, &[0, 1, 2, 3, 4], Refusal::Unclear);
        assert!(matches!(found, Err(StoreError::Sink(reason)) if reason == "row 0"));
        assert_eq!(search(5, &[0, 1, 2, 3], Refusal::Unclear).0.expect("rows"), [0, 1, 2, 3]);
    }
}
