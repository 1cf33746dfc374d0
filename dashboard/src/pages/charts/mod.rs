//! Pictures, drawn here as SVG: each has a title, and a table with the same beside it.
//!
//! * [`heat`]: a field of cells.
//! * [`month`](mod@month): a month of slots.
//! * [`strip`](mod@strip): a row of cells, small enough for a table.

pub mod heat;
pub mod month;
pub mod strip;
