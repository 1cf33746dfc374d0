//! A join: each record of one side with every record of the other that has the same key.
//!
//! Both sides are sorted by their keys, walked side by side, and what comes of it is sorted back into the order of the
//! left side. So neither side needs to have room in memory, only the records of one key.

use gristmill_core::definition::{JoinSpec, Missing};
use serde_json::{Map, Value};

use super::super::error::SourceError;
use super::super::record::Unreadable;
use super::super::spool::Room;
use super::super::stream::Streamed;
use super::line;
use super::sort::{Entry, Sorted, Sorter, add_number, add_text};
use super::{Records, each};
use crate::stage::enrich::{add_record, key_text};
use crate::stage::{field, shown};

/// The most bytes that the records of one key may have on the right side: they are in memory together.
const KEY_BYTES_MAX: usize = 64 * 1024 * 1024;

/// One side of a join, sorted by key.
struct Side<'a> {
    name: &'a str,
    sorted: Sorted,
    /// The next one: its key, its number, its line.
    next: Option<(Vec<u8>, u64, Vec<u8>)>,
}

/// Joins two sides. The result is in the order of the left side, and for one of its records in that of the right side.
/// What cannot be read is in the result as it is, that of the right side at its end.
pub(super) fn joined<'a>(
    left: Records<'a>,
    right: Records<'a>,
    spec: &'a JoinSpec,
    name: &'a str,
    room: Room<'a>,
) -> Result<Records<'a>, SourceError> {
    let mut made = Sorter::new(name, room);
    let key = spec.key.as_deref().unwrap_or(&spec.on);
    let lefts = side(left, &spec.on, name, room, |record, number| match &record.item {
        // What has no key has no partner.
        Ok(item) => match unmatched(spec, name, item) {
            None => Ok(()),
            Some(item) => made.push(place(number, 0), line::written(&Streamed { line: record.line, item })),
        },
        Err(_) => made.push(place(number, 0), line::written(record)),
    })?;
    let rights = side(right, key, name, room, |record, number| match &record.item {
        Ok(_) => Ok(()),
        Err(_) => made.push(place(u64::MAX, number), line::written(record)),
    })?;
    walk(lefts, rights, spec, &mut made)?;
    let mut sorted = made.sorted()?;
    Ok(each(move || Ok(sorted.next()?.map(|(_, line)| line::read(&line)))))
}

/// Where a record of the result stands.
fn place(left: u64, right: u64) -> Vec<u8> {
    let mut key = Vec::with_capacity(16);
    add_number(&mut key, left);
    add_number(&mut key, right);
    key
}

/// Sorts a side by its key. `keyless` gets those that have none.
fn side<'a>(
    records: Records<'a>,
    field_name: &str,
    name: &'a str,
    room: Room<'a>,
    mut keyless: impl FnMut(&Streamed, u64) -> Result<(), SourceError>,
) -> Result<Side<'a>, SourceError> {
    let mut sorter = Sorter::new(name, room);
    for (number, record) in (0..).zip(records) {
        let record = record?;
        let found = record.item.as_ref().ok().and_then(|item| field::get(item, field_name)).and_then(key_text);
        let Some(text) = found else {
            keyless(&record, number)?;
            continue;
        };
        let mut key = Vec::with_capacity(text.len() + 10);
        add_text(&mut key, &text);
        add_number(&mut key, number);
        sorter.push(key, line::written(&record))?;
    }
    let mut side = Side { name, sorted: sorter.sorted()?, next: None };
    side.advance()?;
    Ok(side)
}

impl Side<'_> {
    fn advance(&mut self) -> Result<(), SourceError> {
        self.next = self.sorted.next()?.map(|(mut key, line): Entry| {
            let number = key.split_off(key.len().saturating_sub(8));
            let number = number.iter().fold(0_u64, |number, byte| (number << 8) | u64::from(*byte));
            (key, number, line)
        });
        Ok(())
    }

    /// All records of this key, which are in memory together; those of lower ones are passed over.
    fn of(&mut self, key: &[u8], records: &mut Vec<(u64, Map<String, Value>)>, on: &str) -> Result<(), SourceError> {
        records.clear();
        let mut bytes = 0;
        loop {
            match &self.next {
                Some((other, number, line)) if other.as_slice() <= key => {
                    if other == key {
                        bytes += line.len();
                        if bytes > KEY_BYTES_MAX {
                            return Err(self.too_many(key, on));
                        }
                        if let Ok(Value::Object(record)) = line::read(line).item {
                            records.push((*number, record));
                        }
                    }
                    self.advance()?;
                }
                _ => return Ok(()),
            }
        }
    }

    fn too_many(&self, key: &[u8], on: &str) -> SourceError {
        let text = String::from_utf8_lossy(key).trim_end_matches('\0').chars().take(60).collect::<String>();
        SourceError::Setting(format!(
            "`{}`: the records whose `{on}` is `{text}` have more than {KEY_BYTES_MAX} bytes together, and those of one key are held in memory; is it the right key?",
            self.name
        ))
    }
}

fn walk(mut lefts: Side<'_>, mut rights: Side<'_>, spec: &JoinSpec, made: &mut Sorter<'_>) -> Result<(), SourceError> {
    let on = spec.key.as_deref().unwrap_or(&spec.on).to_owned();
    let mut key: Option<Vec<u8>> = None;
    let mut partners: Vec<(u64, Map<String, Value>)> = Vec::new();
    while let Some((of, number, line)) = lefts.next.take() {
        if key.as_ref() != Some(&of) {
            rights.of(&of, &mut partners, &on)?;
            key = Some(of);
        }
        let record = line::read(&line);
        if partners.is_empty()
            && let Ok(item) = &record.item
            && let Some(item) = unmatched(spec, lefts.name, item)
        {
            made.push(place(number, 0), line::written(&Streamed { line: record.line, item }))?;
        }
        for (partner, found) in &partners {
            let item =
                record.item.clone().and_then(|mut item| match add_record(&mut item, spec.into.as_deref(), found) {
                    Ok(()) => Ok(item),
                    Err(reason) => Err(Unreadable { reason, raw: item }),
                });
            made.push(place(number, *partner), line::written(&Streamed { line: record.line, item }))?;
        }
        lefts.advance()?;
    }
    Ok(())
}

/// What a record without a partner is. `None`: it is left out.
fn unmatched(spec: &JoinSpec, name: &str, item: &Value) -> Option<Result<Value, Unreadable>> {
    match spec.missing {
        Missing::Keep => Some(Ok(item.clone())),
        Missing::Skip => None,
        Missing::Quarantine => {
            let value = field::get(item, &spec.on);
            let looked_for = value.map_or_else(|| "missing".to_owned(), shown);
            let key = spec.key.as_deref().unwrap_or(&spec.on);
            let reason = format!("`{}` is {looked_for}, and `{name}` has no such `{key}`", spec.on);
            Some(Err(Unreadable { reason, raw: item.clone() }))
        }
    }
}
