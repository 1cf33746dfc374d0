//! What the pages cost: over a long history no page asks the store more than twelve times or reads more than a page needs.
//!
//! The history is that of `store/tests/plans/`, with what pages show besides. The databases themselves say how much they
//! read: PostgreSQL how many rows and index entries, SQLite how many instructions of its virtual machine. Nothing here
//! measures time: `make pages` does.

#![expect(clippy::print_stdout, reason = "a test that fails shows what it printed: what each page read")]

mod counted;
#[path = "../api/env.rs"]
#[allow(dead_code, reason = "the API's tests use more of it")]
mod env;
#[path = "../../../store/tests/plans/history.rs"]
#[allow(dead_code, reason = "the store's tests use more of it")]
mod history;
#[path = "../../../store/tests/plans/instructions.rs"]
mod instructions;
mod past;
mod postgres;
mod sqlite;
