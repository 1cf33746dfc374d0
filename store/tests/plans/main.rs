//! What the statements read: over a long history, and beside backlogs that may not be claimed, each transition and each
//! view reads what it needs, and not what is there.
//!
//! The stores' own methods run against a database full of rows, and the database itself says how much it read:
//! PostgreSQL how many rows and index entries, SQLite how many instructions of its virtual machine. Nothing here
//! measures time. On both, the plans of the statements that were sent are looked at as well: no large table is read from
//! end to end, and none in the order of its key in search of a few rows.

#![expect(clippy::print_stdout, reason = "a test that fails shows what it printed: how much each step read")]

#[allow(dead_code, reason = "the tests of what pages cost use more of it")]
mod history;
mod instructions;
mod operations;
mod postgres;
mod sqlite;
