//! How much stack a thread may use for work that recurses.
//!
//! Threads differ: those for items have a large stack, others what the runtime or a test gives them. Work that recurses
//! on what strangers send asks for the room of its thread and stops before it ends.

use std::cell::Cell;

/// What a thread that has said nothing may use: half of the two megabytes that Rust gives one.
const UNKNOWN_BYTES: usize = 1024 * 1024;

thread_local! {
    static ROOM: Cell<usize> = const { Cell::new(UNKNOWN_BYTES) };
}

/// Says that this thread has a stack of so many bytes. A part stays free for what is called at the deepest place.
pub(crate) fn declare(bytes: usize) {
    ROOM.with(|room| room.set(bytes * 3 / 8));
}

/// How many bytes of stack recursing work may use on this thread.
pub(crate) fn room() -> usize {
    ROOM.with(Cell::get)
}
