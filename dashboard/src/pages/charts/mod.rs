//! Pictures, drawn here as SVG: each has a title, and a table with the same beside it.
//!
//! * [`heat`]: a field of cells.
//! * [`strip`](mod@strip): a row of cells, small enough for a table.

pub mod heat;
pub mod strip;
