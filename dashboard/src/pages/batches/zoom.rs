//! The chunks of a batch that are looked at, as the address has them.

use std::str::FromStr;

use gristmill_core::schema::{PartialSchema, text};
use utoipa::openapi::{RefOr, Schema};

/// The chunks that are shown, by their numbers: all unless said.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Zoom {
    first: u64,
    last: u64,
}

impl Default for Zoom {
    fn default() -> Self {
        Self { first: 0, last: u64::MAX }
    }
}

impl FromStr for Zoom {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let ends = text.split_once('-').and_then(|(first, last)| Some((first.parse().ok()?, last.parse().ok()?)));
        let sane = ends.filter(|(first, last)| first <= last && *last < i64::MAX as u64);
        let (first, last) = sane.ok_or_else(|| format!("`{text}` is no range; write one such as 1000-1999"))?;
        Ok(Self { first, last })
    }
}

impl PartialSchema for Zoom {
    fn schema() -> RefOr<Schema> {
        text("the first and the last number", "1000-1999")
    }
}

impl Zoom {
    /// The part of it that a batch of so many chunks has, and how many chunks that are.
    pub(super) fn within(self, chunks: u64) -> (u64, u64) {
        let first = self.first.min(chunks.saturating_sub(1));
        (first, self.last.min(chunks.saturating_sub(1)).saturating_sub(first).saturating_add(u64::from(chunks > 0)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_in_the_address_is_cut_to_what_there_is() {
        let zoom = |text: &str| text.parse::<Zoom>();
        assert_eq!(zoom("10-19").expect("a range").within(1_000), (10, 10));
        assert_eq!(zoom("990-2000").expect("a range").within(1_000), (990, 10));
        assert_eq!(zoom("5000-6000").expect("a range").within(1_000), (999, 1));
        assert_eq!(Zoom::default().within(1_000), (0, 1_000));
        assert_eq!(Zoom::default().within(0), (0, 0));
        for odd in ["", "7", "9-3", "a-b", "-1-2", "0-9223372036854775807"] {
            zoom(odd).expect_err(odd);
        }
    }
}
