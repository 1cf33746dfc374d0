//! Pictures, drawn here as SVG: each has a title, and a table with the same beside it.
//!
//! * [`heat`]: a field of cells.
//! * [`month`](mod@month): a month of slots.
//! * [`strip`](mod@strip): a row of cells, small enough for a table.
//! * [`gantt`](mod@gantt): what ran when, and beside what.
//! * [`throughput`](mod@throughput): how much passed. [`bands`](mod@bands): how long it took, over time.
//! * [`track`](mod@track): what was said of an end before.
//! * [`histogram`](mod@histogram): how many took how long. [`spark`](mod@spark): counts over time, small enough for a table.

pub mod bands;
pub mod gantt;
pub mod heat;
pub mod histogram;
pub mod month;
mod plot;
pub mod spark;
pub mod strip;
pub mod throughput;
pub mod track;
