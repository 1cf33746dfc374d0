//! The short way through the stages, for rows of separated values.
//!
//! A row is a list of texts under names that are the same for all rows of a file. Whatever the stages do to it is done
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

pub(crate) use plan::RowPlan;
