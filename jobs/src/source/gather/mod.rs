//! Several sources in one: one behind the other, in the order of a key, or joined by a key.
//!
//! What comes of them is written once into a spool, which is then cut by reference like any other file. So the batch sees
//! one state of all of them, and a chunk that is tried again finds what it found before, whatever has become of its
//! sources. Records that cannot be read are in it, too, each with its reason and the file and line that it is from.
//!
//! Sorting takes 32 MiB of memory for each side and for what comes of them, and the disk beyond that.

mod join;
mod line;
mod sort;

use std::path::{Path, PathBuf};

use gristmill_core::aggregate::Number;
use gristmill_core::chunk::Slice;
use gristmill_core::definition::{CHUNK_ITEMS_DEFAULT, SourceSpec, SqlSource};
use tokio::sync::mpsc;

use super::cut::Shape;
use super::error::SourceError;
use super::format::{self, Format, Origin};
use super::record::{Record, Unreadable};
use super::spool::{self, Ready, Room};
use super::sql;
use super::stream::{Files, Streamed};
use super::unpack::Stream;
use crate::stage::enrich::key_text;
use crate::stage::field;
pub(super) use line::{LINE_BYTES_MAX, read as read_line};
use sort::{Sorter, add_number, add_text};

/// How the whole is called where it has no name of its own.
const NAME: &str = "the sources together";

/// The most sources of one batch: each has its own buffers.
const SOURCES_MAX: usize = 32;

/// How many pieces of a query are read ahead.
const AHEAD: usize = 2;

/// Records one after the other. Behind an error there is none.
pub(super) type Records<'a> = Box<dyn Iterator<Item = Result<Streamed, SourceError>> + 'a>;

/// Records until there are no more, or the first error.
fn each<'a>(mut next: impl FnMut() -> Result<Option<Streamed>, SourceError> + 'a) -> Records<'a> {
    let mut ended = false;
    Box::new(std::iter::from_fn(move || {
        if ended {
            return None;
        }
        let next = next().transpose();
        ended = !matches!(next, Some(Ok(_)));
        next
    }))
}

/// Checks several sources, without looking at any of them.
pub(super) fn check(spec: &SourceSpec) -> Result<(), SourceError> {
    let inner = |place: String, inner: &SourceSpec| {
        if inner.is_composite() {
            let problem = format!("`{place}`: it is put together of others itself; name a file or a query");
            return Err(SourceError::Setting(problem));
        }
        match format::origin(inner) {
            Ok(_) => Ok(()),
            Err(SourceError::Setting(problem)) => Err(SourceError::Setting(format!("`{place}`: {problem}"))),
            Err(other) => Err(other),
        }
    };
    let merged = spec.merge.iter().flatten().enumerate();
    let joined = spec.join.iter().flatten().enumerate();
    if spec.merge.as_ref().is_some_and(Vec::is_empty) {
        return Err(SourceError::Setting("`merge` is empty; name at least one source".to_owned()));
    }
    if spec.by.is_some() && spec.merge.is_none() {
        return Err(SourceError::Setting("`by` has a meaning for `merge` only; take it out".to_owned()));
    }
    let all = merged.clone().count() + joined.clone().count();
    if all > SOURCES_MAX {
        return Err(SourceError::Setting(format!("it names {all} sources, and {SOURCES_MAX} are the most")));
    }
    for (number, one) in merged {
        inner(format!("merge[{number}]"), one)?;
    }
    for (number, one) in joined {
        inner(format!("join[{number}].with"), &one.with)?;
        if one.on.is_empty() || one.key.as_ref().is_some_and(String::is_empty) {
            let problem = format!("`join[{number}]`: the name of a field is empty; write `on = \"FIELD\"`");
            return Err(SourceError::Setting(problem));
        }
    }
    let base = SourceSpec { merge: None, by: None, join: None, ..spec.clone() };
    match &spec.merge {
        Some(_) if base != SourceSpec::default() => Err(SourceError::Setting(
            "beside `merge` something else is said; put it into the source that it is about".to_owned(),
        )),
        Some(_) => Ok(()),
        None => inner("source".to_owned(), &base),
    }
}

/// How the lines of the spool are written.
pub(super) fn spooled_format() -> Format {
    Format { gathered: true, limit: LINE_BYTES_MAX, ..Format::plain(Shape::Lines) }
}

/// One source, ready to be read on a thread.
pub(super) enum Feed {
    Files(Vec<String>, Box<Format>),
    /// Rows of a query, piece by piece.
    Rows(mpsc::Receiver<Result<Vec<Record>, SourceError>>),
}

/// What is to be read.
pub(super) struct Gathering {
    spec: SourceSpec,
    feeds: std::vec::IntoIter<Feed>,
    base_dir: PathBuf,
    stdin: Option<Stream>,
    /// Whether pipes may be read.
    pipes: bool,
}

impl Gathering {
    /// Begins with the queries. Must be called within the runtime.
    pub(super) fn begin(
        spec: &SourceSpec,
        base_dir: PathBuf,
        stdin: Option<Stream>,
        pipes: bool,
    ) -> Result<Self, SourceError> {
        let base = SourceSpec { merge: None, by: None, join: None, ..spec.clone() };
        let first = spec.merge.clone().unwrap_or_else(|| vec![base]);
        let joins = spec.join.iter().flatten().map(|join| join.with.as_ref().clone());
        let feeds = first.iter().cloned().chain(joins).map(|one| feed(&one)).collect::<Result<Vec<_>, _>>()?;
        Ok(Self { spec: spec.clone(), feeds: feeds.into_iter(), base_dir, stdin, pipes })
    }

    /// Puts everything into a spool.
    pub(super) fn spool(mut self, room: &Room<'_>) -> Result<Ready, SourceError> {
        let spec = self.spec.clone();
        let mut records = self.records(&spec, *room)?;
        spool::made(NAME.to_owned(), room, |copy| {
            records.try_for_each(|record| {
                let mut line = line::written(&record?);
                line.push(b'\n');
                copy.write(&line)
            })
        })
    }

    /// The first records.
    pub(super) fn first(mut self, limit: u64, room: Room<'_>) -> Result<Vec<Record>, SourceError> {
        let spec = self.spec.clone();
        let records = (0..limit).zip(self.records(&spec, room)?);
        records
            .map(|(position, record)| record.map(|Streamed { line, item }| Record { position, line, item }))
            .collect()
    }

    /// All records. Where they are sorted, they have been by then.
    fn records<'a>(&mut self, spec: &'a SourceSpec, room: Room<'a>) -> Result<Records<'a>, SourceError> {
        let count = spec.merge.as_ref().map_or(1, Vec::len);
        let mut parts = Vec::with_capacity(count);
        for number in 0..count {
            let name = if spec.merge.is_some() { format!("merge[{number}]") } else { String::new() };
            parts.push(self.next(name)?);
        }
        let mut whole: Records<'a> = match &spec.by {
            None => Box::new(parts.into_iter().flatten()),
            Some(by) => sorted_by(parts, by, room)?,
        };
        for join in spec.join.iter().flatten() {
            let right = self.next(join.name().to_owned())?;
            whole = join::joined(whole, right, join, join.name(), room)?;
        }
        Ok(whole)
    }

    /// The records of the next feed. What cannot be read of them says of which file it is.
    fn next(&mut self, name: String) -> Result<Records<'static>, SourceError> {
        match self.feeds.next() {
            None => Err(SourceError::Interrupted),
            Some(Feed::Files(names, format)) => {
                let stdin = if names.iter().any(|name| name == "-") { self.stdin.take() } else { None };
                let mut files = Files::new(&names, *format, &self.base_dir, stdin, self.pipes)?;
                Ok(each(move || {
                    let next = files.next()?;
                    Ok(next.map(|(file, record)| named(file, record)))
                }))
            }
            Some(Feed::Rows(mut pieces)) => {
                let mut piece = Vec::new().into_iter();
                Ok(each(move || {
                    loop {
                        if let Some(Record { line, item, .. }) = piece.next() {
                            return Ok(Some(named(&name, Streamed { line, item })));
                        }
                        match pieces.blocking_recv() {
                            None => return Ok(None),
                            Some(next) => piece = next?.into_iter(),
                        }
                    }
                }))
            }
        }
    }
}

fn named(name: &str, record: Streamed) -> Streamed {
    let Streamed { line, item } = record;
    let place = match line {
        _ if name.is_empty() => String::new(),
        None => format!("{name}: "),
        Some(line) => format!("{name}:{line}: "),
    };
    let item = item.map_err(|Unreadable { reason, raw }| Unreadable { reason: format!("{place}{reason}"), raw });
    Streamed { line, item }
}

fn feed(spec: &SourceSpec) -> Result<Feed, SourceError> {
    match format::origin(spec)? {
        Origin::Files(names, format) => Ok(Feed::Files(names.to_vec(), Box::new(format))),
        Origin::Sql(source) => {
            let (sender, receiver) = mpsc::channel(AHEAD);
            let source = source.clone();
            tokio::spawn(async move {
                // Who has no use for more has gone.
                if let Err(error) = rows(&source, &sender).await {
                    let _ = sender.send(Err(error)).await;
                }
            });
            Ok(Feed::Rows(receiver))
        }
        Origin::Gathered => Err(SourceError::Setting("a source of several is put together of others".to_owned())),
    }
}

async fn rows(source: &SqlSource, sender: &mpsc::Sender<Result<Vec<Record>, SourceError>>) -> Result<(), SourceError> {
    let mut planner = sql::Planner::open(source, CHUNK_ITEMS_DEFAULT).await?;
    while let Some(chunk) = planner.next_chunk().await? {
        let Slice::Keys { after, upto } = &chunk.slice else { continue };
        let range = sql::Range { after: after.as_deref(), upto: upto.as_deref() };
        let records = sql::read(source, range, chunk.items, chunk.first).await?;
        if sender.send(Ok(records)).await.is_err() {
            return Ok(());
        }
    }
    Ok(())
}

/// All records in the order of a field: numbers by their value, then other texts, then those without a value; equal ones as
/// their sources stand, and as they stand in them.
fn sorted_by<'a>(parts: Vec<Records<'a>>, by: &str, room: Room<'a>) -> Result<Records<'a>, SourceError> {
    let mut sorter = Sorter::new(NAME, room);
    for (number, record) in (0..).zip(parts.into_iter().flatten()) {
        let record = record?;
        let text = record.item.as_ref().ok().and_then(|item| field::get(item, by)).and_then(key_text);
        let mut key = Vec::with_capacity(32);
        match text.as_deref().map(|text| (text, Number::of_text(text))) {
            Some((_, Some(value))) => {
                key.push(0);
                key.extend(value.sortable());
            }
            Some((text, None)) => {
                key.push(1);
                add_text(&mut key, text);
            }
            None => key.push(2),
        }
        add_number(&mut key, number);
        sorter.push(key, line::written(&record))?;
    }
    let mut sorted = sorter.sorted()?;
    Ok(each(move || Ok(sorted.next()?.map(|(_, line)| line::read(&line)))))
}

/// The first records of them, for a trial. Nothing stays; while it is sorted, what has no room in memory is in a folder for
/// passing files.
pub(super) async fn peek(
    spec: &SourceSpec,
    base_dir: &Path,
    stdin: Option<Stream>,
    limit: u64,
) -> Result<Vec<Record>, SourceError> {
    check(spec)?;
    let gathering = Gathering::begin(spec, base_dir.to_owned(), stdin, false)?;
    let folder = std::env::temp_dir().join(format!("gristmill-trial-{}", uuid::Uuid::now_v7()));
    let dir = folder.clone();
    let records =
        super::blocking(move || gathering.first(limit, Room { dir: &dir, bytes_max: spool::SPOOL_BYTES_DEFAULT }))
            .await;
    // It was ours alone and may never have been made.
    let _ = std::fs::remove_dir_all(&folder);
    records
}
