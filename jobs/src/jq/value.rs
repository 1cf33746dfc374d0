//! The values of programs.
//!
//! Shared until they are changed, counted in bytes ([`Held`]), and never nested deeper than [`DEPTH_MAX`] levels, so
//! that everything that recurses over them, from comparing to dropping, fits on any stack.

use std::borrow::Borrow;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::ops::Deref;
use std::rc::Rc;

use indexmap::IndexMap;

use super::meter::{self, Held};
use super::number::Num;

/// The deepest nesting of a value.
const DEPTH_MAX: usize = 1_000;

const TOO_NESTED: &str = "it makes a value that is nested deeper than 1,000 levels";

/// What an element of a list, and an entry of an object, needs beside its own contents.
const ELEMENT_BYTES: usize = size_of::<Val>();
const ENTRY_BYTES: usize = 2 * ELEMENT_BYTES;

/// What each text, list and object needs beside its contents.
const HEADER_BYTES: usize = 64;

/// A value.
#[derive(Clone, Default)]
pub(super) enum Val {
    #[default]
    Null,
    Bool(bool),
    Num(Num),
    Str(Text),
    Arr(Rc<List>),
    Obj(Rc<Dict>),
}

/// A text.
#[derive(Clone)]
pub(super) struct Text(Rc<Inner>);

#[derive(Clone)]
struct Inner {
    text: String,
    held: Held,
}

/// An array.
#[derive(Clone)]
pub(super) struct List {
    items: Vec<Val>,
    depth: usize,
    held: Held,
}

/// An object. Its keys keep the order in which they came.
#[derive(Clone)]
pub(super) struct Dict {
    map: Map,
    depth: usize,
    held: Held,
}

pub(super) type Map = IndexMap<Text, Val>;

impl Text {
    pub(super) fn new(text: impl Into<String>) -> Self {
        let text = text.into();
        let held = Held::new(HEADER_BYTES + text.len());
        Self(Rc::new(Inner { text, held }))
    }

    /// Appends, in place when no other value has this text.
    pub(super) fn append(mut self, more: &str) -> Self {
        let inner = Rc::make_mut(&mut self.0);
        inner.held.set(HEADER_BYTES + inner.text.len() + more.len());
        inner.text.push_str(more);
        self
    }
}

impl Deref for Text {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0.text
    }
}

impl Borrow<str> for Text {
    fn borrow(&self) -> &str {
        self
    }
}

impl PartialEq for Text {
    fn eq(&self, other: &Self) -> bool {
        **self == **other
    }
}

impl Eq for Text {}

impl Hash for Text {
    fn hash<H: Hasher>(&self, state: &mut H) {
        (**self).hash(state);
    }
}

impl Deref for List {
    type Target = [Val];

    fn deref(&self) -> &[Val] {
        &self.items
    }
}

impl List {
    /// Its elements: moved out when no other value has this list.
    pub(super) fn into_items(list: Rc<Self>) -> Vec<Val> {
        match Rc::try_unwrap(list) {
            Ok(list) => list.items,
            Err(list) => {
                meter::work(list.items.len());
                list.items.clone()
            }
        }
    }

    /// Changes it, in place when no other value has it. `depth` is that of the deepest value that is put in.
    pub(super) fn edit<R>(list: &mut Rc<Self>, change: impl FnOnce(&mut Vec<Val>) -> R, depth: usize) -> R {
        let list = Rc::make_mut(list);
        let result = change(&mut list.items);
        list.held.set(HEADER_BYTES + ELEMENT_BYTES * list.items.len());
        list.depth = checked(list.depth.max(depth + 1));
        result
    }
}

impl Deref for Dict {
    type Target = Map;

    fn deref(&self) -> &Map {
        &self.map
    }
}

impl Dict {
    /// Its entries: moved out when no other value has this object.
    pub(super) fn into_map(dict: Rc<Self>) -> Map {
        match Rc::try_unwrap(dict) {
            Ok(dict) => dict.map,
            Err(dict) => {
                meter::work(dict.map.len());
                dict.map.clone()
            }
        }
    }

    /// Changes it, in place when no other value has it. `depth` is that of the deepest value that is put in.
    pub(super) fn edit<R>(dict: &mut Rc<Self>, change: impl FnOnce(&mut Map) -> R, depth: usize) -> R {
        let dict = Rc::make_mut(dict);
        let result = change(&mut dict.map);
        dict.held.set(HEADER_BYTES + ENTRY_BYTES * dict.map.len());
        dict.depth = checked(dict.depth.max(depth + 1));
        result
    }

    /// Its keys in their order as texts.
    pub(super) fn sorted_keys(&self) -> Vec<Text> {
        let mut keys = self.map.keys().cloned().collect::<Vec<_>>();
        meter::work(keys.len());
        keys.sort_unstable_by(|one, two| one.as_bytes().cmp(two.as_bytes()));
        keys
    }
}

fn checked(depth: usize) -> usize {
    if depth > DEPTH_MAX {
        meter::stop(TOO_NESTED);
    }
    depth
}

impl Val {
    pub(super) fn text(text: impl Into<String>) -> Self {
        Self::Str(Text::new(text))
    }

    pub(super) fn list(items: Vec<Self>) -> Self {
        let held = Held::new(HEADER_BYTES + ELEMENT_BYTES * items.len());
        let depth = checked(1 + items.iter().map(Self::depth).max().unwrap_or_default());
        meter::work(items.len());
        Self::Arr(Rc::new(List { items, depth, held }))
    }

    pub(super) fn dict(map: Map) -> Self {
        let held = Held::new(HEADER_BYTES + ENTRY_BYTES * map.len());
        let depth = checked(1 + map.values().map(Self::depth).max().unwrap_or_default());
        meter::work(map.len());
        Self::Obj(Rc::new(Dict { map, depth, held }))
    }

    /// An object of these entries.
    pub(super) fn object<const N: usize>(entries: [(&str, Self); N]) -> Self {
        Self::dict(entries.into_iter().map(|(key, value)| (Text::new(key), value)).collect())
    }

    pub(super) fn int(number: i128) -> Self {
        Self::Num(Num::Int(number))
    }

    pub(super) fn count(number: usize) -> Self {
        Self::int(number as i128)
    }

    pub(super) fn float(number: f64) -> Self {
        Self::Num(Num::of(number))
    }

    /// How deep it is nested: 0 for what holds no other values.
    pub(super) fn depth(&self) -> usize {
        match self {
            Self::Arr(list) => list.depth,
            Self::Obj(dict) => dict.depth,
            _ => 0,
        }
    }

    /// The name of its type.
    pub(super) fn kind(&self) -> &'static str {
        match self {
            Self::Null => "null",
            Self::Bool(_) => "boolean",
            Self::Num(_) => "number",
            Self::Str(_) => "string",
            Self::Arr(_) => "array",
            Self::Obj(_) => "object",
        }
    }

    pub(super) fn as_number(&self) -> Option<f64> {
        match self {
            Self::Num(number) => Some(number.float()),
            _ => None,
        }
    }
}

/// How messages show a value: its type and its beginning.
pub(super) struct Shown<'a>(pub(super) &'a Val);

/// The most characters of a value in a message.
const SHOWN_CHARS: usize = 60;

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = super::json::beginning(self.0, 4 * SHOWN_CHARS);
        let cut = text.char_indices().nth(SHOWN_CHARS).map(|(at, _)| at);
        match cut {
            Some(at) => write!(f, "{} ({}...)", self.0.kind(), &text[..at]),
            None => write!(f, "{} ({text})", self.0.kind()),
        }
    }
}
