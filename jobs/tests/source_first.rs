//! The first records of a source, for a trial.

use std::io::{Read, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use gristmill_core::definition::{OneOrMany, SourceSpec};
use gristmill_jobs::source;
use serde_json::json;

mod source_place;

use source_place::{Place, csv};

#[tokio::test]
async fn a_look_at_the_first_records_reads_no_more_than_these_and_writes_nothing() {
    /// Lines without end.
    struct Endless(Vec<u8>, Arc<AtomicUsize>);
    impl Read for Endless {
        fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
            if self.0.is_empty() {
                self.0.extend_from_slice(b"1,x\n");
            }
            let length = self.0.len().min(buffer.len());
            buffer[..length].copy_from_slice(&self.0[..length]);
            self.0.drain(..length);
            self.1.fetch_add(length, Ordering::Relaxed);
            Ok(length)
        }
    }
    let place = Place::new();
    place.write("a.csv", "n,t\n7,\"a\nb\"\n8\n");
    let read = Arc::default();
    let stdin = Endless(b"n,t\n".to_vec(), Arc::clone(&read));
    let files = ["a.csv", "-"].map(str::to_owned).to_vec();
    let spec = SourceSpec { csv: Some(OneOrMany::Many(files)), ..SourceSpec::default() };
    let base = place.dir.path().to_owned();
    let records = source::peek(&spec, base, Some(Box::new(stdin)), 5).await.expect("read");
    let seen: Vec<_> = records.iter().map(|record| (record.position, record.line, record.item.is_ok())).collect();
    assert_eq!(
        seen,
        [(0, Some(2), true), (1, Some(4), false), (2, Some(2), true), (3, Some(3), true), (4, Some(4), true)]
    );
    assert_eq!(records[4].item, Ok(json!({ "n": "1", "t": "x" })));
    assert!(read.load(Ordering::Relaxed) < 64 * 1024, "{read:?}");
    assert_eq!(std::fs::read_dir(place.dir.path()).expect("a folder").count(), 1, "nothing was spooled");
}

#[tokio::test]
async fn the_first_records_are_those_of_the_batch_however_they_are_packed_and_encoded() {
    let place = Place::new();
    let text = "Report\n\nn,t\n1,é\n2,\"x\ny\"\n3\n4,z\n";
    let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    packed.write_all(text.as_bytes()).expect("packed");
    place.write("a.gz", packed.finish().expect("packed"));
    place.write("b.csv", encoding_rs::WINDOWS_1252.encode(text).0);
    place.write("c.csv", format!("\u{feff}{text}"));
    for (file, encoding) in [("a.gz", None), ("b.csv", Some("windows-1252")), ("c.csv", None)] {
        let spec = SourceSpec { skip_lines: Some(2), encoding: encoding.map(str::to_owned), ..csv(file) };
        let all = place.records(&spec, 2).await;
        for limit in 1..=5 {
            let seen = source::peek(&spec, place.dir.path().to_owned(), None, limit).await.expect("read");
            assert_eq!(seen[..], all[..all.len().min(usize::try_from(limit).expect("small"))], "{file} {limit}");
        }
    }
    let wrong = SourceSpec { encoding: Some("shift_jis".to_owned()), ..csv("b.csv") };
    let error = source::peek(&wrong, place.dir.path().to_owned(), None, 9).await.expect_err("bytes").to_string();
    assert!(error.starts_with("b.csv:4: these bytes are not Shift_JIS"), "{error}");
}
