//! How much room the values of a measure may take, and how much they do.
//!
//! What is charged is what the allocator gives out, not what the texts have: a group of one letter takes some hundred
//! bytes. It depends on nothing but the set of values, so that a bound on it is passed or not in any order.

/// The most distinct values that one measure keeps, counting groups and their contents together.
pub const VALUES_MAX: u64 = 100_000;

/// The most bytes of text of the values that `distinct` keeps of all items: 8 MiB.
pub const VALUES_BYTES_MAX: u64 = 8 * 1024 * 1024;

/// The most different values of one measure of one group that are kept exactly, for `distinct` and `median`.
pub const CELL_VALUES_MAX: u64 = 4_096;

/// The most bytes of text that those values may have, for `distinct`: 64 KiB.
pub const CELL_BYTES_MAX: u64 = 64 * 1024;

/// The most memory that the groups or values of one measure take, with all that is kept for them: 256 MiB.
pub const ROOM_BYTES_MAX: u64 = 256 * 1024 * 1024;

/// How much room the values take. Only ever grows.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Room {
    pub(super) values: u64,
    pub(super) bytes: u64,
}

impl Room {
    /// Of memory alone.
    pub(super) fn of_bytes(bytes: u64) -> Self {
        Self { values: 0, bytes }
    }

    /// Of an entry in a tree from a text to so many bytes.
    pub(super) fn of(key: &str, value: usize) -> Self {
        Self { values: 1, bytes: entry(size_of::<String>() + value) + heap(key.len()) }
    }

    pub(super) fn plus(self, other: Self) -> Self {
        Self { values: self.values + other.values, bytes: self.bytes + other.bytes }
    }

    pub(super) fn less(self, other: Self) -> Self {
        Self { values: self.values.saturating_sub(other.values), bytes: self.bytes.saturating_sub(other.bytes) }
    }

    pub(super) fn over(self) -> bool {
        self.values > VALUES_MAX || self.bytes > ROOM_BYTES_MAX
    }
}

/// The share of a tree's nodes that an entry of so many bytes takes. A node has room for eleven, and six of them are
/// taken when the entries come sorted; every seventh node stands above others and has their addresses.
pub(super) const fn entry(bytes: usize) -> u64 {
    const CAPACITY: usize = 11;
    const TAKEN: usize = 6;
    const HEAD: usize = 16;
    const ADDRESSES: usize = 96;
    let node = CAPACITY * bytes + HEAD;
    (node / TAKEN + (node + ADDRESSES) / (TAKEN * (TAKEN + 1))) as u64
}

/// The bytes that an allocator takes for so many.
pub(super) const fn heap(bytes: usize) -> u64 {
    match bytes {
        0 => 0,
        1..=24 => 32,
        more => (more + 8).next_multiple_of(16) as u64,
    }
}
