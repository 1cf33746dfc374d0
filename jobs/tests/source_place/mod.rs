//! A folder of files as sources: what the tests of files share.
#![allow(dead_code, unreachable_pub, reason = "each test uses a part of it")]

use std::path::PathBuf;

use gristmill_core::chunk::{ChunkPayload, SourceFingerprint};
use gristmill_core::definition::{OneOrMany, SourceSpec};
use gristmill_jobs::source::{self, OpenOptions, Planner, Record, SourceError};
use serde_json::Value;
use tempfile::TempDir;

pub(crate) struct Place {
    pub(crate) dir: TempDir,
}

impl Place {
    pub(crate) fn new() -> Self {
        Self { dir: TempDir::new().expect("a temporary folder") }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub(crate) fn write(&self, name: &str, bytes: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path(name);
        std::fs::write(&path, bytes).expect("the file is written");
        path
    }

    pub(crate) fn options(&self, chunk: u64) -> OpenOptions {
        OpenOptions {
            spool_dir: self.path("spool"),
            base_dir: self.dir.path().to_owned(),
            chunk: chunk.into(),
            spool_bytes_max: 1_000_000,
            stdin: None,
        }
    }

    pub(crate) fn spooled(&self) -> usize {
        std::fs::read_dir(self.path("spool")).map_or(0, |entries| entries.count())
    }

    pub(crate) async fn open(&self, spec: &SourceSpec) -> Result<Planner, SourceError> {
        source::open(spec, self.options(3)).await
    }

    pub(crate) async fn refusal(&self, spec: &SourceSpec) -> SourceError {
        match self.plan(spec, 3).await {
            Err(error) => error,
            Ok((_, chunks)) => panic!("it was planned: {chunks:?}"),
        }
    }

    pub(crate) async fn plan(
        &self,
        spec: &SourceSpec,
        chunk: u64,
    ) -> Result<(SourceFingerprint, Vec<ChunkPayload>), SourceError> {
        drain(source::open(spec, self.options(chunk)).await?).await
    }

    pub(crate) async fn records(&self, spec: &SourceSpec, chunk: u64) -> Vec<Record> {
        let (fingerprint, chunks) = self.plan(spec, chunk).await.expect("it can be planned");
        read_all(spec, &fingerprint, &chunks).await
    }

    pub(crate) async fn items(&self, spec: &SourceSpec) -> Vec<Value> {
        self.records(spec, 3).await.into_iter().map(|record| record.item.expect("it can be read")).collect()
    }
}

pub(crate) async fn drain(mut planner: Planner) -> Result<(SourceFingerprint, Vec<ChunkPayload>), SourceError> {
    let mut chunks = Vec::new();
    while let Some(chunk) = planner.next_chunk().await? {
        chunks.push(chunk);
    }
    assert_eq!(planner.next_chunk().await?, None, "the end stays the end");
    Ok((planner.fingerprint().clone(), chunks))
}

pub(crate) async fn read_all(
    spec: &SourceSpec,
    fingerprint: &SourceFingerprint,
    chunks: &[ChunkPayload],
) -> Vec<Record> {
    let mut records = Vec::new();
    for chunk in chunks {
        let read = source::read(chunk, fingerprint, spec).await.expect("the chunk can be read");
        assert_eq!(read.len() as u64, chunk.items);
        assert_eq!(records.len() as u64, chunk.first);
        records.extend(read);
    }
    for (position, record) in records.iter().enumerate() {
        assert_eq!(record.position, position as u64);
    }
    records
}

pub(crate) fn csv(name: &str) -> SourceSpec {
    SourceSpec { csv: Some(OneOrMany::One(name.to_owned())), ..SourceSpec::default() }
}

pub(crate) fn jsonl(name: &str) -> SourceSpec {
    SourceSpec { jsonl: Some(OneOrMany::One(name.to_owned())), ..SourceSpec::default() }
}

pub(crate) fn columns(names: &[&str]) -> Option<Vec<String>> {
    Some(names.iter().map(|name| (*name).to_owned()).collect())
}

pub(crate) fn reason(record: &Record) -> &str {
    &record.item.as_ref().expect_err("it cannot be read").reason
}
