//! The 24 bytes that each measured job writes: which job it was, in which process, when it was enqueued and when it
//! began. They prove that every job ran, and say when.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::Path;

/// The bytes of one record.
pub const RECORD_BYTES: usize = 24;

/// One job's record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Record {
    /// The job's number, counted from 0.
    pub number: u32,
    /// The process that ran it.
    pub process: u32,
    /// When it was handed to the queue, in nanoseconds since 1970 by this machine's clock.
    pub enqueued_at: i64,
    /// When its handler began, by the same clock.
    pub began_at: i64,
}

/// The current instant in nanoseconds since 1970.
pub fn now() -> i64 {
    chrono::Utc::now().timestamp_nanos_opt().unwrap_or_default()
}

impl Record {
    /// The record of a job that begins now in this process.
    pub fn begun(number: u32, enqueued_at: i64) -> Self {
        Self { number, process: std::process::id(), enqueued_at, began_at: now() }
    }

    fn bytes(self) -> [u8; RECORD_BYTES] {
        let mut bytes = [0; RECORD_BYTES];
        bytes[..4].copy_from_slice(&self.number.to_le_bytes());
        bytes[4..8].copy_from_slice(&self.process.to_le_bytes());
        bytes[8..16].copy_from_slice(&self.enqueued_at.to_le_bytes());
        bytes[16..].copy_from_slice(&self.began_at.to_le_bytes());
        bytes
    }

    fn read(bytes: &[u8; RECORD_BYTES]) -> Self {
        let four = |at: usize| u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
        let eight = |at: usize| {
            let mut number = [0; 8];
            number.copy_from_slice(&bytes[at..at + 8]);
            i64::from_le_bytes(number)
        };
        Self { number: four(0), process: four(4), enqueued_at: eight(8), began_at: eight(16) }
    }
}

/// A file of records, to which many processes may append at once: a write of so few bytes is one piece.
#[derive(Debug)]
pub struct Records(File);

impl Records {
    /// Opens it for appending.
    ///
    /// # Errors
    ///
    /// Those of the file.
    pub fn append_to(path: &Path) -> io::Result<Self> {
        Ok(Self(OpenOptions::new().create(true).append(true).open(path)?))
    }

    /// Adds one.
    ///
    /// # Errors
    ///
    /// Those of the file.
    pub fn write(&self, record: Record) -> io::Result<()> {
        (&self.0).write_all(&record.bytes())
    }
}

/// How many records a file has so far; 0 when there is none.
pub fn count(path: &Path) -> u64 {
    std::fs::metadata(path).map_or(0, |about| about.len() / RECORD_BYTES as u64)
}

/// What the records of a file say together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct History {
    /// In the order in which they were written.
    pub records: Vec<Record>,
}

impl History {
    /// Reads a file.
    ///
    /// # Errors
    ///
    /// Those of the file, and when it ends within a record.
    pub fn read(path: &Path) -> io::Result<Self> {
        let bytes = std::fs::read(path)?;
        let (records, rest) = bytes.as_chunks::<RECORD_BYTES>();
        if !rest.is_empty() {
            return Err(io::Error::other(format!("{} ends within a record", path.display())));
        }
        Ok(Self { records: records.iter().map(Record::read).collect() })
    }

    /// Checks that each of the jobs 0 to `jobs` - 1 ran exactly once. Those with higher numbers do not count.
    ///
    /// # Errors
    ///
    /// Says which are missing, and which ran more than once.
    pub fn check(&self, jobs: u32) -> Result<(), String> {
        let mut times = vec![0_u32; jobs as usize];
        for record in &self.records {
            if let Some(times) = times.get_mut(record.number as usize) {
                *times += 1;
            }
        }
        let missing = times.iter().filter(|times| **times == 0).count();
        let repeated = times.iter().filter(|times| **times > 1).count();
        if missing == 0 && repeated == 0 {
            return Ok(());
        }
        Err(format!("of {jobs} jobs {missing} did not run and {repeated} ran more than once"))
    }

    /// When the last of the processes began its first job, in nanoseconds, and how many jobs began from then on: before
    /// that instant not all of them worked. `None` of nothing.
    pub fn all_at_work(&self) -> Option<(i64, u64)> {
        let mut first: BTreeMap<u32, i64> = BTreeMap::new();
        for record in &self.records {
            let first = first.entry(record.process).or_insert(record.began_at);
            *first = (*first).min(record.began_at);
        }
        let from = *first.values().max()?;
        Some((from, self.records.iter().filter(|record| record.began_at >= from).count() as u64))
    }

    /// How long each of the jobs 0 to `jobs` - 1 waited until it began, in milliseconds.
    pub fn waits_ms(&self, jobs: u32) -> Vec<f64> {
        let counted = self.records.iter().filter(|record| record.number < jobs);
        counted.map(|record| (record.began_at - record.enqueued_at) as f64 / 1e6).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(number: u32, process: u32, began_at: i64) -> Record {
        Record { number, process, enqueued_at: began_at - 2_500_000, began_at }
    }

    #[test]
    fn records_come_back_as_they_were_written() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("records");
        let written = [record(0, 7, 5), record(u32::MAX, 8, i64::MAX), Record { enqueued_at: -1, ..record(3, 9, 0) }];
        let records = Records::append_to(&path).expect("opened");
        written.iter().for_each(|record| records.write(*record).expect("written"));
        assert_eq!(count(&path), 3);
        assert_eq!(History::read(&path).expect("read").records, written);
        std::fs::write(&path, [0; RECORD_BYTES + 1]).expect("written");
        assert!(History::read(&path).is_err(), "a torn record is noticed");
        assert_eq!(count(&folder.path().join("none")), 0);
    }

    #[test]
    fn a_job_that_is_missing_or_ran_twice_is_named() {
        let history = |numbers: &[u32]| History { records: numbers.iter().map(|n| record(*n, 1, 1)).collect() };
        assert_eq!(history(&[2, 0, 1, 9]).check(3), Ok(()), "warm-up jobs have higher numbers");
        let wrong = history(&[0, 0, 2]).check(4).expect_err("two are missing");
        assert_eq!(wrong, "of 4 jobs 2 did not run and 1 ran more than once");
    }

    #[test]
    fn the_clock_starts_when_the_last_process_has_begun() {
        let records = vec![record(0, 1, 10), record(1, 1, 20), record(2, 2, 30), record(3, 1, 40), record(4, 2, 50)];
        assert_eq!(History { records }.all_at_work(), Some((30, 3)));
        assert_eq!(History { records: Vec::new() }.all_at_work(), None);
    }

    #[test]
    fn waits_are_in_milliseconds() {
        let history = History { records: vec![record(0, 1, 9_000_000), record(5, 1, 9_000_000)] };
        assert_eq!(history.waits_ms(1), [2.5]);
    }
}
