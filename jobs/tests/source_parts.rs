//! Parts of chunks, and spools that would be too large.

use std::io::Write;
use std::path::Path;

use gristmill_core::chunk::{ChunkPayload, SourceFingerprint};
use gristmill_core::definition::{OneOrMany, SourceSpec};
use gristmill_jobs::source::{self, OpenOptions, SourceError};

async fn plan(
    dir: &Path,
    spec: &SourceSpec,
    chunk: u64,
) -> Result<(SourceFingerprint, Vec<ChunkPayload>), SourceError> {
    let options = OpenOptions {
        spool_dir: dir.join("spool"),
        base_dir: dir.to_owned(),
        chunk,
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
    let refused = plan(dir.path(), &csv("bomb.csv.gz"), 1).await.expect_err("over the limit");
    assert!(matches!(refused, SourceError::TooMuch { limit: 1_000_000, .. }), "{refused}");
    assert!(refused.to_string().contains("copy_bytes_max") && refused.is_permanent(), "{refused}");
    assert_eq!(std::fs::read_dir(dir.path().join("spool")).expect("a folder for copies").count(), 0);
}
