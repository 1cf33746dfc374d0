//! The running state of one measure.
//!
//! A tally is a value of a commutative monoid: merging is associative and commutative, and the empty tally changes
//! nothing. Whatever grows with the number of distinct values (groups, distinct, top) is bounded; beyond the bound the
//! tally is [`Bounded::Over`] for good. Because a union only ever grows, this outcome too does not depend on the order
//! in which the parts are merged.

use std::borrow::Cow;
use std::cmp::Ordering;
use std::collections::BTreeMap;

use rust_decimal::Decimal;
use serde::{Deserialize, Serialize};

use super::distinct::Distinct;
use super::exact::Exact;
use super::median::Median;
use super::room::{Room, heap};
use super::scalar::Scalar;
use super::sketch::{Sketch, approximate};

/// The running state of one measure.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Tally {
    Count(u64),
    Sum(Exact),
    Min(Option<Scalar<'static>>),
    Max(Option<Scalar<'static>>),
    Mean {
        sum: Exact,
        count: u64,
    },
    /// Top, and distinct values in parts of older versions: how often each value occurred, by its [key](super::key).
    Values(Bounded<u64>),
    Distinct(Distinct),
    Median(Median),
    Quantiles(Sketch),
    Groups(Bounded<Tally>),
    /// Several measures of one group, in the order of the definition.
    Row(Vec<Tally>),
}

/// What one item contributes to a tally, and to which group's, where there are groups.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Sample<'a> {
    pub(super) group: Option<Cow<'a, str>>,
    pub(super) share: Share<'a>,
}

/// What one item contributes to one measure.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Share<'a> {
    /// The item contributes nothing: its field is null, or it is not counted.
    Nothing,
    One,
    Number(Decimal),
    Scalar(Scalar<'a>),
    Value(Cow<'a, str>),
    /// One for each measure of a row.
    Row(Vec<Share<'a>>),
}

/// An entry for each value, as long as there are not too many values.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Bounded<T> {
    Within(BTreeMap<String, T>),
    Over,
}

impl<T> Default for Bounded<T> {
    fn default() -> Self {
        Self::Within(BTreeMap::new())
    }
}

/// What the digits of a sum take that is longer than a machine number.
const SUM_BYTES: u64 = heap(32);

/// The text with no more memory than it needs: one that was put together has some to spare.
fn exactly(text: Cow<'_, str>) -> String {
    let mut text = text.into_owned();
    text.shrink_to_fit();
    text
}

/// Two tallies that cannot be merged, because they come from different definitions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Unlike;

impl Tally {
    /// Adds what one item contributes. `empty` makes the tally of a group that appears for the first time. Returns how
    /// much room that took.
    pub(super) fn add(&mut self, sample: Sample<'_>, empty: &dyn Fn() -> Self) -> Result<Room, Unlike> {
        let Sample { group: Some(key), share } = sample else { return self.take(sample.share) };
        match self {
            Self::Groups(Bounded::Within(groups)) => {
                if let Some(group) = groups.get_mut(&*key) {
                    return group.take(share);
                }
                let mut group = empty();
                let room = Room::of(&key, size_of::<Self>()).plus(group.room()).plus(group.take(share)?);
                groups.insert(exactly(key), group);
                Ok(room)
            }
            Self::Groups(Bounded::Over) => Ok(Room::default()),
            _ => Err(Unlike),
        }
    }

    fn take(&mut self, share: Share<'_>) -> Result<Room, Unlike> {
        match (self, share) {
            (_, Share::Nothing) => {}
            (Self::Count(count), Share::One) => *count += 1,
            (Self::Sum(sum), Share::Number(number)) => sum.add_decimal(number),
            (Self::Mean { sum, count }, Share::Number(number)) => {
                sum.add_decimal(number);
                *count += 1;
            }
            (Self::Min(least), Share::Scalar(scalar)) => keep(least, scalar, Ordering::Less),
            (Self::Max(greatest), Share::Scalar(scalar)) => keep(greatest, scalar, Ordering::Greater),
            (Self::Quantiles(sketch), Share::Number(number)) => {
                let before = sketch.bytes();
                sketch.add(approximate(&number));
                return Ok(Room::of_bytes(sketch.bytes() - before));
            }
            (Self::Values(Bounded::Within(values)), Share::Value(value)) => {
                if let Some(count) = values.get_mut(&*value) {
                    *count += 1;
                    return Ok(Room::default());
                }
                let room = Room::of(&value, size_of::<u64>());
                values.insert(exactly(value), 1);
                return Ok(room);
            }
            (Self::Values(Bounded::Over), Share::Value(_)) => {}
            (Self::Distinct(distinct), Share::Value(value)) => return Ok(distinct.add(&value)),
            (Self::Median(median), Share::Number(number)) => return Ok(median.add(number)),
            (Self::Row(row), Share::Row(shares)) if row.len() == shares.len() => {
                let mut room = Room::default();
                for (tally, share) in row.iter_mut().zip(shares) {
                    room = room.plus(tally.take(share)?);
                }
                return Ok(room);
            }
            _ => return Err(Unlike),
        }
        Ok(Room::default())
    }

    /// Adds another part of the same measure and returns how much room its new values take. Does not check the bound.
    pub(super) fn merge(&mut self, other: Self) -> Result<Room, Unlike> {
        match (self, other) {
            (Self::Count(one), Self::Count(two)) => *one += two,
            (Self::Sum(one), Self::Sum(two)) => one.add(&two),
            (Self::Mean { sum, count }, Self::Mean { sum: more, count: further }) => {
                sum.add(&more);
                *count += further;
            }
            (Self::Min(least), Self::Min(Some(scalar))) => keep(least, scalar, Ordering::Less),
            (Self::Max(greatest), Self::Max(Some(scalar))) => keep(greatest, scalar, Ordering::Greater),
            (Self::Min(_), Self::Min(None)) | (Self::Max(_), Self::Max(None)) => {}
            (Self::Quantiles(one), Self::Quantiles(two)) => {
                let before = one.bytes();
                one.merge(&two);
                return Ok(Room::of_bytes(one.bytes() - before));
            }
            (Self::Values(one), Self::Values(two)) => {
                let add = |count: &mut u64, more: u64| {
                    *count += more;
                    Ok(Room::default())
                };
                return one.merge(two, |_| Room::default(), add);
            }
            (Self::Groups(one), Self::Groups(two)) => return one.merge(two, Self::room, Self::merge),
            (Self::Median(one), Self::Median(two)) => return Ok(one.merge(two)),
            (Self::Distinct(one), Self::Distinct(two)) => return Ok(one.merge(two)),
            // Parts of an older version.
            (Self::Distinct(one), Self::Values(Bounded::Within(two))) => {
                return Ok(two.keys().fold(Room::default(), |room, key| room.plus(one.add(key))));
            }
            (mine @ Self::Distinct(_), Self::Values(Bounded::Over)) => *mine = Self::Values(Bounded::Over),
            (mine @ Self::Values(_), Self::Distinct(distinct)) => {
                let (before, values) = (mine.room(), std::mem::replace(mine, Self::Distinct(distinct)));
                mine.merge(values)?;
                return Ok(mine.room().less(before));
            }
            (Self::Row(one), Self::Row(two)) if one.len() == two.len() => {
                let mut room = Room::default();
                for (mine, theirs) in one.iter_mut().zip(two) {
                    room = room.plus(mine.merge(theirs)?);
                }
                return Ok(room);
            }
            _ => return Err(Unlike),
        }
        Ok(Room::default())
    }

    /// How much room all its values take, beside the tally itself.
    pub(super) fn room(&self) -> Room {
        match self {
            Self::Values(Bounded::Within(values)) => {
                values.keys().fold(Room::default(), |room, key| room.plus(Room::of(key, size_of::<u64>())))
            }
            Self::Groups(Bounded::Within(groups)) => groups.iter().fold(Room::default(), |room, (key, tally)| {
                room.plus(Room::of(key, size_of::<Self>())).plus(tally.room())
            }),
            Self::Distinct(distinct) => distinct.room(),
            Self::Median(median) => median.room(),
            Self::Quantiles(sketch) => Room::of_bytes(sketch.bytes()),
            Self::Row(row) => {
                let own = Room::of_bytes(heap(size_of_val(row.as_slice())));
                row.iter().fold(own, |room, tally| room.plus(tally.room()))
            }
            // The digits that a sum has when it was merged or got long; a sum of ever more of them would take ages.
            Self::Sum(_) | Self::Mean { .. } => Room::of_bytes(SUM_BYTES),
            _ => Room::default(),
        }
    }

    /// Drops values that exceed the bound.
    pub(super) fn give_up(&mut self) {
        match self {
            Self::Values(values) => *values = Bounded::Over,
            Self::Groups(groups) => *groups = Bounded::Over,
            _ => {}
        }
    }
}

impl<T> Bounded<T> {
    /// Adds the values of another part. `room` returns how much a new value takes beside its key, `join` adds to an
    /// existing one. Returns how much the values have grown, so that the caller need not recount them all.
    fn merge(
        &mut self,
        other: Self,
        room: impl Fn(&T) -> Room,
        join: impl Fn(&mut T, T) -> Result<Room, Unlike>,
    ) -> Result<Room, Unlike> {
        let mut grown = Room::default();
        match (&mut *self, other) {
            (Self::Over, _) => {}
            (_, Self::Over) => *self = Self::Over,
            (Self::Within(mine), Self::Within(theirs)) => {
                for (key, value) in theirs {
                    match mine.entry(key) {
                        std::collections::btree_map::Entry::Occupied(mut entry) => {
                            grown = grown.plus(join(entry.get_mut(), value)?);
                        }
                        std::collections::btree_map::Entry::Vacant(entry) => {
                            grown = grown.plus(Room::of(entry.key(), size_of::<T>())).plus(room(&value));
                            entry.insert(value);
                        }
                    }
                }
            }
        }
        Ok(grown)
    }
}

fn keep(kept: &mut Option<Scalar<'static>>, scalar: Scalar<'_>, wanted: Ordering) {
    if kept.as_ref().is_none_or(|known| scalar.cmp(known) == wanted) {
        *kept = Some(scalar.into_owned());
    }
}
