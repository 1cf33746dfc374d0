//! How programs reach into values: `.a`, `.[0]`, `.[1:]`, `.[]`, and how they set what is there.

use std::fmt;
use std::ops::Range as Bounds;
use std::rc::Rc;

use jaq_core::box_iter::{BoxIter, box_once};
use jaq_core::path::Opt;
use jaq_core::{Error, Exn, ValT, ValX};

use super::meter;
use super::number::Num;
use super::operators::Valued;
use super::value::{Dict, List, Map, Shown, Text, Val};

/// Returns the place of an index in a list, counted from its end when negative. `None`: before its beginning.
fn place(index: &Num, length: usize) -> Option<usize> {
    let index = index.float().floor();
    let index = if index < 0.0 { index + length as f64 } else { index };
    // A place beyond all memory stays one.
    (index >= 0.0).then_some(index as usize)
}

fn bounds(range: &Bounds<Option<&Val>>, length: usize) -> Result<Bounds<usize>, Error<Val>> {
    let bound = |value: Option<&Val>, default: f64, round: fn(f64) -> f64| match value {
        None | Some(Val::Null) => Ok(default),
        Some(Val::Num(number)) if !number.is_nan() => {
            let number = number.float();
            let number = if number < 0.0 { number + length as f64 } else { number };
            Ok(round(number).clamp(0.0, length as f64))
        }
        Some(Val::Num(_)) => Ok(default),
        Some(other) => {
            Err(Error::str(format_args!("the bounds of a slice must be numbers, but one is {}", Shown(other))))
        }
    };
    let start = bound(range.start, 0.0, f64::floor)? as usize;
    let end = bound(range.end, length as f64, f64::ceil)? as usize;
    Ok(start..end.max(start))
}

/// Returns the letters of a text in these places.
fn letters(text: &str, range: &Bounds<usize>) -> String {
    meter::touch(text.len());
    text.chars().skip(range.start).take(range.end - range.start).collect()
}

/// The bounds that an object `{"start": …, "end": …}` means as an index.
fn bounds_of(dict: &Dict) -> Bounds<Option<&Val>> {
    dict.get("start")..dict.get("end")
}

fn is_range(dict: &Dict) -> bool {
    dict.contains_key("start") || dict.contains_key("end")
}

fn unfit_index(value: &Val, index: &Val) -> Error<Val> {
    Error::str(format_args!("Cannot index {} with {}", value.kind(), Shown(index)))
}

fn unfit_iteration(value: &Val) -> Error<Val> {
    Error::str(format_args!("Cannot iterate over {}", Shown(value)))
}

/// Returns the places where a list occurs in another.
fn occurrences(list: &[Val], part: &[Val]) -> Val {
    if part.is_empty() {
        return Val::list(Vec::new());
    }
    let places = (0..list.len()).filter(|place| {
        meter::work(1);
        list[*place..].starts_with(part)
    });
    Val::list(places.map(Val::count).collect())
}

impl ValT for Val {
    fn from_num(text: &str) -> Valued {
        Num::read(text).map(Self::Num).ok_or_else(|| Error::str(format_args!("{text} is not a number")))
    }

    fn from_map<I: IntoIterator<Item = (Self, Self)>>(entries: I) -> Valued {
        let entries = entries.into_iter().map(|(key, value)| match key {
            Self::Str(key) => Ok((key, value)),
            other => Err(Error::str(format_args!("Cannot use {} as object key", Shown(&other)))),
        });
        entries.collect::<Result<Map, _>>().map(Self::dict)
    }

    fn key_values(self) -> BoxIter<'static, Result<(Self, Self), Error<Self>>> {
        match self {
            Self::Arr(list) => {
                meter::work(list.len());
                let pairs = List::into_items(list).into_iter().enumerate();
                Box::new(pairs.map(|(place, value)| Ok((Self::count(place), value))))
            }
            Self::Obj(dict) => {
                meter::work(dict.len());
                Box::new(Dict::into_map(dict).into_iter().map(|(key, value)| Ok((Self::Str(key), value))))
            }
            other => box_once(Err(unfit_iteration(&other))),
        }
    }

    fn values(self) -> Box<dyn Iterator<Item = Valued>> {
        match self {
            // Each of them, as several steps of a path may be followed without another term.
            Self::Arr(list) => {
                meter::work(1 + list.len());
                Box::new(List::into_items(list).into_iter().map(Ok))
            }
            Self::Obj(dict) => {
                meter::work(1 + dict.len());
                Box::new(Dict::into_map(dict).into_values().map(Ok))
            }
            other => box_once(Err(unfit_iteration(&other))),
        }
    }

    fn index(self, index: &Self) -> Valued {
        meter::look();
        match (&self, index) {
            (Self::Obj(dict), Self::Str(key)) => Ok(dict.get(&**key).cloned().unwrap_or_default()),
            (Self::Arr(list), Self::Num(index)) => {
                let found = place(index, list.len()).and_then(|place| list.get(place));
                Ok(found.cloned().unwrap_or_default())
            }
            (Self::Null, Self::Str(_) | Self::Num(_)) => Ok(Self::Null),
            (Self::Arr(list), Self::Arr(part)) => Ok(occurrences(list, part)),
            (Self::Arr(_) | Self::Str(_) | Self::Null, Self::Obj(range)) if is_range(range) => {
                self.range(bounds_of(range))
            }
            _ => Err(unfit_index(&self, index)),
        }
    }

    fn range(self, range: Bounds<Option<&Self>>) -> Valued {
        meter::look();
        match &self {
            Self::Null => bounds(&range, 0).map(|_| Self::Null),
            Self::Arr(list) => bounds(&range, list.len()).map(|range| Self::list(list[range].to_vec())),
            Self::Str(text) => bounds(&range, text.chars().count()).map(|range| Self::text(letters(text, &range))),
            _ => Err(Error::str(format_args!("Cannot index {} with object", self.kind()))),
        }
    }

    fn map_values<'a, I: Iterator<Item = ValX<'a, Self>>>(
        self,
        opt: Opt,
        change: impl Fn(Self) -> I,
    ) -> ValX<'a, Self> {
        match self {
            Self::Arr(list) => {
                let changed = List::into_items(list).into_iter().filter_map(|value| change(value).next());
                changed.collect::<Result<Vec<_>, _>>().map(Self::list)
            }
            Self::Obj(dict) => {
                let changed = Dict::into_map(dict)
                    .into_iter()
                    .filter_map(|(key, value)| change(value).next().map(|value| Ok((key, value?))));
                changed.collect::<Result<Map, Exn<'a, Self>>>().map(Self::dict)
            }
            other => opt.fail(other, |value| Exn::from(unfit_iteration(&value))),
        }
    }

    fn map_index<'a, I: Iterator<Item = ValX<'a, Self>>>(
        self,
        index: &Self,
        opt: Opt,
        change: impl Fn(Self) -> I,
    ) -> ValX<'a, Self> {
        match (self, index) {
            (value @ (Self::Null | Self::Obj(_)), Self::Str(key)) => set_key(value, key, change),
            (value @ (Self::Null | Self::Arr(_)), Self::Num(index)) => set_place(value, index, opt, change),
            (value @ (Self::Null | Self::Arr(_) | Self::Str(_)), Self::Obj(range)) if is_range(range) => {
                value.map_range(bounds_of(range), opt, change)
            }
            (value, _) => opt.fail(value, |value| Exn::from(unfit_index(&value, index))),
        }
    }

    fn map_range<'a, I: Iterator<Item = ValX<'a, Self>>>(
        self,
        range: Bounds<Option<&Self>>,
        opt: Opt,
        change: impl Fn(Self) -> I,
    ) -> ValX<'a, Self> {
        let fail = |value: Self, problem: Error<Self>| opt.fail(value, |_| Exn::from(problem));
        let mut list = match self {
            Self::Arr(list) => list,
            Self::Null => match Self::list(Vec::new()) {
                Self::Arr(list) => list,
                other => return Ok(other),
            },
            Self::Str(_) => return fail(self, Error::str("Cannot update string slices")),
            other => {
                let problem = Error::str(format_args!("Cannot update a slice of {}", Shown(&other)));
                return fail(other, problem);
            }
        };
        let range = match bounds(&range, list.len()) {
            Ok(range) => range,
            Err(problem) => return fail(Self::Arr(list), problem),
        };
        let new = match change(Self::list(list[range.clone()].to_vec())).next().transpose()? {
            Some(Self::Arr(new)) => new,
            None => return set_slice(list, range, &[], 0),
            Some(_) => {
                let problem = Error::str("A slice of an array can only be assigned another array");
                return fail(Self::Arr(list), problem);
            }
        };
        let depth = Self::Arr(Rc::clone(&new)).depth().saturating_sub(1);
        meter::reserve(size_of::<Self>() * new.len());
        List::edit(&mut list, |items| drop(items.splice(range, new.iter().cloned())), depth);
        Ok(Self::Arr(list))
    }

    fn as_bool(&self) -> bool {
        !matches!(self, Self::Null | Self::Bool(false))
    }

    fn into_string(self) -> Self {
        match self {
            Self::Str(_) => self,
            other => Self::text(super::json::written(&other)),
        }
    }
}

fn set_slice<'a>(mut list: Rc<List>, range: Bounds<usize>, new: &[Val], depth: usize) -> ValX<'a, Val> {
    List::edit(&mut list, |items| drop(items.splice(range, new.iter().cloned())), depth);
    Ok(Val::Arr(list))
}

/// Sets or removes a key of an object; null is an empty one.
fn set_key<'a, I: Iterator<Item = ValX<'a, Val>>>(value: Val, key: &Text, change: impl Fn(Val) -> I) -> ValX<'a, Val> {
    let mut dict = match value {
        Val::Obj(dict) => dict,
        _ => {
            let Some(new) = change(Val::Null).next().transpose()? else { return Ok(Val::Null) };
            return Ok(Val::dict(Map::from([(key.clone(), new)])));
        }
    };
    // Taken out, so that the change need not copy it.
    let old = Dict::edit(&mut dict, |map| map.get_mut(&**key).map(std::mem::take), 0);
    match change(old.unwrap_or_default()).next().transpose()? {
        Some(new) => {
            let depth = new.depth();
            Dict::edit(&mut dict, |map| map.insert(key.clone(), new), depth);
        }
        None => drop(Dict::edit(&mut dict, |map| map.shift_remove(&**key), 0)),
    }
    Ok(Val::Obj(dict))
}

/// Sets or removes an element of an array; null is an empty one, and what lies between is filled with null.
fn set_place<'a, I: Iterator<Item = ValX<'a, Val>>>(
    value: Val,
    index: &Num,
    opt: Opt,
    change: impl Fn(Val) -> I,
) -> ValX<'a, Val> {
    let absent = matches!(value, Val::Null);
    let mut list = match if absent { Val::list(Vec::new()) } else { value } {
        Val::Arr(list) => list,
        other => return Ok(other),
    };
    let Some(place) = place(index, list.len()) else {
        let value = if absent { Val::Null } else { Val::Arr(list) };
        let outside = || Exn::from(Error::str("Out of bounds negative array index"));
        return opt.fail(value, |_| outside());
    };
    let old = (place < list.len()).then(|| List::edit(&mut list, |items| std::mem::take(&mut items[place]), 0));
    match change(old.unwrap_or_default()).next().transpose()? {
        Some(new) => {
            let depth = new.depth();
            let lacking = (place + 1).saturating_sub(list.len());
            meter::reserve(lacking.saturating_mul(size_of::<Val>()));
            List::edit(
                &mut list,
                |items| {
                    items.resize(items.len() + lacking, Val::Null);
                    items[place] = new;
                },
                depth,
            );
        }
        None if place < list.len() => drop(List::edit(&mut list, |items| items.remove(place), 0)),
        None if absent => return Ok(Val::Null),
        None => {}
    }
    Ok(Val::Arr(list))
}

impl From<bool> for Val {
    fn from(truth: bool) -> Self {
        Self::Bool(truth)
    }
}

impl From<isize> for Val {
    fn from(number: isize) -> Self {
        Self::int(number as i128)
    }
}

impl From<usize> for Val {
    fn from(number: usize) -> Self {
        Self::count(number)
    }
}

impl From<f64> for Val {
    fn from(number: f64) -> Self {
        Self::float(number)
    }
}

impl From<String> for Val {
    fn from(text: String) -> Self {
        Self::text(text)
    }
}

/// The bounds of a slice in a path.
impl From<Bounds<Option<Self>>> for Val {
    fn from(range: Bounds<Option<Self>>) -> Self {
        Self::object([("start", range.start.unwrap_or_default()), ("end", range.end.unwrap_or_default())])
    }
}

impl FromIterator<Self> for Val {
    fn from_iter<T: IntoIterator<Item = Self>>(values: T) -> Self {
        let mut items = Vec::new();
        for value in values {
            meter::work(1);
            // What is not yet held by a list is watched all the same.
            if items.len() == items.capacity() {
                meter::reserve(2 * size_of::<Self>() * items.len());
            }
            items.push(value);
        }
        Self::list(items)
    }
}

impl fmt::Display for Val {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&super::json::written(self))
    }
}
