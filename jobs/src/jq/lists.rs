//! Functions over arrays, objects and paths.

use std::cmp::Ordering;

use jaq_core::native::{run, v};
use jaq_core::path::Opt;
use jaq_core::{Error, Exn, ValT, ValX};

use super::meter;
use super::native::{Fun, function0, function1, function2};
use super::number::Num;
use super::operators::{Valued, sort};
use super::texts::string;
use super::value::{List, Shown, Val};

/// All functions of this kind.
pub(super) fn funs() -> Vec<Fun> {
    vec![
        function0!("type", |value| Ok(Val::text(value.kind()))),
        function0!("length", |value| length(value)),
        function0!("keys", |value| keys(value, true)),
        function0!("keys_unsorted", |value| keys(value, false)),
        function1!("has", |value, key| has(&value, &key)),
        function1!("contains", |value, part| contains(&value, &part).map(Val::Bool)),
        function1!("indices", |value, part| indices(value, &part)),
        function0!("sort", |value| Ok(Val::list(sorted(value, "sorted")?))),
        function0!("unique", |value| {
            let mut items = sorted(value, "sorted")?;
            items.dedup();
            Ok(Val::list(items))
        }),
        function0!("min", |value| Ok(extreme(items(value, "searched")?, Ordering::Less))),
        function0!("max", |value| Ok(extreme(items(value, "searched")?, Ordering::Greater))),
        function0!("reverse", |value| reverse(value)),
        function1!("_sort_by", |value, keys| Ok(Val::list(
            by_keys(value, keys)?.into_iter().map(|(_, v)| v).collect()
        ))),
        function1!("_group_by", |value, keys| {
            Ok(Val::list(groups(by_keys(value, keys)?).into_iter().map(Val::list).collect()))
        }),
        function1!("_unique_by", |value, keys| {
            let firsts = groups(by_keys(value, keys)?).into_iter().filter_map(|group| group.into_iter().next());
            Ok(Val::list(firsts.collect()))
        }),
        function1!("_min_by", |value, keys| Ok(by_keys(value, keys)?
            .into_iter()
            .next()
            .map(|(_, v)| v)
            .unwrap_or_default())),
        function1!("_max_by", |value, keys| Ok(by_keys(value, keys)?.pop().map(|(_, v)| v).unwrap_or_default())),
        function1!("_flatten", |value, depth| flatten(value, &depth)),
        function1!("bsearch", |value, wanted| bsearch(&value, &wanted)),
        function2!("setpath", |value, path, new| set(value, steps(&path)?, &new)),
        function1!("delpaths", |value, paths| delete(value, &paths)),
        function0!("fromjson", |value| {
            super::json::read(string(&value, "fromjson")?).map_err(|why| Error::str(format_args!("fromjson: {why}")))
        }),
        function0!("tonumber", |value| tonumber(value)),
        function0!("toboolean", |value| toboolean(value)),
        run(("range", v(3), |mut cv| {
            let (by, to, from) = (cv.0.pop_var(), cv.0.pop_var(), cv.0.pop_var());
            match (from, to, by) {
                (Val::Num(from), Val::Num(to), Val::Num(by)) => Box::new(range(from, to, by)),
                _ => jaq_core::box_iter::box_once(Err(Exn::from(Error::str("Range bounds must be numeric")))),
            }
        })),
    ]
}

fn length(value: Val) -> Valued {
    Ok(match value {
        Val::Null => Val::int(0),
        Val::Bool(_) => return Err(Error::str(format_args!("{} has no length", Shown(&value)))),
        Val::Num(ref number) => {
            if number.float() < 0.0 {
                (-value)?
            } else {
                value
            }
        }
        Val::Str(text) => {
            meter::touch(text.len());
            Val::count(text.chars().count())
        }
        Val::Arr(list) => Val::count(list.len()),
        Val::Obj(dict) => Val::count(dict.len()),
    })
}

fn keys(value: Val, in_order: bool) -> Valued {
    match &value {
        Val::Arr(list) => Ok(Val::list((0..list.len()).map(Val::count).collect())),
        Val::Obj(dict) if in_order => Ok(Val::list(dict.sorted_keys().into_iter().map(Val::Str).collect())),
        Val::Obj(dict) => Ok(Val::list(dict.keys().cloned().map(Val::Str).collect())),
        other => Err(Error::str(format_args!("{} has no keys", Shown(other)))),
    }
}

fn has(value: &Val, key: &Val) -> Valued {
    match (value, key) {
        (Val::Null, Val::Str(_) | Val::Num(_)) => Ok(Val::Bool(false)),
        (Val::Obj(dict), Val::Str(key)) => Ok(Val::Bool(dict.contains_key(&**key))),
        (Val::Arr(list), Val::Num(place)) => Ok(Val::Bool(place.float() >= 0.0 && place.float() < list.len() as f64)),
        _ => Err(Error::str(format_args!("Cannot check whether {} has a key {}", value.kind(), Shown(key)))),
    }
}

/// Two booleans of which one is false are of different kinds here, as in jq.
fn contains(value: &Val, part: &Val) -> Result<bool, Error<Val>> {
    let booleans = matches!((value, part), (Val::Bool(one), Val::Bool(two)) if one != two);
    if booleans || value.kind() != part.kind() {
        return Err(Error::str(format_args!(
            "{} and {} cannot have their containment checked",
            Shown(value),
            Shown(part)
        )));
    }
    Ok(holds(value, part))
}

/// What is of another kind inside is not contained.
fn holds(value: &Val, part: &Val) -> bool {
    meter::term();
    match (value, part) {
        (Val::Obj(one), Val::Obj(two)) => {
            two.iter().all(|(key, part)| one.get(key).is_some_and(|value| holds(value, part)))
        }
        (Val::Arr(one), Val::Arr(two)) => two.iter().all(|part| one.iter().any(|value| holds(value, part))),
        (Val::Str(one), Val::Str(two)) => {
            meter::touch(one.len());
            one.contains(&**two)
        }
        _ => value.kind() == part.kind() && value == part,
    }
}

fn indices(value: Val, part: &Val) -> Valued {
    match (&value, part) {
        // An object could be a slice, of nothing.
        (Val::Null, Val::Obj(_)) => Ok(Val::Null),
        (Val::Arr(_), Val::Arr(_)) => value.index(part),
        (Val::Arr(_), _) => value.index(&Val::list(vec![part.clone()])),
        (Val::Str(text), Val::Str(part)) if part.is_empty() => {
            meter::touch(text.len());
            Ok(Val::list(Vec::new()))
        }
        (Val::Str(text), Val::Str(part)) => Ok(Val::list(places(text, part))),
        _ => value.index(part),
    }
}

/// Where a text occurs in another, overlapping too, counted in letters.
fn places(text: &str, part: &str) -> Vec<Val> {
    let mut found = Vec::new();
    for (letters, (at, _)) in text.char_indices().enumerate() {
        meter::work(1);
        if text[at..].starts_with(part) {
            found.push(Val::count(letters));
        }
    }
    found
}

fn items(value: Val, what: &str) -> Result<Vec<Val>, Error<Val>> {
    match value {
        Val::Arr(list) => Ok(List::into_items(list)),
        other => Err(Error::str(format_args!("{} cannot be {what}, as it is not an array", Shown(&other)))),
    }
}

fn sorted(value: Val, what: &str) -> Result<Vec<Val>, Error<Val>> {
    let mut items = items(value, what)?;
    sort(&mut items);
    Ok(items)
}

/// The least, or the last of the greatest.
fn extreme(items: Vec<Val>, wanted: Ordering) -> Val {
    let better = |best: Val, next: Val| {
        let order = next.cmp(&best);
        if order == wanted || (order.is_eq() && wanted.is_gt()) { next } else { best }
    };
    items.into_iter().reduce(better).unwrap_or_default()
}

fn reverse(value: Val) -> Valued {
    match value {
        Val::Null => Ok(Val::list(Vec::new())),
        Val::Obj(dict) if dict.is_empty() => Ok(Val::list(Vec::new())),
        other => {
            let mut items = items(other, "reversed")?;
            items.reverse();
            Ok(Val::list(items))
        }
    }
}

/// The elements with their keys, in the order of the keys.
fn by_keys(value: Val, keys: Val) -> Result<Vec<(Val, Val)>, Error<Val>> {
    let (items, keys) = (items(value, "sorted")?, items(keys, "sorted")?);
    let mut pairs = keys.into_iter().zip(items).collect::<Vec<_>>();
    pairs.sort_by(|(one, _), (two, _)| one.cmp(two));
    Ok(pairs)
}

fn groups(pairs: Vec<(Val, Val)>) -> Vec<Vec<Val>> {
    let mut groups: Vec<(Val, Vec<Val>)> = Vec::new();
    for (key, value) in pairs {
        match groups.last_mut() {
            Some((last, group)) if Ord::cmp(&*last, &key).is_eq() => group.push(value),
            _ => groups.push((key, vec![value])),
        }
    }
    groups.into_iter().map(|(_, group)| group).collect()
}

fn flatten(value: Val, depth: &Val) -> Valued {
    let depth = depth.as_number().unwrap_or(-1.0);
    let mut out = Vec::new();
    for value in value.values() {
        flatten_into(value?, depth, &mut out);
    }
    Ok(Val::list(out))
}

fn flatten_into(value: Val, depth: f64, out: &mut Vec<Val>) {
    meter::term();
    match value {
        Val::Arr(list) if depth != 0.0 => {
            List::into_items(list).into_iter().for_each(|value| flatten_into(value, depth - 1.0, out));
        }
        other => out.push(other),
    }
}

fn bsearch(value: &Val, wanted: &Val) -> Valued {
    let Val::Arr(list) = value else {
        return Err(Error::str(format_args!("{} cannot be searched from", Shown(value))));
    };
    Ok(match list.binary_search(wanted) {
        Ok(place) => Val::count(place),
        Err(place) => Val::int(-1 - place as i128),
    })
}

fn tonumber(value: Val) -> Valued {
    match &value {
        Val::Num(_) => Ok(value),
        Val::Str(text) => Num::read(text)
            .map(Val::Num)
            .ok_or_else(|| Error::str(format_args!("{} cannot be parsed as a number", Shown(&value)))),
        other => Err(Error::str(format_args!("{} cannot be parsed as a number", Shown(other)))),
    }
}

fn toboolean(value: Val) -> Valued {
    match &value {
        Val::Bool(_) => Ok(value),
        Val::Str(text) if matches!(&**text, "true" | "false") => Ok(Val::Bool(&**text == "true")),
        other => Err(Error::str(format_args!("{} cannot be parsed as a boolean", Shown(other)))),
    }
}

/// Counts each number that it gives, so that it does not go on for ever.
fn range<'a>(from: Num, to: Num, by: Num) -> impl Iterator<Item = ValX<'a, Val>> {
    let direction = by.compare(&Num::Int(0), true);
    let mut next = (!by.is_nan() && direction.is_ne()).then_some(from);
    std::iter::from_fn(move || {
        meter::work(1);
        let current = next.take()?;
        if current.is_nan() || current.compare(&to, true) != direction.reverse() {
            return None;
        }
        match (Val::Num(current.clone())) + Val::Num(by.clone()) {
            Ok(Val::Num(number)) => next = Some(number),
            Ok(_) => {}
            Err(error) => return Some(Err(Exn::from(error))),
        }
        Some(Ok(Val::Num(current)))
    })
}

fn steps(path: &Val) -> Result<&[Val], Error<Val>> {
    match path {
        Val::Arr(list) => {
            meter::work(list.len());
            Ok(list)
        }
        _ => Err(Error::str("Path must be specified as an array")),
    }
}

/// The deepest path that is followed: what it leads to could not be nested deeper.
const PATH_STEPS_MAX: usize = 1_000;

fn set(value: Val, path: &[Val], new: &Val) -> Valued {
    if path.len() > PATH_STEPS_MAX {
        return Err(Error::str("the path is longer than 1,000 steps"));
    }
    change(value, path, &|_| Some(new.clone()))
}

/// Changes what a path leads to; nothing removes it.
fn change(value: Val, path: &[Val], with: &dyn Fn(Val) -> Option<Val>) -> Valued {
    meter::term();
    let Some((step, rest)) = path.split_first() else { return Ok(with(value).unwrap_or_default()) };
    let changed = value.map_index(step, Opt::Essential, |part| {
        let changed = if rest.is_empty() { with(part).map(Ok) } else { Some(change(part, rest, with)) };
        changed.map(|changed| changed.map_err(Exn::from)).into_iter()
    });
    changed.map_err(|problem| problem.get_err().unwrap_or_else(|_| Error::str("the path cannot be followed")))
}

/// Removes what these paths lead to: the last first, so that none is moved before its turn.
fn delete(value: Val, paths: &Val) -> Valued {
    let Val::Arr(list) = paths else { return Err(Error::str("Paths must be specified as an array")) };
    let mut paths = list.to_vec();
    for path in &paths {
        if !matches!(path, Val::Arr(_)) {
            return Err(Error::str(format_args!("Path must be specified as array, not {}", path.kind())));
        }
    }
    sort(&mut paths);
    paths.iter().rev().try_fold(value, |value, path| delete_one(value, steps(path)?))
}

fn delete_one(value: Val, path: &[Val]) -> Valued {
    match (path, &value) {
        (_, Val::Null) => Ok(Val::Null),
        ([], _) => Ok(Val::Null),
        ([step], _) => remove(value, step),
        ([step, rest @ ..], _) => {
            let part = value.clone().index(step)?;
            if matches!(part, Val::Null) {
                return Ok(value);
            }
            let part = delete_one(part, rest)?;
            change(value, std::slice::from_ref(step), &|_| Some(part.clone()))
        }
    }
}

/// Removes one part, if it is there.
fn remove(value: Val, step: &Val) -> Valued {
    match (&value, step) {
        (Val::Arr(list), Val::Num(place)) => {
            let outside = place.float() < -(list.len() as f64) || place.float() >= list.len() as f64;
            if outside || place.is_nan() { Ok(value) } else { change(value, std::slice::from_ref(step), &|_| None) }
        }
        (Val::Obj(_), Val::Str(_)) | (Val::Arr(_), Val::Obj(_)) => change(value, std::slice::from_ref(step), &|_| None),
        _ => Err(Error::str(format_args!("Cannot delete field {} of {}", Shown(step), value.kind()))),
    }
}
