//! A lookup in a CSV or JSON lines file, read as a whole and kept until the file changes.

use std::collections::HashMap;
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::sync::Arc;
use std::time::SystemTime;

use gristmill_core::json;
use serde_json::{Map, Value};
use tokio::sync::Mutex;

use super::{LookupError, Records, key_text, passing, permanent};

/// The largest lookup file: it is held in memory.
const BYTES_MAX: u64 = 256 * 1024 * 1024;

/// What distinguishes one state of the file from another.
type Stamp = (u64, Option<SystemTime>);

#[derive(Debug)]
pub(super) struct FileLookup(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    path: String,
    key: String,
    format: Format,
    kept: Mutex<Option<(Stamp, Records)>>,
}

#[derive(Debug, Clone, Copy)]
enum Format {
    Csv,
    JsonLines,
}

impl FileLookup {
    pub(super) fn new(path: &str, key: &str) -> Result<Self, String> {
        let extension = Path::new(path).extension().and_then(|extension| extension.to_str()).unwrap_or_default();
        let format = match extension.to_ascii_lowercase().as_str() {
            "csv" => Format::Csv,
            "jsonl" | "ndjson" => Format::JsonLines,
            _ => return Err(format!("`{path}` is neither `.csv` nor `.jsonl`; a lookup file must be one of them")),
        };
        Ok(Self(Arc::new(Inner { path: path.to_owned(), key: key.to_owned(), format, kept: Mutex::new(None) })))
    }

    pub(super) fn path(&self) -> &str {
        &self.0.path
    }

    /// Two chunks that arrive at the same time read the file once: the second waits for the first.
    pub(super) async fn records(&self) -> Result<Records, LookupError> {
        let mut kept = self.0.kept.lock().await;
        let known = kept.as_ref().map(|(fingerprint, _)| *fingerprint);
        let inner = Arc::clone(&self.0);
        let read = tokio::task::spawn_blocking(move || inner.read_unless(known)).await;
        match read.map_err(|_| passing("reading the lookup file was cut short"))?? {
            Some((fingerprint, records)) => {
                *kept = Some((fingerprint, Arc::clone(&records)));
                Ok(records)
            }
            None => Ok(kept.as_ref().map(|(_, records)| Arc::clone(records)).unwrap_or_default()),
        }
    }
}

impl Inner {
    fn read_unless(&self, known: Option<Stamp>) -> Result<Option<(Stamp, Records)>, LookupError> {
        let unreadable = |cause: std::io::Error| passing(format!("cannot read `{}`: {cause}", self.path));
        // Opening a pipe would wait for a writer.
        if !std::fs::metadata(&self.path).map_err(unreadable)?.is_file() {
            return Err(permanent(format!("`{}` is not a file; name one", self.path)));
        }
        let file = File::open(&self.path).map_err(unreadable)?;
        let about = file.metadata().map_err(unreadable)?;
        let fingerprint = (about.len(), about.modified().ok());
        if known == Some(fingerprint) {
            return Ok(None);
        }
        if about.len() > BYTES_MAX {
            return Err(permanent(format!(
                "`{}` has {} bytes, and a lookup file at most {BYTES_MAX}; put it into a table and use `sql`",
                self.path,
                about.len()
            )));
        }
        let records = match self.format {
            Format::Csv => self.csv(file)?,
            Format::JsonLines => self.json_lines(file)?,
        };
        Ok(Some((fingerprint, Arc::new(records))))
    }

    fn csv(&self, file: File) -> Result<HashMap<String, Map<String, Value>>, LookupError> {
        let bad = |error: csv::Error| permanent(format!("`{}`: {error}", self.path));
        let mut reader = csv::Reader::from_reader(BufReader::new(file));
        let mut names: Vec<String> = reader.headers().map_err(bad)?.iter().map(str::to_owned).collect();
        if let Some(first) = names.first_mut() {
            *first = first.trim_start_matches('\u{feff}').to_owned();
        }
        if !names.contains(&self.key) {
            let columns = names.join("`, `");
            return Err(permanent(format!("`{}` has no column `{}`; it has `{columns}`", self.path, self.key)));
        }
        let mut records = HashMap::new();
        for row in reader.records() {
            let row = row.map_err(bad)?;
            let line = row.position().map_or(0, csv::Position::line);
            let record = names.iter().cloned().zip(row.iter().map(Value::from)).collect();
            self.insert(&mut records, record, line)?;
        }
        Ok(records)
    }

    fn json_lines(&self, file: File) -> Result<HashMap<String, Map<String, Value>>, LookupError> {
        let mut records = HashMap::new();
        for (line, text) in (1..).zip(BufReader::new(file).lines()) {
            let text = text.map_err(|cause| passing(format!("cannot read `{}`: {cause}", self.path)))?;
            if text.trim().is_empty() {
                continue;
            }
            let record = json::read_object(text.trim_start_matches('\u{feff}').as_bytes()).map_err(|error| {
                permanent(format!("`{}`, line {line}: not an object that can be kept: {error}", self.path))
            })?;
            self.insert(&mut records, record, line)?;
        }
        Ok(records)
    }

    fn insert(
        &self,
        records: &mut HashMap<String, Map<String, Value>>,
        record: Map<String, Value>,
        line: u64,
    ) -> Result<(), LookupError> {
        let place = || format!("`{}`, line {line}", self.path);
        let key = record
            .get(&self.key)
            .and_then(key_text)
            .ok_or_else(|| permanent(format!("{}: the record has no `{}`", place(), self.key)))?;
        // Choosing either would make the result depend on the order of the file.
        if records.contains_key(&key) {
            return Err(permanent(format!(
                "{}: the key `{key}` is there for the second time; keep one of them",
                place()
            )));
        }
        records.insert(key, record);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use gristmill_core::definition::EnrichSpec;
    use serde_json::json;

    use super::super::Enrich;
    use super::*;

    fn enrich(spec: Value) -> Enrich {
        let spec: EnrichSpec = serde_json::from_value(spec).expect("a lookup");
        Enrich::compile(&spec).expect("a good lookup")
    }

    async fn apply(enrich: &Enrich, mut item: Value) -> Result<Option<Value>, String> {
        let records = enrich.look_up([&item].into_iter()).await.map_err(|error| error.to_string())?;
        let kept = enrich.apply(&mut item, &records).map_err(|refusal| refusal.reason)?;
        Ok(kept.then_some(item))
    }

    #[tokio::test]
    async fn an_item_receives_what_the_file_has_and_keeps_its_own() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("countries.csv");
        std::fs::write(&path, "\u{feff}code,name,id\n17,France,x\n18,Norway,y\n").expect("written");
        let merged = enrich(json!({ "file": path, "on": "country", "key": "code" }));
        assert_eq!(
            apply(&merged, json!({ "country": 17.0, "id": 1 })).await,
            Ok(Some(json!({ "country": 17.0, "id": 1, "code": "17", "name": "France" })))
        );
        assert_eq!(apply(&merged, json!({ "country": "99" })).await, Ok(Some(json!({ "country": "99" }))));
        let nested = enrich(json!({ "file": path, "on": "code", "into": "place", "missing": "quarantine" }));
        assert_eq!(
            apply(&nested, json!({ "code": "18" })).await,
            Ok(Some(json!({ "code": "18", "place": { "code": "18", "name": "Norway", "id": "y" } })))
        );
        let lost = apply(&nested, json!({ "code": "99" })).await.expect_err("not there");
        assert_eq!(lost, "`code` is `99`, and the lookup has no such `code`");
        let skipping = enrich(json!({ "file": path, "on": "code", "missing": "skip" }));
        assert_eq!(apply(&skipping, json!({})).await, Ok(None));
    }

    #[tokio::test]
    async fn a_field_that_was_set_to_null_before_is_filled_and_stays_null_where_nothing_is_found() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("names.jsonl");
        std::fs::write(&path, "{\"k\":\"a\",\"name\":\"Alpha\",\"rank\":null}\n").expect("written");
        let lookup = enrich(json!({ "file": path, "on": "k" }));
        let empty = |k: &str| json!({ "k": k, "name": null, "rank": null, "own": null });
        let found = json!({ "k": "a", "name": "Alpha", "rank": null, "own": null });
        assert_eq!(apply(&lookup, empty("a")).await, Ok(Some(found)));
        assert_eq!(apply(&lookup, empty("c")).await, Ok(Some(empty("c"))));
        let own = json!({ "k": "a", "name": "", "rank": 0 });
        assert_eq!(apply(&lookup, own.clone()).await, Ok(Some(own)));
    }

    #[tokio::test]
    async fn what_a_file_holds_is_exact_or_refused() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("a.jsonl");
        let lookup = enrich(json!({ "file": path, "on": "k" }));
        let deep = format!("{{\"k\":1,\"v\":{}1{}}}\n", "[".repeat(64), "]".repeat(64));
        for (line, word) in
            [("{\"k\":1,\"v\":12345678901234567890123}\n", "12345678901234567890123"), (&deep, "deeper")]
        {
            std::fs::write(&path, line).expect("written");
            let error = apply(&lookup, json!({ "k": 1 })).await.expect_err(line);
            assert!(error.contains(word) && error.contains("line 1"), "{error}");
        }
        let odd = json!({ "k": 1, "v": { "$serde_json::private::RawValue": "[1]" } });
        std::fs::write(&path, format!("{odd}\n")).expect("written");
        assert_eq!(apply(&lookup, json!({ "k": 1 })).await, Ok(Some(odd)));
        let deepest = format!("{{\"k\":1,\"v\":{}1{}}}\n", "[".repeat(63), "]".repeat(63));
        std::fs::write(&path, deepest).expect("written");
        let nested = enrich(json!({ "file": path, "on": "k", "into": "r" }));
        let error = apply(&nested, json!({ "k": 1 })).await.expect_err("65 levels");
        assert!(error.contains("nested deeper than 64"), "{error}");
    }

    #[tokio::test]
    async fn a_file_that_changed_is_read_again() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("a.jsonl");
        std::fs::write(&path, "{\"k\":1,\"v\":\"old\"}\n").expect("written");
        let lookup = enrich(json!({ "file": path, "on": "k" }));
        assert_eq!(apply(&lookup, json!({ "k": 1 })).await, Ok(Some(json!({ "k": 1, "v": "old" }))));
        std::fs::write(&path, "{\"k\":1,\"v\":\"newer\"}\n").expect("written");
        assert_eq!(apply(&lookup, json!({ "k": 1 })).await, Ok(Some(json!({ "k": 1, "v": "newer" }))));
    }

    #[tokio::test]
    async fn a_bad_file_says_what_and_where() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("a.csv");
        let lookup = enrich(json!({ "file": path, "on": "k" }));
        assert!(apply(&lookup, json!({})).await.expect_err("no file").contains("cannot read"));
        for (content, expected) in
            [("a,b\n1,2\n", "has no column `k`"), ("k\n1\n1\n", "line 3: the key `1`"), ("k,v\n1\n", "a.csv")]
        {
            std::fs::write(&path, content).expect("written");
            let error = apply(&lookup, json!({ "k": 1 })).await.expect_err(content);
            assert!(error.contains(expected), "{error}");
        }
        let spec = serde_json::from_value(json!({ "file": "a.xlsx", "on": "k" })).expect("a lookup");
        assert!(Enrich::compile(&spec).expect_err("no such format").contains(".csv"));
    }
}
