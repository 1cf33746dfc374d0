//! Several sources in one batch: one behind the other, in the order of a key, and joined by a key.

use gristmill_core::definition::{JoinSpec, Missing, OneOrMany, SourceSpec, SqlSource};
use gristmill_jobs::source::{self, Record, SourceError};
use proptest::prelude::*;
use serde_json::{Value, json};
use sqlx::{AssertSqlSafe, Connection, SqliteConnection};

mod source_place;

use source_place::{Place, csv, drain, jsonl, read_all, reason};

fn merge(list: &[SourceSpec]) -> SourceSpec {
    SourceSpec { merge: Some(list.to_vec()), ..SourceSpec::default() }
}

fn by(list: &[SourceSpec], field: &str) -> SourceSpec {
    SourceSpec { by: Some(field.to_owned()), ..merge(list) }
}

fn join(left: SourceSpec, with: SourceSpec, on: &str, key: &str) -> SourceSpec {
    let one = JoinSpec {
        with: Box::new(with),
        on: on.to_owned(),
        key: Some(key.to_owned()),
        into: None,
        missing: Missing::Keep,
    };
    SourceSpec { join: Some([left.join.clone().unwrap_or_default(), vec![one]].concat()), ..left }
}

fn changed(mut spec: SourceSpec, change: impl Fn(&mut JoinSpec)) -> SourceSpec {
    spec.join.iter_mut().flatten().for_each(change);
    spec
}

async fn sqlite(place: &Place, statements: &str) -> String {
    let url = format!("sqlite://{}", place.path("shop.db").display());
    let mut connection = SqliteConnection::connect(&format!("{url}?mode=rwc")).await.expect("a database");
    sqlx::raw_sql(AssertSqlSafe(statements.to_owned())).execute(&mut connection).await.expect("statements");
    connection.close().await.expect("closed");
    url
}

fn rows(url: &str, query: &str, key: &str) -> SourceSpec {
    let sql = SqlSource {
        url: url.to_owned(),
        query: query.to_owned(),
        key: key.to_owned(),
        bind: Vec::new(),
        answer_timeout: None,
    };
    SourceSpec { sql: Some(sql), ..SourceSpec::default() }
}

fn found(records: &[Record]) -> Vec<(Option<u64>, Option<Value>)> {
    records.iter().map(|record| (record.line, record.item.clone().ok())).collect()
}

#[tokio::test]
async fn sources_of_all_kinds_come_one_behind_the_other() {
    let place = Place::new();
    place.write("a.csv", "id,v\n1,x\n2\n");
    place.write("b.jsonl", "{\"id\": 3, \"deep\": {\"a\": [1.5]}}\nnope\n");
    let url =
        sqlite(&place, "create table t (id integer primary key, w text); insert into t values (7, 'q'), (8, null);")
            .await;
    let spec = merge(&[csv("a.csv"), jsonl("b.jsonl"), rows(&url, "select id, w from t", "id")]);
    let right = [
        (Some(2), Some(json!({ "id": "1", "v": "x" }))),
        (Some(3), None),
        (Some(1), Some(json!({ "id": 3, "deep": { "a": [1.5] } }))),
        (Some(2), None),
        (None, Some(json!({ "id": 7, "w": "q" }))),
        (None, Some(json!({ "id": 8, "w": null }))),
    ];
    for chunk in 1..=7 {
        let records = place.records(&spec, chunk).await;
        assert_eq!(found(&records), right, "chunks of {chunk}");
        assert_eq!(reason(&records[1]), "a.csv:3: row has 1 field, the header has 2");
        assert!(reason(&records[3]).starts_with("b.jsonl:2: invalid JSON"), "{}", reason(&records[3]));
        let first = source::peek(&spec, place.dir.path().to_owned(), None, chunk).await.expect("read");
        assert_eq!(first[..], records[..first.len()]);
    }
}

#[tokio::test]
async fn a_chunk_that_is_tried_again_finds_what_it_found_whatever_became_of_the_sources() {
    let place = Place::new();
    place.write("a.csv", "id,n\n1,a\n2,b\n");
    place.write("b.csv", "id,m\n2,y\n1,x\n1,z\n");
    for spec in [
        merge(&[csv("a.csv"), csv("b.csv")]),
        by(&[csv("a.csv"), csv("b.csv")], "id"),
        join(csv("a.csv"), csv("b.csv"), "id", "id"),
    ] {
        let (fingerprint, chunks) = place.plan(&spec, 2).await.expect("planned");
        let before = read_all(&spec, &fingerprint, &chunks).await;
        place.write("a.csv", "id,n\n9,q\n");
        std::fs::remove_file(place.path("b.csv")).expect("removed");
        assert_eq!(read_all(&spec, &fingerprint, &chunks).await, before);
        place.write("a.csv", "id,n\n1,a\n2,b\n");
        place.write("b.csv", "id,m\n2,y\n1,x\n1,z\n");
        assert_eq!(source::remove_spooled(&fingerprint), Ok(Some(1)), "the copy is the batch's own");
        assert_eq!(place.spooled(), 0);
    }
}

#[tokio::test]
async fn a_join_gives_each_pair_in_the_order_of_the_left_side() {
    let place = Place::new();
    place.write("orders.csv", "id,customer,note\n1,c2,\n2,c9,n\n3,c1,\n4,,x\n5,c2,y\n6\n");
    place.write(
        "customers.jsonl",
        "{\"id\": \"c1\", \"name\": \"Ada\"}\n{\"id\": \"c2\", \"name\": \"Bob\"}\n[]\n{\"id\": \"c2\", \"name\": \"Eve\", \"note\": \"two\"}\n{\"name\": \"without\"}\n{\"id\": null}\n",
    );
    let spec = join(csv("orders.csv"), jsonl("customers.jsonl"), "customer", "id");
    let order = |id: &str, customer: &str, note: &str, name: Option<&str>| {
        let mut item = json!({ "id": id, "customer": customer, "note": note });
        if let Some(name) = name {
            item["name"] = json!(name);
        }
        Some(item)
    };
    // By hand: its own fields stay.
    let right = [
        (Some(2), order("1", "c2", "", Some("Bob"))),
        (Some(2), order("1", "c2", "", Some("Eve"))),
        (Some(3), order("2", "c9", "n", None)),
        (Some(4), order("3", "c1", "", Some("Ada"))),
        (Some(5), order("4", "", "x", None)),
        (Some(6), order("5", "c2", "y", Some("Bob"))),
        (Some(6), order("5", "c2", "y", Some("Eve"))),
        (Some(7), None),
        (Some(3), None),
    ];
    let records = place.records(&spec, 2).await;
    assert_eq!(found(&records), right);
    assert_eq!(reason(&records[7]), "orders.csv:7: row has 1 field, the header has 3");
    assert!(reason(&records[8]).starts_with("customers.jsonl:3: the line is an array"), "{}", reason(&records[8]));
    let first = source::peek(&spec, place.dir.path().to_owned(), None, 4).await.expect("read");
    assert_eq!(first[..], records[..4]);

    let skipped = place.records(&changed(spec.clone(), |join| join.missing = Missing::Skip), 9).await;
    assert_eq!(found(&skipped).len(), 7, "two orders have no customer");
    let refused = place.records(&changed(spec.clone(), |join| join.missing = Missing::Quarantine), 9).await;
    assert_eq!(reason(&refused[2]), "`customer` is `c9`, and `customers.jsonl` has no such `id`");
    assert_eq!(
        refused[2].item.as_ref().expect_err("no partner").raw,
        json!({ "id": "2", "customer": "c9", "note": "n" })
    );
    let inside = place.records(&changed(spec, |join| join.into = Some("who".to_owned())), 9).await;
    let item = inside[3].item.as_ref().expect("joined");
    assert_eq!(item["who"], json!({ "id": "c1", "name": "Ada" }));
}

#[tokio::test]
async fn joins_are_made_one_after_the_other_and_with_what_was_merged() {
    let place = Place::new();
    place.write("a.csv", "id,c\n1,x\n");
    place.write("b.csv", "id,c\n2,y\n");
    place.write("c.csv", "c,country\nx,NO\ny,FR\n");
    let url =
        sqlite(&place, "create table land (code text primary key, name text); insert into land values ('NO', 'Norway'), ('FR', 'France');")
            .await;
    let merged = merge(&[csv("a.csv"), csv("b.csv")]);
    let spec = join(
        join(merged, csv("c.csv"), "c", "c"),
        rows(&url, "select code, name from land", "code"),
        "country",
        "code",
    );
    let names: Vec<Value> = place.items(&spec).await.into_iter().map(|item| item["name"].clone()).collect();
    assert_eq!(names, ["Norway", "France"]);
}

#[tokio::test]
async fn merged_by_a_field_numbers_come_by_value_before_texts_and_equal_ones_as_they_stood() {
    let place = Place::new();
    place.write("a.csv", "k,at\n10,a1\nx,a2\n2,a3\n,a4\n-1.5,a5\n");
    place.write("b.jsonl", "{\"k\": 2, \"at\": \"b1\"}\n{\"at\": \"b2\"}\nbad\n{\"k\": \"abc\", \"at\": \"b4\"}\n{\"k\": \"2.0\", \"at\": \"b5\"}\n");
    let spec = by(&[csv("a.csv"), jsonl("b.jsonl")], "k");
    let records = place.records(&spec, 3).await;
    let order: Vec<String> = records
        .iter()
        .map(|record| {
            record.item.as_ref().map_or("bad".to_owned(), |item| item["at"].as_str().expect("a text").to_owned())
        })
        .collect();
    assert_eq!(order, ["a5", "a3", "b1", "b5", "a1", "a4", "b4", "a2", "b2", "bad"]);
}

/// Joins by looking at every pair.
fn every_pair(left: &[(u64, Option<u8>)], right: &[(u64, Option<u8>)]) -> Vec<(u64, Option<u64>)> {
    let mut pairs = Vec::new();
    for (id, key) in left {
        let partners: Vec<u64> =
            right.iter().filter(|(_, other)| key.is_some() && other == key).map(|(other, _)| *other).collect();
        match partners.is_empty() {
            true => pairs.push((*id, None)),
            false => pairs.extend(partners.into_iter().map(|other| (*id, Some(other)))),
        }
    }
    pairs
}

fn lines(name: &str, side: &[(u64, Option<u8>)]) -> String {
    side.iter().map(|(id, key)| format!("{}\n", json!({ name: id, "k": key.map(|key| format!("k{key}")) }))).collect()
}

fn side() -> impl Strategy<Value = Vec<(u64, Option<u8>)>> {
    prop::collection::vec(prop::option::weighted(0.9, 0_u8..6), 0..25)
        .prop_map(|keys| keys.into_iter().zip(1..).map(|(key, id)| (id, key)).collect())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    #[test]
    fn a_join_is_what_a_look_at_every_pair_finds(left in side(), right in side(), chunk in 1_u64..9) {
        let place = Place::new();
        place.write("l.jsonl", lines("l", &left));
        place.write("r.jsonl", lines("r", &right));
        let spec = join(jsonl("l.jsonl"), jsonl("r.jsonl"), "k", "k");
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        let records = runtime.block_on(place.records(&spec, chunk));
        let pairs: Vec<(u64, Option<u64>)> = records
            .iter()
            .map(|record| record.item.as_ref().expect("joined"))
            .map(|item| (item["l"].as_u64().expect("a number"), item["r"].as_u64()))
            .collect();
        prop_assert_eq!(pairs, every_pair(&left, &right));
    }
}

#[tokio::test]
async fn what_takes_more_disk_than_a_copy_may_is_refused_and_leaves_nothing() {
    let place = Place::new();
    let same: String = (0..600).map(|id| format!("{id},x\n")).collect();
    place.write("a.csv", format!("id,k\n{same}"));
    place.write("b.csv", format!("no,k\n{same}"));
    // 360,000 pairs of some thirty bytes.
    let spec = join(csv("a.csv"), csv("b.csv"), "k", "k");
    let refused = place.refusal(&spec).await;
    assert!(matches!(refused, SourceError::TooMuch { limit: 1_000_000, .. }), "{refused}");
    assert_eq!(place.spooled(), 0);
}

#[tokio::test]
async fn the_records_of_one_key_have_a_bound_in_memory() {
    let place = Place::new();
    place.write("a.csv", "k\nx\n");
    let long = "y".repeat(15 * 1024 * 1024);
    let text: String = (0..5).map(|_| format!("x,{long}\n")).collect();
    place.write("b.csv", format!("k,v\n{text}"));
    let with = SourceSpec { record_bytes_max: Some(16 * 1024 * 1024), ..csv("b.csv") };
    let spec = join(csv("a.csv"), with, "k", "k");
    let options = source::OpenOptions { spool_bytes_max: 1_000_000_000, ..place.options(3) };
    let refused = source::open(&spec, options).await.expect_err("too much of one key").to_string();
    assert!(
        refused.contains("`b.csv`: the records whose `k` is `x` have more than 67108864 bytes together"),
        "{refused}"
    );
    assert_eq!(place.spooled(), 0);
}

#[tokio::test]
async fn what_is_wrong_with_one_of_them_names_it() {
    let place = Place::new();
    place.write("a.csv", "id,n\n1,a\n");
    for (spec, said) in [
        (merge(&[]), "source: `merge` is empty"),
        (merge(&[csv("a.csv"), SourceSpec::default()]), "source: `merge[1]`: it names no input"),
        (merge(&[merge(&[csv("a.csv")])]), "source: `merge[0]`: it is put together of others itself"),
        (SourceSpec { by: Some("id".to_owned()), ..csv("a.csv") }, "source: `by` has a meaning for `merge` only"),
        (SourceSpec { delimiter: Some(";".to_owned()), ..merge(&[csv("a.csv")]) }, "source: beside `merge`"),
        (join(csv("a.csv"), SourceSpec::default(), "id", "id"), "source: `join[0].with`: it names no input"),
        (join(csv("a.csv"), csv("a.csv"), "", "id"), "source: `join[0]`: the name of a field is empty"),
        (join(SourceSpec::default(), csv("a.csv"), "id", "id"), "source: `source`: it names no input"),
        (
            merge(&std::iter::repeat_n(csv("a.csv"), 33).collect::<Vec<_>>()),
            "source: it names 33 sources, and 32 are the most",
        ),
    ] {
        let refused = place.refusal(&spec).await.to_string();
        assert!(refused.starts_with(said), "{refused}");
        assert_eq!(source::check(&spec).expect_err(said).to_string(), refused);
    }
    place.write("wrong.csv", "a,a\n");
    for spec in [merge(&[csv("a.csv"), csv("wrong.csv")]), join(csv("a.csv"), csv("wrong.csv"), "id", "a")] {
        let refused = place.refusal(&spec).await.to_string();
        assert!(refused.starts_with("wrong.csv:1: the header names `a` twice"), "{refused}");
        assert_eq!(place.spooled(), 0, "nothing is left");
    }
    let missing = place.refusal(&merge(&[csv("a.csv"), csv("none.csv")])).await;
    assert!(matches!(missing, SourceError::Missing { .. }), "{missing}");
    let nowhere = rows("sqlite:///none/none.db", "select 1 as id", "id");
    let refused = place.refusal(&merge(&[csv("a.csv"), nowhere])).await;
    assert!(matches!(refused, SourceError::Sql { .. }), "{refused}");
}

#[tokio::test]
async fn standard_input_is_one_of_them() {
    let place = Place::new();
    place.write("a.csv", "id\n1\n");
    let options =
        source::OpenOptions { stdin: Some(Box::new(std::io::Cursor::new(b"id\n2\n".to_vec()))), ..place.options(3) };
    let list =
        merge(&[csv("a.csv"), SourceSpec { csv: Some(OneOrMany::One("-".to_owned())), ..SourceSpec::default() }]);
    let (fingerprint, chunks) = drain(source::open(&list, options).await.expect("open")).await.expect("planned");
    assert_eq!(read_all(&list, &fingerprint, &chunks).await.len(), 2);
}
