//! A sort in bounded memory: what has no room is sorted into runs on disk, which are merged as they are read.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::fs::File;
use std::io::{BufReader, BufWriter, Read, Write};
use std::path::PathBuf;

use uuid::Uuid;

use super::super::error::SourceError;
use super::super::spool::{self, Room};

/// The bytes of entries that are kept in memory before they are written as a run.
const SORT_BYTES_MAX: usize = 32 * 1024 * 1024;

/// The most runs that are merged at once: of each one entry is in memory. More are merged into one before.
const RUNS_MAX: usize = 16;

/// What an entry takes in memory beside its bytes.
const ENTRY_BYTES: usize = 96;

/// By which entries are sorted, byte by byte, and what they carry.
pub(super) type Entry = (Vec<u8>, Vec<u8>);

/// Takes entries in any order. No two have the same key: each key ends with a number of its own.
pub(super) struct Sorter<'a> {
    /// What is sorted, for messages.
    name: &'a str,
    room: Room<'a>,
    /// After how many bytes a run is written.
    most: usize,
    entries: Vec<Entry>,
    bytes: usize,
    runs: Vec<Run>,
}

impl<'a> Sorter<'a> {
    pub(super) fn new(name: &'a str, room: Room<'a>) -> Self {
        Self::with_memory(name, room, SORT_BYTES_MAX)
    }

    pub(super) fn with_memory(name: &'a str, room: Room<'a>, most: usize) -> Self {
        Self { name, room, most, entries: Vec::new(), bytes: 0, runs: Vec::new() }
    }

    pub(super) fn push(&mut self, key: Vec<u8>, carried: Vec<u8>) -> Result<(), SourceError> {
        self.bytes += key.len() + carried.len() + ENTRY_BYTES;
        self.entries.push((key, carried));
        if self.bytes > self.most { self.spill() } else { Ok(()) }
    }

    /// All entries in their order.
    pub(super) fn sorted(mut self) -> Result<Sorted, SourceError> {
        if self.runs.is_empty() {
            self.entries.sort_unstable();
            return Ok(Sorted::Memory(std::mem::take(&mut self.entries).into_iter()));
        }
        self.spill()?;
        let (name, runs) = (self.name.to_owned(), std::mem::take(&mut self.runs));
        Merge::of(name, runs).map(Sorted::Runs)
    }

    /// Writes what is in memory as a run.
    fn spill(&mut self) -> Result<(), SourceError> {
        self.entries.sort_unstable();
        let mut writer = self.run()?;
        for (key, carried) in self.entries.drain(..) {
            writer.write(&key, &carried)?;
        }
        self.bytes = 0;
        self.runs.push(writer.finish()?);
        if self.runs.len() >= RUNS_MAX {
            let mut merged = Merge::of(self.name.to_owned(), std::mem::take(&mut self.runs))?;
            let mut writer = self.run()?;
            while let Some((key, carried)) = merged.next()? {
                writer.write(&key, &carried)?;
            }
            self.runs.push(writer.finish()?);
        }
        Ok(())
    }

    fn run(&self) -> Result<RunWriter<'a>, SourceError> {
        let dir = spool::folder(self.name, self.room.dir)?;
        let path = dir.join(format!("{}.run", Uuid::now_v7()));
        let file = spool::create(&path).map_err(|error| spool::refused(self.name, &path, &error))?;
        let before: u64 = self.runs.iter().map(|run| run.bytes).sum();
        let (run, room) = (Run { path, bytes: 0 }, self.room.bytes_max.saturating_sub(before));
        Ok(RunWriter { name: self.name, file: BufWriter::new(file), run, room, bytes_max: self.room.bytes_max })
    }
}

/// A sorted file, which is removed when this is dropped.
struct Run {
    path: PathBuf,
    bytes: u64,
}

impl Drop for Run {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_file(&self.path) {
            tracing::warn!(path = %self.path.display(), %error, "a file that was made for sorting stays behind");
        }
    }
}

struct RunWriter<'a> {
    name: &'a str,
    file: BufWriter<File>,
    run: Run,
    room: u64,
    bytes_max: u64,
}

impl RunWriter<'_> {
    fn write(&mut self, key: &[u8], carried: &[u8]) -> Result<(), SourceError> {
        self.run.bytes += (8 + key.len() + carried.len()) as u64;
        if self.run.bytes > self.room {
            return Err(SourceError::TooMuch { name: self.name.to_owned(), limit: self.bytes_max });
        }
        let length = |bytes: &[u8]| u32::try_from(bytes.len()).unwrap_or(u32::MAX).to_le_bytes();
        let mut write = || {
            self.file.write_all(&length(key))?;
            self.file.write_all(&length(carried))?;
            self.file.write_all(key)?;
            self.file.write_all(carried)
        };
        write().map_err(|error| spool::refused(self.name, &self.run.path, &error))
    }

    fn finish(mut self) -> Result<Run, SourceError> {
        self.file.flush().map_err(|error| spool::refused(self.name, &self.run.path, &error))?;
        Ok(self.run)
    }
}

/// Entries in their order.
pub(super) enum Sorted {
    Memory(std::vec::IntoIter<Entry>),
    Runs(Merge),
}

impl Sorted {
    pub(super) fn next(&mut self) -> Result<Option<Entry>, SourceError> {
        match self {
            Self::Memory(entries) => Ok(entries.next()),
            Self::Runs(merge) => merge.next(),
        }
    }
}

/// The key of a run's next entry, the run's number, and what the entry carries.
type Head = (Vec<u8>, usize, Vec<u8>);

/// Runs that are read side by side.
pub(super) struct Merge {
    name: String,
    /// Each with its file, which is removed in the end.
    runs: Vec<(BufReader<File>, Run)>,
    heads: BinaryHeap<Reverse<Head>>,
}

impl Merge {
    fn of(name: String, runs: Vec<Run>) -> Result<Self, SourceError> {
        let open = |run: Run| match File::open(&run.path) {
            Ok(file) => Ok((BufReader::new(file), run)),
            Err(error) => Err(spool::refused(&name, &run.path, &error)),
        };
        let runs = runs.into_iter().map(open).collect::<Result<Vec<_>, _>>()?;
        let mut merge = Self { name, runs, heads: BinaryHeap::new() };
        for number in 0..merge.runs.len() {
            merge.advance(number)?;
        }
        Ok(merge)
    }

    fn next(&mut self) -> Result<Option<Entry>, SourceError> {
        let Some(Reverse((key, number, carried))) = self.heads.pop() else { return Ok(None) };
        self.advance(number)?;
        Ok(Some((key, carried)))
    }

    /// Reads the next entry of a run.
    fn advance(&mut self, number: usize) -> Result<(), SourceError> {
        let (reader, run) = &mut self.runs[number];
        let entry = read_entry(reader).map_err(|error| spool::refused(&self.name, &run.path, &error))?;
        self.heads.extend(entry.map(|(key, carried)| Reverse((key, number, carried))));
        Ok(())
    }
}

fn read_entry(reader: &mut impl Read) -> std::io::Result<Option<Entry>> {
    let mut lengths = [0; 8];
    match reader.read_exact(&mut lengths[..1]) {
        Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => return Ok(None),
        other => other?,
    }
    reader.read_exact(&mut lengths[1..])?;
    let (key, carried) = lengths.split_at(4);
    let mut read = |length: &[u8]| {
        let length = length.iter().rev().fold(0_usize, |length, byte| (length << 8) | usize::from(*byte));
        let mut bytes = vec![0; length];
        reader.read_exact(&mut bytes).map(|()| bytes)
    };
    Ok(Some((read(key)?, read(carried)?)))
}

/// A text within a key: it is compared before what follows it, whatever bytes it has.
pub(super) fn add_text(key: &mut Vec<u8>, text: &str) {
    for byte in text.bytes() {
        key.push(byte);
        if byte == 0 {
            key.push(0xFF);
        }
    }
    key.extend([0, 0]);
}

/// A number within a key.
pub(super) fn add_number(key: &mut Vec<u8>, number: u64) {
    key.extend(number.to_be_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(mut sorted: Sorted) -> Vec<Entry> {
        std::iter::from_fn(|| sorted.next().expect("read")).collect()
    }

    #[test]
    fn entries_come_in_their_order_however_little_memory_there_is() {
        let folder = tempfile::tempdir().expect("a folder");
        for (most, items) in [(usize::MAX, 500_u64), (4_000, 500), (200, 2_000), (0, 100)] {
            let mut sorter = Sorter::with_memory("s", Room { dir: folder.path(), bytes_max: 1_000_000 }, most);
            let mut right: Vec<Entry> = (0..items)
                .map(|n| {
                    let scattered = n.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 40;
                    let mut key = Vec::new();
                    add_text(&mut key, &"ab\0c".repeat(usize::try_from(scattered % 3).expect("small")));
                    add_number(&mut key, scattered);
                    add_number(&mut key, n);
                    (key, n.to_string().into_bytes())
                })
                .collect();
            for (key, carried) in right.clone() {
                sorter.push(key, carried).expect("pushed");
            }
            right.sort();
            assert!(all(sorter.sorted().expect("sorted")) == right, "{most} bytes");
            assert_eq!(std::fs::read_dir(folder.path()).expect("a folder").count(), 0, "no run stays");
        }
    }

    #[test]
    fn a_text_is_compared_before_what_follows_it() {
        let key = |text: &str, number: u64| {
            let mut key = Vec::new();
            add_text(&mut key, text);
            add_number(&mut key, number);
            key
        };
        let sorted = [
            key("", 9),
            key("\0", 8),
            key("\0\0", 7),
            key("\0a", 6),
            key("a", 1),
            key("a", 5),
            key("a\0", 0),
            key("b", 0),
        ];
        assert!(sorted.is_sorted(), "{sorted:?}");
    }

    #[test]
    fn what_takes_more_disk_than_it_may_is_refused_and_leaves_nothing() {
        let folder = tempfile::tempdir().expect("a folder");
        let mut sorter = Sorter::with_memory("the join", Room { dir: folder.path(), bytes_max: 2_000 }, 500);
        let pushed = (0..200_u64).try_for_each(|n| sorter.push(n.to_be_bytes().to_vec(), vec![b'x'; 20]));
        assert!(matches!(pushed, Err(SourceError::TooMuch { limit: 2_000, .. })), "{pushed:?}");
        drop(sorter);
        assert_eq!(std::fs::read_dir(folder.path()).expect("a folder").count(), 0);
    }
}
