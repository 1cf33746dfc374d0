//! Queries: what is printed is read as the same query, and the documentation has the table of keys.

use std::time::Duration;

use chrono::{DateTime, NaiveDate, Utc};
use gristmill_core::query::{Compare, Key, List, Moment, Name, Query, Term, Test, Times, keys_table, parse};
use proptest::prelude::*;
use uuid::Uuid;

fn text() -> impl Strategy<Value = String> {
    prop_oneof!["[a-z_]{1,8}", "[ -~]{1,12}", "\\PC{1,6}", Just("a\"b\\c*, d".to_owned())]
}

fn moment() -> impl Strategy<Value = Moment> {
    let day = (2000_i32..2100, 1_u32..13, 1_u32..29);
    prop_oneof![
        day.prop_map(|(year, month, day)| Moment::Day(NaiveDate::from_ymd_opt(year, month, day).expect("a day"))),
        (0_i64..4_000_000_000_000_000)
            .prop_map(|micros| Moment::At(DateTime::<Utc>::from_timestamp_micros(micros).expect("an instant"))),
    ]
}

fn times() -> impl Strategy<Value = Test> {
    let whole = |(from, to): (Option<Moment>, Option<Moment>)| Times { from, to };
    (proptest::option::of(moment()), proptest::option::of(moment()))
        .prop_map(whole)
        .prop_filter("a range", |times| match (times.begins(), times.ends()) {
            (None, None) => false,
            (Some(begins), Some(ends)) => begins < ends,
            _ => true,
        })
        .prop_map(Test::Times)
}

fn numbers() -> impl Strategy<Value = Test> {
    (proptest::option::of(any::<u32>()), proptest::option::of(any::<u32>()))
        .prop_filter("a range", |(from, to)| match (from, to) {
            (None, None) => false,
            (Some(from), Some(to)) => from <= to,
            _ => true,
        })
        .prop_map(|(from, to)| Test::Numbers { from, to })
}

fn names() -> impl Strategy<Value = Test> {
    let name = prop_oneof![
        text().prop_map(|text| Name { text, prefix: false }),
        text().prop_map(|text| Name { text, prefix: true }),
        Just(Name { text: String::new(), prefix: true }),
        Just(Name { text: String::new(), prefix: false }),
    ];
    proptest::collection::vec(name, 1..4).prop_map(Test::Names)
}

fn term() -> impl Strategy<Value = Term> {
    let words = || proptest::sample::subsequence(vec!["retry", "dead", "running"], 1..3);
    let compare = || proptest::sample::select(Compare::ALL.to_vec());
    let test = prop_oneof![
        words().prop_map(|words| (Key::State, Test::Words(words.into_iter().map(str::to_owned).collect()))),
        names().prop_map(|test| (Key::Kind, test)),
        names().prop_map(|test| (Key::Key, test)),
        proptest::collection::vec(text(), 1..3).prop_map(|texts| (Key::Error, Test::Texts(texts))),
        proptest::collection::vec(any::<u128>(), 1..3)
            .prop_map(|ids| (Key::Batch, Test::Ids(ids.into_iter().map(Uuid::from_u128).collect()))),
        numbers().prop_map(|test| (Key::Attempts, test)),
        times().prop_map(|test| (Key::Created, test)),
        times().prop_map(|test| (Key::Ended, test)),
        (compare(), 0_u64..1_000_000_000)
            .prop_map(|(compare, ms)| (Key::Age, Test::Age(compare, Duration::from_millis(ms)))),
    ];
    (any::<bool>(), test).prop_map(|(negated, (key, test))| Term { key, negated, test })
}

proptest! {
    #[test]
    fn what_is_printed_is_read_as_the_same_query(terms in proptest::collection::vec(term(), 0..6)) {
        let query = Query { terms };
        let written = query.to_string();
        prop_assume!(written.len() <= gristmill_core::query::QUERY_BYTES_MAX);
        let read = parse(List::Jobs, &written);
        prop_assert_eq!(read.as_ref(), Ok(&query), "{}", written);
    }

    #[test]
    fn as_of_an_instant_a_query_is_still_one(terms in proptest::collection::vec(term(), 0..6), second in 0_i64..4_000_000_000) {
        let now = DateTime::<Utc>::from_timestamp(second, 0).expect("an instant");
        let query = Query { terms }.at(now);
        prop_assert!(!query.depends_on_now());
        let written = query.to_string();
        prop_assume!(written.len() <= gristmill_core::query::QUERY_BYTES_MAX);
        let read = parse(List::Jobs, &written);
        prop_assert_eq!(read.as_ref(), Ok(&query), "{}", written);
    }
}

#[test]
fn the_documentation_has_the_table_of_keys() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/query.md");
    let text = std::fs::read_to_string(path).expect("docs/query.md");
    let table = keys_table();
    assert!(text.contains(&table), "docs/query.md must have this table:\n{table}");
}
