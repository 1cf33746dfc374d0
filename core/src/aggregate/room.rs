//! How much room the values of a measure may take, and how much they do.

/// The most distinct values that one measure keeps, counting groups and their contents together.
pub const VALUES_MAX: u64 = 100_000;

/// The most bytes of text that those values may have together: 8 MiB.
pub const VALUES_BYTES_MAX: u64 = 8 * 1024 * 1024;

/// The most different values of one measure of one group that are kept exactly, for `distinct` and `median`.
pub const CELL_VALUES_MAX: u64 = 4_096;

/// The most bytes of text that those values may have.
pub(super) const CELL_BYTES_MAX: u64 = 64 * 1024;

/// What such a measure of a group takes at most of the room of all: about what its sketch takes.
pub(super) const CELL_CHARGE_MAX: u64 = 8 * 1024;

/// How much room the values take. Only ever grows.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Room {
    pub(super) values: u64,
    pub(super) bytes: u64,
}

impl Room {
    pub(super) fn of(key: &str) -> Self {
        Self { values: 1, bytes: key.len() as u64 }
    }

    pub(super) fn plus(self, other: Self) -> Self {
        Self { values: self.values + other.values, bytes: self.bytes + other.bytes }
    }

    pub(super) fn less(self, other: Self) -> Self {
        Self { values: self.values.saturating_sub(other.values), bytes: self.bytes.saturating_sub(other.bytes) }
    }

    pub(super) fn over(self) -> bool {
        self.values > VALUES_MAX || self.bytes > VALUES_BYTES_MAX
    }
}
