//! Pictures, drawn here as SVG: each has a title, and a table with the same beside it.
