//! Files as sources: planned, cut, read, and every way in which they can be bad.

use std::io::Write;
use std::path::Path;

use gristmill_core::chunk::{ChunkPayload, Slice, SourceFingerprint};
use gristmill_core::definition::{Compression, OneOrMany, Ragged, SourceSpec};
use gristmill_core::inline::{InlineItem, encode};
use gristmill_jobs::source::{self, COLUMNS_MAX, OpenOptions, Record, SourceError};
use proptest::prelude::*;
use serde_json::json;

mod source_place;

use source_place::{Place, columns, csv, drain, jsonl, read_all, reason};

// ---- what goes well ----------------------------------------------------------------------------

#[tokio::test]
async fn a_csv_file_becomes_objects_in_the_order_of_its_header() {
    let place = Place::new();
    place.write("a.csv", "\u{feff}b,a\r\n1,\"x \"\"y\"\", z\"\r\n\r\n2,\"two\nlines\"\r\n3,\r\n4,last");
    let records = place.records(&csv("a.csv"), 2).await;
    let items: Vec<String> =
        records.iter().map(|record| record.item.as_ref().expect("it can be read").to_string()).collect();
    assert_eq!(
        items,
        [
            r#"{"b":"1","a":"x \"y\", z"}"#,
            r#"{"b":"2","a":"two\nlines"}"#,
            r#"{"b":"3","a":""}"#,
            r#"{"b":"4","a":"last"}"#
        ]
    );
    let lines: Vec<Option<u64>> = records.iter().map(|record| record.line).collect();
    assert_eq!(lines, [Some(2), Some(4), Some(6), Some(7)]);
}

#[tokio::test]
async fn chunks_have_as_many_items_as_asked_and_the_rest() {
    let place = Place::new();
    place.write("a.csv", format!("n\n{}", (0..10).map(|n| format!("{n}\n")).collect::<String>()));
    let (_, chunks) = place.plan(&csv("a.csv"), 4).await.expect("it can be planned");
    let sizes: Vec<(u64, u64)> = chunks.iter().map(|chunk| (chunk.first, chunk.items)).collect();
    assert_eq!(sizes, [(0, 4), (4, 4), (8, 2)]);
}

#[tokio::test]
async fn long_records_end_a_chunk_early() {
    let place = Place::new();
    let row = "x".repeat(900_000);
    place.write("a.csv", format!("n\n{}", format!("{row}\n").repeat(25)));
    let (fingerprint, chunks) = place.plan(&csv("a.csv"), 1_000).await.expect("it can be planned");
    assert!(chunks.len() >= 2, "{} chunks", chunks.len());
    assert_eq!(read_all(&csv("a.csv"), &fingerprint, &chunks).await.len(), 25);
}

#[tokio::test]
async fn wide_rows_end_a_chunk_early() {
    let place = Place::new();
    let wide = (0..2_500).map(|n| format!("c{n}")).collect::<Vec<_>>().join(",");
    place.write("a.csv", format!("{wide}\n").repeat(202));
    let (_, chunks) = place.plan(&csv("a.csv"), 1_000).await.expect("it can be planned");
    assert_eq!(chunks.iter().map(|chunk| chunk.items).collect::<Vec<_>>(), [100, 100, 1]);
}

#[cfg(unix)]
#[tokio::test]
async fn a_pipe_is_copied_like_standard_input() {
    let place = Place::new();
    let pipe = place.path("pipe");
    let made = std::process::Command::new("mkfifo").arg(&pipe).status().expect("mkfifo runs");
    assert!(made.success());
    let writer = std::thread::spawn(move || std::fs::write(pipe, gzip(b"n\n1\n2\n")));
    assert_eq!(place.items(&csv("pipe")).await, [json!({"n": "1"}), json!({"n": "2"})]);
    writer.join().expect("the writer ends").expect("all is written");
}

#[tokio::test]
async fn a_glob_reads_its_files_sorted_and_each_once() {
    let place = Place::new();
    place.write("b.csv", "n\n3\n");
    place.write("a.csv", "n\n1\n2\n");
    std::fs::create_dir(place.path("d.csv")).expect("a folder");
    let names = OneOrMany::Many(vec!["*.csv".to_owned(), "b.csv".to_owned()]);
    let spec = SourceSpec { csv: Some(names), ..SourceSpec::default() };
    assert_eq!(place.items(&spec).await, [json!({"n": "1"}), json!({"n": "2"}), json!({"n": "3"})]);
}

#[tokio::test]
async fn separators_and_names_can_be_said() {
    let place = Place::new();
    place.write("a.txt", "1;'a;b'\n2;c\n");
    let spec = SourceSpec {
        delimiter: Some(";".to_owned()),
        quote: Some("'".to_owned()),
        columns: columns(&["n", "t"]),
        ..csv("a.txt")
    };
    assert_eq!(place.items(&spec).await, [json!({"n": "1", "t": "a;b"}), json!({"n": "2", "t": "c"})]);
}

#[tokio::test]
async fn json_lines_become_objects_and_bad_lines_are_set_aside() {
    let place = Place::new();
    place.write("a.jsonl", "\u{feff}{\"a\": 1}\r\n\n  \n{\"a\": \n[2]\n{\"b\": [1.5]}");
    let records = place.records(&jsonl("a.jsonl"), 3).await;
    assert_eq!(records.len(), 4);
    assert_eq!(records[0].item, Ok(json!({"a": 1})));
    assert!(reason(&records[1]).starts_with("invalid JSON: the text ends"), "{}", reason(&records[1]));
    assert!(reason(&records[2]).contains("an array"), "{}", reason(&records[2]));
    assert_eq!(records[3].item, Ok(json!({"b": [1.5]})));
    assert_eq!(records.iter().map(|record| record.line).collect::<Vec<_>>(), [Some(1), Some(4), Some(5), Some(6)]);
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).expect("it is packed");
    encoder.finish().expect("it is packed")
}

#[tokio::test]
async fn compressed_files_are_known_by_their_first_bytes() {
    let place = Place::new();
    let members = [gzip(b"n\n1\n2"), gzip(b"2\n3\n")].concat();
    place.write("a.csv", members);
    place.write("b.csv", zstd::encode_all(&b"n\n4\n"[..], 3).expect("it is packed"));
    // What Python's `bz2` makes of `n 5`.
    let bzip2 = "425a6839314159265359bf35ae56000001c900001002000001200030cc0c7a827177245385090bf35ae560";
    place.write("c.csv", hex::decode(bzip2).expect("hexadecimal"));
    let items = place.items(&csv("*.csv")).await;
    let numbers = ["1", "22", "3", "4", "5"].map(|n| json!({ "n": n }));
    assert_eq!(items, numbers);
    assert_eq!(place.spooled(), 3, "the copies belong to the batch");
}

#[tokio::test]
async fn other_encodings_become_utf_8() {
    let place = Place::new();
    let utf16: Vec<u8> = "\u{feff}n\ncaf\u{e9}\n\u{1f980}\n".encode_utf16().flat_map(u16::to_le_bytes).collect();
    place.write("mark.csv", utf16);
    assert_eq!(place.items(&csv("mark.csv")).await, [json!({"n": "café"}), json!({"n": "🦀"})]);
    place.write("latin.csv", b"n\ncaf\xe9 \x80\n");
    let spec = SourceSpec { encoding: Some("windows-1252".to_owned()), ..csv("latin.csv") };
    assert_eq!(place.items(&spec).await, [json!({"n": "café €"})]);
}

#[tokio::test]
async fn standard_input_is_copied_once_and_can_be_read_again() {
    let place = Place::new();
    let spec = csv("-");
    let input = gzip(b"n\n1\n2\n");
    let options = OpenOptions { stdin: Some(Box::new(std::io::Cursor::new(input))), ..place.options(1) };
    let planner = source::open(&spec, options).await.expect("it can be opened");
    let (fingerprint, chunks) = drain(planner).await.expect("it can be planned");
    for _ in 0..2 {
        assert_eq!(read_all(&spec, &fingerprint, &chunks).await.len(), 2);
    }
    assert_eq!(fingerprint.files[0].name, "standard input");
    assert_eq!(source::remove_spooled(&fingerprint), Ok(Some(1)));
    assert_eq!(place.spooled(), 0);
    let gone = source::read(&chunks[0], &fingerprint, &spec).await.expect_err("the copy is gone");
    assert!(matches!(gone, SourceError::Missing { .. }), "{gone}");
}

#[tokio::test]
async fn only_copies_are_ever_removed() {
    let place = Place::new();
    place.write("a.csv", "n\n1\n");
    let (fingerprint, _) = place.plan(&csv("a.csv"), 1).await.expect("it can be planned");
    assert_eq!(source::remove_spooled(&fingerprint), Ok(Some(0)));
    assert!(place.path("a.csv").exists());
}

#[tokio::test]
async fn inline_items_keep_their_positions_and_texts_stay_unreadable() {
    let items = [
        InlineItem { position: 70, line: Some(9), item: json!({"a": 1}) },
        InlineItem { position: 71, line: None, item: json!("a,b") },
    ];
    let payload = ChunkPayload::new(encode(&items).expect("they fit"), 2, 70);
    let records =
        source::read(&payload, &SourceFingerprint::default(), &csv("a.csv")).await.expect("the payload can be read");
    assert_eq!(records[0], Record { position: 70, line: Some(9), item: Ok(json!({"a": 1})) });
    assert_eq!((records[1].position, records[1].line), (71, None));
    assert!(reason(&records[1]).contains("not an object"));
}

// ---- empty -------------------------------------------------------------------------------------

#[tokio::test]
async fn an_input_without_records_is_an_empty_plan() {
    let place = Place::new();
    place.write("header.csv", "a,b\r\n");
    place.write("none.jsonl", "");
    place.write("nothing.csv", "");
    let without_header = SourceSpec { columns: columns(&["a"]), ..csv("nothing.csv") };
    for spec in [csv("header.csv"), jsonl("none.jsonl"), without_header] {
        let (_, chunks) = place.plan(&spec, 10).await.expect("it can be planned");
        assert_eq!(chunks, []);
    }
}

#[tokio::test]
async fn a_csv_file_without_a_header_is_an_error() {
    let place = Place::new();
    place.write("zero.csv", "");
    place.write("blank.csv", "\u{feff}\r\n\n");
    assert!(
        place
            .refusal(&csv("zero.csv"))
            .await
            .to_string()
            .starts_with("zero.csv:1: the file is empty; a CSV file needs a header")
    );
    assert!(place.refusal(&csv("blank.csv")).await.to_string().contains("blank lines only"));
}

// ---- missing and unreadable --------------------------------------------------------------------

#[tokio::test]
async fn what_is_not_there_is_named() {
    let place = Place::new();
    place.write("file", "x");
    let missing = place.refusal(&csv("no.csv")).await;
    assert!(matches!(&missing, SourceError::Missing { name, .. } if name == "no.csv"), "{missing}");
    assert!(missing.to_string().contains(&place.path("no.csv").display().to_string()), "{missing}");
    let glob = place.refusal(&csv("no*.csv")).await.to_string();
    assert!(
        glob.starts_with("no*.csv: no file matches") && glob.contains(&place.dir.path().display().to_string()),
        "{glob}"
    );
    let through = place.refusal(&csv("file/a.csv")).await;
    assert!(matches!(through, SourceError::Missing { .. }), "{through}");
    let folder = place.refusal(&csv(".")).await.to_string();
    assert!(folder.contains("it is a folder"), "{folder}");
    let stdin = place.refusal(&csv("-")).await.to_string();
    assert!(stdin.contains("standard input: there is none here"), "{stdin}");
    let bad_glob = place.refusal(&csv("a[*.csv")).await.to_string();
    assert!(bad_glob.contains("not a glob"), "{bad_glob}");
}

#[tokio::test]
async fn a_chunk_of_no_items_is_refused() {
    let place = Place::new();
    place.write("a.csv", "n\n1\n");
    for chunk in [0, 100_001] {
        let error = source::open(&csv("a.csv"), place.options(chunk)).await.expect_err("it is refused").to_string();
        assert!(error.contains("must be from 1 to 100000"), "{error}");
    }
}

// ---- bad content -------------------------------------------------------------------------------

#[tokio::test]
async fn headers_must_name_each_column_once() {
    let place = Place::new();
    place.write("twice.csv", "a,b,a\n1,2,3\n");
    place.write("empty.csv", "a,,c\n1,2,3\n");
    place.write("open.csv", "a,\"b\n1,2,3\n");
    place.write("utf16.csv", "a,b\n".encode_utf16().flat_map(u16::to_le_bytes).collect::<Vec<u8>>());
    let refused = async |name| place.refusal(&csv(name)).await.to_string();
    assert_eq!(
        refused("twice.csv").await,
        "twice.csv:1: the header names `a` twice, as column 1 and 3; every name must be unique"
    );
    assert!(refused("empty.csv").await.contains("no name for column 2 of 3"));
    assert!(refused("open.csv").await.contains("never closed"));
    assert!(refused("utf16.csv").await.contains("encoding = \"utf-16le\""));
}

#[tokio::test]
async fn the_number_of_columns_has_a_limit() {
    let place = Place::new();
    let wide = |count: usize| (0..count).map(|n| format!("c{n}")).collect::<Vec<_>>().join(",");
    place.write("wide.csv", format!("{}\n{}\n", wide(COLUMNS_MAX), wide(COLUMNS_MAX)));
    let items = place.items(&csv("wide.csv")).await;
    assert_eq!(items[0].as_object().expect("an object").len(), COLUMNS_MAX);
    place.write("wider.csv", format!("{}\n", wide(10_000)));
    let error = place.refusal(&csv("wider.csv")).await.to_string();
    assert!(error.contains("10000 columns, over the limit of 4096"), "{error}");
}

#[tokio::test]
async fn files_of_one_source_need_the_same_header() {
    let place = Place::new();
    place.write("a.csv", "x,y\n1,2\n");
    place.write("b.csv", "x,z\n1,2\n");
    let error = place.refusal(&csv("*.csv")).await.to_string();
    assert!(error.contains("b.csv:1") && error.contains("column 2 is `z` here and `y` there"), "{error}");
}

#[tokio::test]
async fn a_ragged_row_is_set_aside_or_an_error_as_said() {
    let place = Place::new();
    place.write("a.csv", "a,b,c\n1,2,3\n1,2\n\"1\n\",2,3\n1,2,3,4\n");
    let records = place.records(&csv("a.csv"), 10).await;
    assert_eq!(reason(&records[1]), "row has 2 fields, the header has 3");
    assert_eq!(records[1].item.as_ref().expect_err("ragged").raw, json!("1,2"));
    assert_eq!(reason(&records[3]), "row has 4 fields, the header has 3");
    assert!(records[0].item.is_ok() && records[2].item.is_ok());
    let strict = SourceSpec { ragged: Ragged::Error, ..csv("a.csv") };
    let error = place.refusal(&strict).await.to_string();
    assert!(error.starts_with("a.csv:3: the row has 2 fields, the header has 3"), "{error}");
}

#[tokio::test]
async fn bytes_of_another_encoding_cost_one_record_and_not_the_batch() {
    let place = Place::new();
    place.write("a.csv", b"n\nok\ncaf\xe9\nfine\n");
    let records = place.records(&csv("a.csv"), 10).await;
    assert!(records[0].item.is_ok() && records[2].item.is_ok());
    assert!(reason(&records[1]).contains("byte 0xE9 at byte 4") && reason(&records[1]).contains("windows-1252"));
    assert_eq!(records[1].item.as_ref().expect_err("not UTF-8").raw, json!("caf\u{fffd}"));
    place.write("header.csv", b"caf\xe9\n1\n");
    let error = place.refusal(&csv("header.csv")).await;
    assert!(matches!(error, SourceError::Encoding { line: 1, .. }), "{error}");
}

#[tokio::test]
async fn bytes_that_the_said_encoding_does_not_know_are_named_by_line() {
    let place = Place::new();
    let mut bytes: Vec<u8> = "n\n1\n".encode_utf16().flat_map(u16::to_le_bytes).collect();
    bytes.extend(0xD800_u16.to_le_bytes());
    bytes.extend(0x0041_u16.to_le_bytes());
    place.write("a.csv", bytes);
    let spec = SourceSpec { encoding: Some("utf-16le".to_owned()), ..csv("a.csv") };
    let error = place.refusal(&spec).await.to_string();
    assert!(error.starts_with("a.csv:3: these bytes are not UTF-16LE"), "{error}");
    assert_eq!(place.spooled(), 0, "nothing is left behind");
}

#[tokio::test]
async fn damaged_compression_is_an_error_and_leaves_nothing() {
    let place = Place::new();
    let whole = gzip("n\n".repeat(10_000).as_bytes());
    place.write("a.csv", &whole[..whole.len() - 6]);
    let error = place.refusal(&csv("a.csv")).await.to_string();
    assert!(error.contains("the gzip data is damaged or ends early"), "{error}");
    let said = SourceSpec { compression: Some(Compression::Zstd), ..csv("a.csv") };
    let error = place.refusal(&said).await.to_string();
    assert!(error.contains("the zstd data is damaged"), "{error}");
    assert_eq!(place.spooled(), 0);
}

#[tokio::test]
async fn a_nul_byte_stays_in_its_field() {
    let place = Place::new();
    place.write("a.csv", "n,m\n1,a\0b\n");
    assert_eq!(place.items(&csv("a.csv")).await, [json!({"n": "1", "m": "a\0b"})]);
}

#[tokio::test]
async fn a_line_of_100_megabytes_is_refused_by_name_and_line() {
    let place = Place::new();
    let long = "x".repeat(100 * 1024 * 1024);
    place.write("a.csv", format!("n\n1\n{long}\n2\n"));
    place.write("a.jsonl", format!("{{}}\n{{}}\n{{\"a\": \"{long}\"}}\n"));
    place.write("quote.csv", format!("n\n1\n\"2\n{}", "3\n".repeat(2_000_000)));
    for spec in [csv("a.csv"), jsonl("a.jsonl")] {
        let error = place.refusal(&spec).await;
        assert!(matches!(error, SourceError::TooLong { line: 3, limit: 1_048_576, unclosed: false, .. }), "{error}");
    }
    let error = place.refusal(&csv("quote.csv")).await.to_string();
    assert!(error.starts_with("quote.csv:3:") && error.contains("a quote opens in it that is not closed"), "{error}");
}

#[tokio::test]
async fn a_quote_that_is_open_at_the_end_sets_the_last_row_aside() {
    let place = Place::new();
    place.write("a.csv", "a,b\n1,2\n3,\"4\n5,6\n");
    let records = place.records(&csv("a.csv"), 10).await;
    assert_eq!(records.len(), 2);
    assert!(reason(&records[1]).contains("never closed"));
}

// ---- changed since ------------------------------------------------------------------------------

async fn planned(place: &Place) -> (SourceFingerprint, Vec<ChunkPayload>) {
    place.write("a.csv", "n\n1\n2\n3\n4\n");
    let planned = place.plan(&csv("a.csv"), 2).await.expect("it can be planned");
    read_all(&csv("a.csv"), &planned.0, &planned.1).await;
    planned
}

async fn changed(fingerprint: &SourceFingerprint, chunk: &ChunkPayload) -> String {
    let error = source::read(chunk, fingerprint, &csv("a.csv")).await.expect_err("the change is seen");
    assert!(matches!(error, SourceError::Changed { .. }) && error.is_permanent(), "{error}");
    error.to_string()
}

fn restore_time(path: &Path, fingerprint: &SourceFingerprint) {
    let time = std::time::UNIX_EPOCH
        + std::time::Duration::from_nanos(u64::try_from(fingerprint.files[0].modified_ns).expect("it is after 1970"));
    let file = std::fs::File::options().write(true).open(path).expect("the file is there");
    file.set_modified(time).expect("the time is set");
}

#[tokio::test]
async fn a_source_that_grew_is_an_error() {
    let place = Place::new();
    let (fingerprint, chunks) = planned(&place).await;
    place.write("a.csv", "n\n1\n2\n3\n4\n5\n");
    let error = changed(&fingerprint, &chunks[0]).await;
    assert_eq!(error, "the source changed since it was planned: a.csv: it had 10 bytes and has 12; start a new batch");
}

#[tokio::test]
async fn a_source_that_was_written_again_is_an_error_even_with_its_old_time() {
    let place = Place::new();
    let (fingerprint, chunks) = planned(&place).await;
    let path = place.write("a.csv", "n\n1\n2\n3\n9\n");
    assert!(changed(&fingerprint, &chunks[0]).await.contains("written to"));
    restore_time(&path, &fingerprint);
    assert!(changed(&fingerprint, &chunks[0]).await.contains("other bytes"));
}

#[tokio::test]
async fn a_source_that_is_gone_here_may_be_there_elsewhere() {
    let place = Place::new();
    let (fingerprint, chunks) = planned(&place).await;
    std::fs::remove_file(place.path("a.csv")).expect("it is removed");
    let error = source::read(&chunks[0], &fingerprint, &csv("a.csv")).await.expect_err("it is gone");
    assert!(matches!(error, SourceError::Missing { .. }) && !error.is_permanent(), "{error}");
}

#[tokio::test]
async fn another_definition_than_the_planned_one_is_an_error() {
    let place = Place::new();
    place.write("a.csv", "n\n'1\n2'\n3\n");
    let (fingerprint, chunks) = place.plan(&csv("a.csv"), 10).await.expect("it can be planned");
    let edited = SourceSpec { quote: Some("'".to_owned()), ..csv("a.csv") };
    let error = source::read(&chunks[0], &fingerprint, &edited).await.expect_err("it has other records");
    assert!(error.to_string().contains("had 3 records and have 2"), "{error}");
    let keys = ChunkPayload::new(Slice::Keys { after: None, upto: None }, 1, 0);
    assert!(matches!(source::read(&keys, &fingerprint, &edited).await, Err(SourceError::Changed { .. })));
}

#[tokio::test]
async fn a_planner_that_is_dropped_removes_its_copies() {
    let place = Place::new();
    place.write("a.csv", gzip(b"n\n1\n"));
    let planner = place.open(&csv("a.csv")).await.expect("it can be opened");
    assert_eq!(place.spooled(), 1);
    drop(planner);
    assert_eq!(place.spooled(), 0);
}

// ---- any CSV at all -----------------------------------------------------------------------------

fn nasty() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        3 => Just("\""),
        4 => Just(","),
        3 => Just("\n"),
        1 => Just("\r"),
        1 => Just("\r\n"),
        1 => Just("\"\""),
        3 => Just("ab"),
        1 => Just("\u{feff}"),
        1 => Just("é\0"),
    ];
    prop::collection::vec(piece, 0..50).prop_map(|pieces| pieces.concat())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn any_partition_into_chunks_reads_what_one_pass_reads(text in nasty(), chunk in 1_u64..5) {
        let place = Place::new();
        place.write("a.csv", &text);
        let spec = SourceSpec { columns: columns(&["x", "y"]), ..csv("a.csv") };
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
        let records = runtime.block_on(place.records(&spec, chunk));
        let mut pass = csv_crate(&text);
        prop_assert_eq!(records.len(), pass.len());
        if let Some(last) = records.last()
            && last.item.as_ref().is_err_and(|unreadable| unreadable.reason.contains("never closed"))
        {
            // The crate takes the rest of the file for a field; here it is reported as an unclosed quote.
            pass.pop();
        }
        for (record, row) in records.iter().zip(&pass) {
            match &record.item {
                Ok(item) => prop_assert_eq!(item, &json!({"x": row[0], "y": row[1]})),
                Err(unreadable) => {
                    prop_assert_ne!(row.len(), 2);
                    let fields = format!("row has {} field", row.len());
                    prop_assert!(unreadable.reason.starts_with(&fields), "{}", unreadable.reason);
                }
            }
        }
    }
}

fn csv_crate(text: &str) -> Vec<Vec<String>> {
    ::csv::ReaderBuilder::new()
        .has_headers(false)
        .flexible(true)
        .from_reader(text.as_bytes())
        .records()
        .map(|record| record.expect("it is UTF-8").iter().map(str::to_owned).collect())
        .collect()
}
