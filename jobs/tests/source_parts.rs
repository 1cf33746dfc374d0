//! Parts of chunks, and spools that would be too large or cannot be made.

use std::io::Write;
use std::path::Path;

use gristmill_core::chunk::{ChunkPayload, SourceFingerprint};
use gristmill_core::definition::{OneOrMany, SourceSpec};
use gristmill_jobs::source::{self, ChunkSize, OpenOptions, SourceError};

async fn plan(
    dir: &Path,
    spec: &SourceSpec,
    chunk: impl Into<ChunkSize>,
) -> Result<(SourceFingerprint, Vec<ChunkPayload>), SourceError> {
    let options = OpenOptions {
        spool_dir: dir.join("spool"),
        base_dir: dir.to_owned(),
        chunk: chunk.into(),
        spool_bytes_max: 1_000_000,
        stdin: None,
    };
    let mut planner = source::open(spec, options).await?;
    let mut chunks = Vec::new();
    while let Some(chunk) = planner.next_chunk().await? {
        chunks.push(chunk);
    }
    Ok((planner.fingerprint().clone(), chunks))
}

fn csv(name: &str) -> SourceSpec {
    SourceSpec { csv: Some(OneOrMany::One(name.to_owned())), ..SourceSpec::default() }
}

#[tokio::test]
async fn the_halves_of_a_chunk_read_its_items_and_each_keeps_its_place() {
    let dir = tempfile::tempdir().expect("a folder");
    std::fs::write(dir.path().join("a.csv"), "n,t\n1,\"x\ny\"\n2,b\n3,c\n4,d\n5,e\n").expect("written");
    let spec = csv("a.csv");
    let (fingerprint, chunks) = plan(dir.path(), &spec, 5).await.expect("it can be planned");
    let whole = source::read(&chunks[0], &fingerprint, &spec).await.expect("readable");
    let [left, right] = chunks[0].halves().expect("whole").expect("two");
    let [middle, last] = right.halves().expect("whole").expect("two");
    let mut parts = Vec::new();
    for part in [&left, &middle, &last] {
        let records = source::read(part, &fingerprint, &spec).await.expect("readable");
        assert_eq!(records.len() as u64, part.items);
        parts.extend(records);
    }
    assert_eq!(parts, whole, "positions and lines too");
}

#[tokio::test]
async fn a_decompression_bomb_is_refused_and_leaves_nothing() {
    let dir = tempfile::tempdir().expect("a folder");
    let file = std::fs::File::create(dir.path().join("bomb.csv.gz")).expect("made");
    let mut bomb = flate2::write::GzEncoder::new(file, flate2::Compression::fast());
    bomb.write_all(b"n\n").and_then(|()| bomb.write_all(&vec![b'0'; 2_000_000])).expect("written");
    bomb.finish().expect("whole");
    // Of bzip2 a few bytes are enough, and many streams of them too.
    let many = bzip2(&vec![b'0'; 400_000]).repeat(3);
    std::fs::write(dir.path().join("bomb.csv.bz2"), [bzip2(b"n\n"), many].concat()).expect("written");
    for name in ["bomb.csv.gz", "bomb.csv.bz2"] {
        let refused = plan(dir.path(), &csv(name), 1).await.expect_err("over the limit");
        assert!(matches!(refused, SourceError::TooMuch { limit: 1_000_000, .. }), "{refused}");
        assert!(refused.to_string().contains("copy_bytes_max") && refused.is_permanent(), "{refused}");
    }
    assert_eq!(std::fs::read_dir(dir.path().join("spool")).expect("a folder for copies").count(), 0);
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).expect("it is packed");
    encoder.finish().expect("it is packed")
}

fn bzip2(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = bzip2::write::BzEncoder::new(Vec::new(), bzip2::Compression::fast());
    encoder.write_all(bytes).expect("it is packed");
    encoder.finish().expect("it is packed")
}

#[tokio::test]
async fn what_cannot_be_unpacked_is_called_by_its_name_and_never_read_as_text() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let mut tar = vec![b'x'; 512];
    tar[257..262].copy_from_slice(b"ustar");
    for (bytes, said) in [
        (b"\x04\x22\x4d\x18\x64\x40".to_vec(), "compressed with lz4, which is not read here"),
        (b"BZh91AY&SY\x19\x31\x65\x3d".to_vec(), "the bzip2 data is damaged or ends early"),
        (bzip2(&gzip(b"n\n1\n")), "compressed once more"),
        ([bzip2(b"n\n1\n"), b"n\n".to_vec()].concat(), "the bzip2 data is damaged or ends early"),
        (gzip(&tar), "what is in it cannot be read: it is a tar archive"),
        (gzip(&gzip(b"n\n1\n")), "compressed once more"),
        (tar, "a tar archive"),
        (b"PK\x03\x04".to_vec(), "the zip archive cannot be read"),
    ] {
        std::fs::write(dir.path().join("a.csv"), bytes).expect("written");
        let error = plan(dir.path(), &csv("a.csv"), 1).await.expect_err(said).to_string();
        assert!(error.starts_with("a.csv") && error.contains(said), "{error}");
    }
    std::fs::write(dir.path().join("a.csv"), "BZh1,n\n1,2\n").expect("written");
    let (_, chunks) = plan(dir.path(), &csv("a.csv"), 1).await.expect("a name, not an archive");
    assert_eq!(chunks.len(), 1);
    let left = std::fs::read_dir(dir.path().join("spool")).map_or(0, Iterator::count);
    assert_eq!(left, 0, "nothing is left behind");
}

#[tokio::test]
async fn chunks_suit_the_size_of_the_input_unless_it_is_said() {
    let dir = tempfile::tempdir().expect("a folder");
    for (rows, expected) in [(10, 1), (40_000, 11), (400_000, 64)] {
        let lines = (0..rows).map(|id| format!("{id:08},somebody\n"));
        let text: String = std::iter::once("id,name\n".to_owned()).chain(lines).collect();
        std::fs::write(dir.path().join("a.csv"), text).expect("written");
        let (_, chunks) = plan(dir.path(), &csv("a.csv"), ChunkSize::Fitting).await.expect("it can be planned");
        assert_eq!(chunks.iter().map(|chunk| chunk.items).sum::<u64>(), rows);
        assert!(chunks.len().abs_diff(expected) <= 1, "{rows} rows make {} chunks", chunks.len());
    }
}

#[tokio::test]
async fn what_stands_before_a_header_and_how_it_names_its_columns_is_put_right_on_request() {
    let dir = tempfile::tempdir().expect("a folder");
    let text = "\u{feff}Report of today\n\n a ,b,a,a_2, a\n1,2,3,4,5\n";
    std::fs::write(dir.path().join("a.csv"), text).expect("written");
    let spec = |more: serde_json::Value| -> SourceSpec {
        let mut spec = serde_json::json!({ "csv": "a.csv" });
        spec.as_object_mut().expect("a table").extend(more.as_object().expect("a table").clone());
        serde_json::from_value(spec).expect("a source")
    };
    let right = spec(serde_json::json!({ "skip_lines": 2, "trim_header": true, "duplicate_columns": "rename" }));
    let (fingerprint, chunks) = plan(dir.path(), &right, 10).await.expect("planned");
    assert_eq!(fingerprint.files[0].columns, ["a", "b", "a_3", "a_2", "a_4"]);
    let records = source::read(&chunks[0], &fingerprint, &right).await.expect("read");
    assert_eq!(records[0].line, Some(4));
    let item = records[0].item.as_ref().expect("an item");
    assert_eq!(*item, serde_json::json!({ "a": "1", "b": "2", "a_3": "3", "a_2": "4", "a_4": "5" }));
    for (more, said) in [
        (serde_json::json!({ "skip_lines": 2, "trim_header": true }), "names `a` twice"),
        (serde_json::json!({ "skip_lines": 9 }), "the file has 4 lines, and `skip_lines` leaves out 9"),
        (serde_json::json!({ "skip_lines": 10_001 }), "`skip_lines` = 10001"),
        (serde_json::json!({ "columns": ["a"], "trim_header": true }), "take one out"),
    ] {
        let error = plan(dir.path(), &spec(more), 10).await.expect_err(said).to_string();
        assert!(error.contains(said), "{error}");
    }
    let lines: SourceSpec =
        serde_json::from_value(serde_json::json!({ "jsonl": "a.csv", "skip_lines": 1 })).expect("a source");
    let error = plan(dir.path(), &lines, 10).await.expect_err("no header").to_string();
    assert!(error.contains("`skip_lines` has a meaning for csv and fixed only"), "{error}");
}
