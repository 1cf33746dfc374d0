//! The order of values: null, false, true, numbers, texts, arrays, objects.

use std::cmp::Ordering;
use std::rc::Rc;

use super::meter;
use super::value::{Dict, Val};

/// Less, equal or greater. `total`: for sorting, where each value must equal itself.
pub(super) fn compare(one: &Val, two: &Val, total: bool) -> Ordering {
    meter::term();
    match (one, two) {
        (Val::Num(one), Val::Num(two)) => one.compare(two, total),
        (Val::Str(one), Val::Str(two)) => {
            meter::touch(one.len().min(two.len()));
            one.as_bytes().cmp(two.as_bytes())
        }
        (Val::Arr(one), Val::Arr(two)) => {
            if total && Rc::ptr_eq(one, two) {
                return Ordering::Equal;
            }
            let unlike = one.iter().zip(two.iter()).map(|(one, two)| compare(one, two, total)).find(|o| o.is_ne());
            unlike.unwrap_or_else(|| one.len().cmp(&two.len()))
        }
        (Val::Obj(one), Val::Obj(two)) => compare_objects(one, two, total),
        _ => rank(one).cmp(&rank(two)),
    }
}

/// Objects: their sorted keys, then the values in the order of the keys.
fn compare_objects(one: &Rc<Dict>, two: &Rc<Dict>, total: bool) -> Ordering {
    if total && Rc::ptr_eq(one, two) {
        return Ordering::Equal;
    }
    let (keys, others) = (one.sorted_keys(), two.sorted_keys());
    let bytes = |key: &super::value::Text| key.as_bytes().to_vec();
    keys.iter().map(bytes).cmp(others.iter().map(bytes)).then_with(|| {
        let unlike = keys.iter().map(|key| compare(&one[key], &two[key], total)).find(|order| order.is_ne());
        unlike.unwrap_or(Ordering::Equal)
    })
}

fn rank(value: &Val) -> u8 {
    match value {
        Val::Null => 0,
        Val::Bool(false) => 1,
        Val::Bool(true) => 2,
        Val::Num(_) => 3,
        Val::Str(_) => 4,
        Val::Arr(_) => 5,
        Val::Obj(_) => 6,
    }
}

impl PartialEq for Val {
    fn eq(&self, other: &Self) -> bool {
        compare(self, other, false).is_eq()
    }
}

impl Eq for Val {}

#[expect(clippy::non_canonical_partial_ord_impl, reason = "nan is less than itself, but not when it is sorted")]
impl PartialOrd for Val {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(compare(self, other, false))
    }
}

impl Ord for Val {
    fn cmp(&self, other: &Self) -> Ordering {
        compare(self, other, true)
    }
}
