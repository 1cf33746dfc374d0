//! Where the items that passed every stage are written: parts in a folder, or rows of a table.
//!
//! A part is one chunk's file: `<folder>/<batch id>/part-000007-a1-8f3c5d20b1e6.jsonl`, named after the chunk's number,
//! the attempt and the worker, so that two attempts never write to the same file. It is written under another name,
//! synced to disk and then renamed: a part is there as a whole or not at all. Only parts that a result lists count; the
//! aggregate lists them in the manifest and removes the others.

mod csv;
mod manifest;
mod part;
mod place;
mod reading;

use std::path::{Path, PathBuf};

use gristmill_core::chunk::OutputPart;
use gristmill_core::definition::{OutputSpec, SqlOutput};
use gristmill_core::formula::Formulas;
use gristmill_core::id::BatchId;
use gristmill_store::SqlRows;
use serde_json::{Map, Value};

pub(crate) use csv::{header as csv_header, row as csv_item};
pub use manifest::{Manifest, OutputDirectory};
pub use part::{MANIFEST, PartName};

/// What could not be written, where and why.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("cannot write {path}: {cause}")]
pub struct SinkError {
    /// The file or folder.
    pub path: String,
    /// What the system said.
    pub cause: String,
}

impl SinkError {
    fn new(path: &Path, cause: &std::io::Error) -> Self {
        Self { path: path.display().to_string(), cause: cause.to_string() }
    }
}

/// Where a definition's items go.
#[derive(Debug, Clone)]
pub enum Sink {
    /// Parts in a folder.
    Parts {
        /// The folder.
        folder: PathBuf,
        /// How they are written.
        encoding: Encoding,
    },
    /// Rows of a table.
    Sql(SqlOutput),
}

/// How a part is written.
#[derive(Debug, Clone)]
pub enum Encoding {
    /// One JSON object per line.
    JsonLines,
    /// Separated by commas, with a header of these columns.
    Csv(Vec<String>, Formulas),
}

/// Items as they are written.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Encoded {
    /// How many.
    pub items: u64,
    /// All of them, one after the other.
    pub bytes: Vec<u8>,
}

/// How a chunk's items were written.
#[derive(Debug, Clone, PartialEq)]
pub enum Written {
    /// A part, in place. `None` when there was nothing to write.
    Part(Option<OutputPart>),
    /// Rows for the transaction that completes the chunk.
    Rows(Option<SqlRows>),
}

impl Sink {
    /// Parts of JSON lines in a folder.
    pub fn json_lines(folder: PathBuf) -> Self {
        Self::Parts { folder, encoding: Encoding::JsonLines }
    }

    /// Parts of CSV in a folder.
    pub fn csv(folder: PathBuf, columns: Vec<String>, formulas: Formulas) -> Self {
        Self::Parts { folder, encoding: Encoding::Csv(columns, formulas) }
    }

    /// Rows of a table in the store's own database.
    pub fn sql(table: SqlOutput) -> Self {
        Self::Sql(table)
    }

    /// Tries the folder of its parts, before a batch begins to write there. A table is tried by its database:
    /// [`Completions::try_sink`](gristmill_store::Completions::try_sink).
    ///
    /// # Errors
    ///
    /// When nothing can be written there.
    pub fn try_folder(&self) -> Result<(), SinkError> {
        match self {
            Self::Parts { folder, .. } => place::try_folder(folder),
            Self::Sql(_) => Ok(()),
        }
    }

    /// The table of its rows, if it has one.
    pub fn table(&self) -> Option<&SqlOutput> {
        match self {
            Self::Parts { .. } => None,
            Self::Sql(table) => Some(table),
        }
    }

    /// Writes a chunk's items. For no items nothing is written: an empty part would serve no purpose.
    ///
    /// # Errors
    ///
    /// When the folder cannot be written to, or the disk is full; then nothing of the part remains.
    pub async fn write(&self, batch: BatchId, name: PartName, items: Vec<Value>) -> Result<Written, SinkError> {
        match self {
            Self::Sql(_) if items.is_empty() => Ok(Written::Rows(None)),
            Self::Sql(table) => Ok(Written::Rows(Some(rows(table, items)))),
            Self::Parts { encoding, .. } => {
                let encoding = encoding.clone();
                let encode = move || Ok(Encoded { items: items.len() as u64, bytes: encoding.encode(&items)? });
                self.write_part(batch, name, encode).await
            }
        }
    }

    /// Writes a chunk's items that are encoded already.
    ///
    /// # Errors
    ///
    /// As [`write`](Self::write).
    pub async fn write_encoded(&self, batch: BatchId, name: PartName, encoded: Encoded) -> Result<Written, SinkError> {
        self.write_part(batch, name, || Ok(encoded)).await
    }

    async fn write_part(
        &self,
        batch: BatchId,
        name: PartName,
        encode: impl FnOnce() -> Result<Encoded, String> + Send + 'static,
    ) -> Result<Written, SinkError> {
        let Self::Parts { folder, encoding } = self else { return Ok(Written::Rows(None)) };
        let (folder, extension) = (folder.clone(), encoding.extension());
        let interrupted = SinkError {
            path: folder.display().to_string(),
            cause: "writing was cut short; nothing of the part was kept".to_owned(),
        };
        let written = tokio::task::spawn_blocking(move || part::write(&folder, batch, name, extension, encode));
        written.await.unwrap_or(Err(interrupted)).map(Written::Part)
    }

    /// The batch's own folder, if the sink has one.
    pub fn directory(&self, batch: BatchId) -> Option<OutputDirectory> {
        match self {
            Self::Parts { folder, encoding } => Some(OutputDirectory::new(folder.clone(), batch, encoding.extension())),
            Self::Sql(_) => None,
        }
    }
}

impl Encoding {
    /// The ending of its parts' names.
    pub fn extension(&self) -> &'static str {
        match self {
            Self::JsonLines => "jsonl",
            Self::Csv(..) => "csv",
        }
    }

    /// The bytes of a part.
    pub(crate) fn encode(&self, items: &[Value]) -> Result<Vec<u8>, String> {
        match self {
            Self::JsonLines => {
                let mut bytes = Vec::new();
                items.iter().try_for_each(|item| json_line(item, &mut bytes))?;
                Ok(bytes)
            }
            Self::Csv(columns, formulas) => csv::encode(columns, *formulas, items),
        }
    }
}

/// Appends an item as a line of JSON.
pub(crate) fn json_line(item: &Value, bytes: &mut Vec<u8>) -> Result<(), String> {
    serde_json::to_writer(&mut *bytes, item).map_err(|error| error.to_string())?;
    bytes.push(b'\n');
    Ok(())
}

/// Appends a text as JSON.
pub(crate) fn json_text(text: &str, bytes: &mut Vec<u8>) {
    // Memory does not fail.
    let _ = serde_json::to_writer(bytes, text);
}

/// Removes the parts of a batch that no manifest lists, and its folder when nothing is left in it. Returns how many
/// files there were. For a batch that is cancelled and will never be aggregated: what an earlier generation has listed
/// stays. Blocks.
///
/// # Errors
///
/// When the folder cannot be read, or a file cannot be removed.
pub fn remove_unlisted(output: &OutputSpec, batch: BatchId) -> Result<u64, SinkError> {
    let places = [
        output.jsonl.as_ref().map(|folder| (folder, Encoding::JsonLines)),
        output.csv.as_ref().map(|folder| (folder, Encoding::Csv(Vec::new(), Formulas::Keep))),
    ];
    let mut files = 0;
    for (folder, encoding) in places.into_iter().flatten() {
        files += OutputDirectory::new(PathBuf::from(folder), batch, encoding.extension()).remove_unlisted()?;
    }
    Ok(files)
}

/// A column that an item does not have is null: whether that is allowed is up to the table.
fn rows(table: &SqlOutput, items: Vec<Value>) -> SqlRows {
    let row = |mut item: Value| {
        let cells = table.columns.iter().map(|column| {
            let cell = item.get_mut(column).map(Value::take).unwrap_or_default();
            (column.clone(), cell)
        });
        Value::Object(cells.collect::<Map<_, _>>())
    };
    SqlRows { table: table.table.clone(), columns: table.columns.clone(), rows: items.into_iter().map(row).collect() }
}

#[cfg(test)]
mod tests {
    use gristmill_core::id::WorkerId;
    use serde_json::json;
    use uuid::Uuid;

    use super::*;

    const BATCH: BatchId = BatchId(Uuid::from_u128(7));
    const WORKER: WorkerId = WorkerId(Uuid::from_u128(42));

    #[tokio::test]
    async fn a_part_is_put_in_place_with_its_count_size_and_hash() {
        let folder = tempfile::tempdir().expect("a folder");
        let sink = Sink::json_lines(folder.path().join("out"));
        let name = PartName { seq: 7, attempt: 2, worker: WORKER };
        let written = sink.write(BATCH, name, vec![json!({ "b": 1, "a": "é" }), json!({})]).await.expect("written");
        let Written::Part(Some(part)) = written else { panic!("no part: {written:?}") };
        assert_eq!(part.path, format!("{BATCH}/part-000007-a2-00000000002a.jsonl"));
        let bytes = std::fs::read(folder.path().join("out").join(&part.path)).expect("in place");
        assert_eq!(String::from_utf8(bytes.clone()).expect("UTF-8"), "{\"b\":1,\"a\":\"é\"}\n{}\n");
        assert_eq!((part.items, part.bytes), (2, bytes.len() as u64));
        assert_eq!(part.sha256, hex::encode(<sha2::Sha256 as sha2::Digest>::digest(&bytes)));
        let names = std::fs::read_dir(folder.path().join("out").join(BATCH.to_string())).expect("a folder").count();
        assert_eq!(names, 1, "no temporary file stays");
    }

    #[tokio::test]
    async fn an_attempt_that_was_given_back_writes_beside_the_one_that_follows_it() {
        let folder = tempfile::tempdir().expect("a folder");
        let sink = Sink::json_lines(folder.path().to_path_buf());
        let name = |worker| PartName { seq: 3, attempt: 1, worker: WorkerId(Uuid::from_u128(worker)) };
        let written = sink.write(BATCH, name(2), vec![json!({ "who": "counts" })]).await.expect("written");
        sink.write(BATCH, name(1), vec![json!({ "who": "stalled" })]).await.expect("written");
        let Written::Part(Some(part)) = written else { panic!("no part: {written:?}") };
        let bytes = std::fs::read(folder.path().join(&part.path)).expect("in place");
        assert_eq!(part.sha256, hex::encode(<sha2::Sha256 as sha2::Digest>::digest(&bytes)));
    }

    #[tokio::test]
    async fn a_folder_that_cannot_be_is_a_clear_error() {
        let folder = tempfile::tempdir().expect("a folder");
        std::fs::write(folder.path().join("out"), "a file").expect("written");
        let sink = Sink::json_lines(folder.path().join("out"));
        let error = sink
            .write(BATCH, PartName { seq: 0, attempt: 1, worker: WORKER }, vec![json!({})])
            .await
            .expect_err("a file");
        assert!(error.path.contains("out") && !error.cause.is_empty(), "{error}");
    }

    /// A device that is always full stands in for a disk.
    #[cfg(target_os = "linux")]
    #[test]
    fn a_full_disk_is_reported_as_such() {
        let error = part::write_through(Path::new("/dev/full"), b"x").expect_err("full");
        assert!(error.to_string().to_lowercase().contains("no space"), "{error}");
    }

    #[tokio::test]
    async fn rows_have_exactly_the_columns_of_the_table() {
        let table = SqlOutput { table: "t".to_owned(), columns: vec!["a".to_owned(), "b".to_owned()] };
        let sink = Sink::sql(table);
        let written =
            sink.write(BATCH, PartName { seq: 0, attempt: 1, worker: WORKER }, vec![json!({ "c": 1, "a": 2 })]).await;
        let Ok(Written::Rows(Some(rows))) = written else { panic!("no rows") };
        assert_eq!(rows.rows, [json!({ "a": 2, "b": null })]);
    }
}
