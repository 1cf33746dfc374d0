//! Any partition of the items, merged in any order and sent through JSON, gives what one pass gives.

use std::collections::BTreeMap;

use gristmill_core::aggregate::{
    AggregateSpec, Aggregation, CELL_VALUES_MAX, FieldError, Merger, Partial, ROOM_BYTES_MAX, VALUES_MAX,
};
use proptest::prelude::*;
use serde_json::{Value, json};

fn specs(value: Value) -> BTreeMap<String, AggregateSpec> {
    serde_json::from_value(value).expect("a table of measures")
}

fn compile(value: Value) -> Aggregation {
    Aggregation::compile(&specs(value)).expect("measures that make sense")
}

fn absorb(aggregation: &Aggregation, items: &[Value]) -> Partial {
    let mut absorber = aggregation.absorber();
    for item in items {
        absorber.absorb(item).expect("an item that fits");
    }
    absorber.partial()
}

fn every_measure() -> Aggregation {
    compile(json!({
        "rows": "count",
        "named": { "count": "name" },
        "sum": { "sum": "amount" },
        "least": { "min": "mixed" },
        "greatest": { "max": "mixed" },
        "mean": { "mean": "amount" },
        "different": { "distinct": "name" },
        "best": { "top": "name", "k": 2 },
        "spread": { "quantiles": "amount" },
        "by_name": { "group": "name", "sum": "amount" },
        "names_by_flag": { "group": "flag", "distinct": "name" },
        "spread_by_name": { "group": "name", "quantiles": "amount", "at": [0.0, 1.0] },
        "mean_by_flag": { "group": "flag", "mean": "amount" },
        "least_by_flag": { "group": "flag", "min": "mixed" },
        "middle": { "median": "amount" },
        "middle_by_name": { "group": "name", "median": "amount" },
        "table": { "group": ["flag", "name"], "measures": everything_of_a_row(), "sort": ["-sum", "flag"], "limit": 3 },
        "nested": { "group": ["name", "flag"], "measures": everything_of_a_row(), "nested": true },
    }))
}

fn everything_of_a_row() -> Value {
    json!({
        "n": "count",
        "named": { "count": "name" },
        "sum": { "sum": "amount" },
        "least": { "min": "mixed" },
        "most": { "max": "mixed" },
        "mean": { "mean": "amount" },
        "middle": { "median": "amount" },
        "kinds": { "distinct": "mixed" },
    })
}

fn amount() -> impl Strategy<Value = Value> {
    prop_oneof![
        Just(Value::Null),
        any::<i64>().prop_map(|number| json!(number)),
        (-1_000_000_i64..1_000_000, 0_u32..4)
            .prop_map(|(mantissa, scale)| { json!(rust_decimal::Decimal::new(mantissa, scale).to_string()) }),
        Just(json!("79228162514264337593543950335")),
        Just(json!("-0.0000000000000000000000000001")),
        Just(json!("-0")),
        (-1000.0_f64..1000.0).prop_map(|number| json!((number * 100.0).round() / 100.0)),
    ]
}

fn item() -> impl Strategy<Value = Value> {
    let name = prop_oneof![Just(Value::Null), "[a-c]{1,2}".prop_map(Value::from), (0..3).prop_map(Value::from)];
    let mixed = prop_oneof![amount(), "[a-z ]{0,3}".prop_map(Value::from), any::<bool>().prop_map(Value::from)];
    (amount(), name, mixed, any::<bool>())
        .prop_map(|(amount, name, mixed, flag)| json!({ "amount": amount, "name": name, "mixed": mixed, "flag": flag }))
}

proptest! {
    #[test]
    fn any_partition_in_any_order_equals_one_pass(
        items in prop::collection::vec((item(), 0_usize..6), 0..60),
        order in Just((0_usize..6).collect::<Vec<_>>()).prop_shuffle(),
        pairs in any::<bool>(),
    ) {
        let aggregation = every_measure();
        let all: Vec<_> = items.iter().map(|(item, _)| item.clone()).collect();
        let once = absorb(&aggregation, &all);

        let mut parts: Vec<Partial> = order
            .iter()
            .map(|part| {
                let share: Vec<_> = items.iter().filter(|(_, of)| of == part).map(|(item, _)| item.clone()).collect();
                let text = serde_json::to_string(&absorb(&aggregation, &share)).expect("JSON");
                serde_json::from_str(&text).expect("the same back")
            })
            .collect();
        if pairs {
            // A tree instead of a chain: (0 + 1) + (2 + 3) + (4 + 5).
            parts = parts.chunks(2).map(|pair| {
                let mut merged = pair[0].clone();
                merged.merge(pair[1].clone()).expect("the same definition");
                merged
            }).collect();
        }
        let mut merged = Partial::default();
        for part in parts {
            merged.merge(part).expect("the same definition");
        }
        prop_assert_eq!(serde_json::to_string(&merged).expect("JSON"), serde_json::to_string(&once).expect("JSON"));
        prop_assert_eq!(aggregation.finish(&merged), aggregation.finish(&once));
    }

    #[test]
    fn the_sum_is_that_of_whole_cents(cents in prop::collection::vec(-1_000_000_i64..1_000_000, 0..200)) {
        let aggregation = compile(json!({ "sum": { "sum": "amount" } }));
        let items: Vec<_> = cents.iter().map(|cents| json!({ "amount": rust_decimal::Decimal::new(*cents, 2) })).collect();
        let right = rust_decimal::Decimal::new(cents.iter().sum(), 2).normalize().to_string();
        prop_assert_eq!(aggregation.finish(&absorb(&aggregation, &items)), json!({ "sum": right }));
    }
}

#[test]
fn the_result_reads_as_people_expect() {
    let aggregation = compile(json!({
        "rows": "count",
        "revenue": { "sum": "amount" },
        "by_country": { "group": "country", "sum": "amount" },
        "mean": { "mean": "amount" },
        "first": { "min": "name" },
        "dearest": { "max": "amount" },
        "customers": { "distinct": "name" },
        "best": { "top": "name", "k": 2 },
        "spread": { "quantiles": "amount", "at": [0.5] },
    }));
    let items = [
        json!({ "amount": "0.10", "country": "France", "name": "b" }),
        json!({ "amount": 0.2, "country": "Norway", "name": "a" }),
        json!({ "amount": "10", "country": "France", "name": "b" }),
        json!({ "amount": null, "country": null, "name": "c" }),
    ];
    assert_eq!(
        aggregation.finish(&absorb(&aggregation, &items)),
        json!({
            "rows": 4,
            "revenue": "10.3",
            "by_country": { "France": "10.1", "Norway": "0.2", "null": "0" },
            "mean": "3.4333333333",
            "first": "a",
            "dearest": "10",
            "customers": 3,
            "best": [{ "value": "b", "count": 2 }, { "value": "a", "count": 1 }],
            "spread": { "0.5": "0.1999" },
        })
    );
}

#[test]
fn values_of_different_types_are_different_groups() {
    let aggregation = compile(json!({
        "sum": { "group": "k", "sum": "v" },
        "kinds": { "distinct": "k" },
        "often": { "top": "k" },
    }));
    let keys = [json!(null), json!("null"), json!(true), json!("true"), json!(1), json!(1.0), json!("1"), json!("1.0")];
    let items: Vec<_> = keys.iter().zip(1..).map(|(key, value)| json!({ "k": key, "v": value })).collect();
    let shown = aggregation.finish(&absorb(&aggregation, &items));
    let right =
        json!({ "null": "1", "\"null\"": "2", "true": "3", "\"true\"": "4", "1": "11", "\"1\"": "7", "1.0": "8" });
    assert_eq!(shown["sum"], right);
    assert_eq!(shown["kinds"], json!(6), "null is left out");
    assert_eq!(shown["often"][0], json!({ "value": "1", "count": 2 }));
    assert_eq!(shown["often"][1], json!({ "value": "\"1\"", "count": 1 }));
}

#[test]
fn a_group_that_is_alone_does_not_look_like_an_estimate() {
    let aggregation = compile(json!({ "by": { "group": "k", "count": true } }));
    let shown = |keys: &[&str]| {
        let items: Vec<_> = keys.iter().map(|key| json!({ "k": key })).collect();
        aggregation.finish(&absorb(&aggregation, &items))["by"].clone()
    };
    for word in ["about", "more_than"] {
        let alone = shown(&[word, word]);
        assert_eq!(alone, json!({ format!("\"{word}\""): 2 }));
        assert!(!gristmill_core::result_table::is_cell(&alone));
    }
    assert_eq!(shown(&["about", "after"]), json!({ "about": 1, "after": 1 }));
}

#[test]
fn min_and_max_keep_a_text_as_it_was_written() {
    let aggregation = compile(json!({
        "lo": { "min": "zip" },
        "hi": { "max": "zip" },
        "by": { "group": "state", "min": "zip" },
    }));
    let items = [json!({ "zip": "01001", "state": "MA" }), json!({ "zip": "00501", "state": "NY" })];
    let right = json!({ "lo": "00501", "hi": "01001", "by": { "MA": "01001", "NY": "00501" } });
    assert_eq!(aggregation.finish(&absorb(&aggregation, &items)), right);
    let amounts = [
        json!({ "zip": "9.50", "state": "" }),
        json!({ "zip": "10", "state": "" }),
        json!({ "zip": 9.75, "state": "" }),
    ];
    let shown = aggregation.finish(&absorb(&aggregation, &amounts));
    assert_eq!((&shown["lo"], &shown["hi"]), (&json!("9.50"), &json!("10")), "numbers are compared by value");
    for amounts in [["007", "7"], ["7", "007"]] {
        let items = amounts.map(|zip| json!({ "zip": zip, "state": "" }));
        let shown = aggregation.finish(&absorb(&aggregation, &items));
        assert_eq!((&shown["lo"], &shown["hi"]), (&json!("7"), &json!("007")), "equal values, whatever comes first");
    }
}

#[test]
fn partial_results_of_an_older_version_are_merged() {
    let aggregation = compile(json!({
        "lo": { "min": "v" },
        "hi": { "max": "v" },
        "by": { "group": "k", "sum": "v" },
        "kinds": { "distinct": "k" },
    }));
    let older = json!({
        "lo": { "min": { "number": "3" } },
        "hi": { "max": { "text": "x" } },
        "by": { "groups": { "within": { "France": { "sum": "2" }, "null": { "sum": "4" } } } },
        "kinds": { "values": { "within": { "France": 2 } } },
    });
    let mut merged: Partial = serde_json::from_value(older).expect("an older partial result");
    let newer = [json!({ "k": "France", "v": "04" }), json!({ "k": "Norway", "v": 5 })];
    merged.merge(absorb(&aggregation, &newer)).expect("the same definition");
    let right = json!({ "lo": "3", "hi": "x", "by": { "France": "6", "Norway": "5", "null": "4" }, "kinds": 2 });
    assert_eq!(aggregation.finish(&merged), right);
}

#[test]
fn a_sum_takes_no_rounded_number() {
    let aggregation = compile(json!({ "sum": { "sum": "v" } }));
    let mut absorber = aggregation.absorber();
    for rounded in [
        "12345678901234567890123456789.5e0",
        "0.00000000000000000000000000005e0",
        "1.2345678901234567890123456789012e5",
    ] {
        absorber.absorb(&json!({ "v": rounded })).expect_err("more than 28 digits");
    }
    absorber.absorb(&json!({ "v": "1.25e1" })).expect("exact");
    assert_eq!(aggregation.finish(&absorber.partial()), json!({ "sum": "12.5" }));
}

#[test]
fn nothing_has_a_result_too() {
    let shown = every_measure().finish(&Partial::default());
    assert_eq!(shown["rows"], json!(0));
    assert_eq!(shown["sum"], json!("0"));
    assert_eq!(shown["mean"], Value::Null);
    assert_eq!(shown["by_name"], json!({}));
    assert_eq!(shown["spread"], json!({ "0.5": null, "0.9": null, "0.99": null }));
}

#[test]
fn an_item_that_does_not_fit_counts_nowhere() {
    let aggregation = compile(json!({ "rows": "count", "sum": { "sum": "amount" } }));
    let mut absorber = aggregation.absorber();
    absorber.absorb(&json!({ "amount": 1 })).expect("fits");
    let missing = absorber.absorb(&json!({ "amout": 1 })).expect_err("no such field");
    assert!(matches!(missing, FieldError::Missing { .. }), "{missing}");
    let unfit = absorber.absorb(&json!({ "amount": "12 EUR" })).expect_err("not a number");
    assert_eq!(unfit.to_string(), "field `amount` is `12 EUR`; `aggregate.sum` needs a number of at most 28 digits");
    assert_eq!(aggregation.finish(&absorber.partial()), json!({ "rows": 1, "sum": "1" }));
}

#[test]
fn too_many_values_are_admitted_to_be_too_many_in_any_order() {
    let aggregation = compile(json!({
        "ids": { "distinct": "id" },
        "best": { "top": "id" },
        "by_id": { "group": "id", "count": true },
        "ids_by_half": { "group": "half", "distinct": "id" },
        "rows": "count",
    }));
    let items: Vec<_> = (0..=VALUES_MAX).map(|id| json!({ "id": id, "half": id % 2 })).collect();
    let (one, two) = items.split_at(items.len() / 2);
    let (one, two) = (absorb(&aggregation, one), absorb(&aggregation, two));
    let mut forth = one.clone();
    forth.merge(two.clone()).expect("the same definition");
    let mut back = two;
    back.merge(one).expect("the same definition");
    let over = json!({ "more_than": VALUES_MAX });
    let shown = aggregation.finish(&absorb(&aggregation, &items));
    assert_eq!((&shown["best"], &shown["by_id"], &shown["rows"]), (&over, &over, &json!(VALUES_MAX + 1)));
    for (estimate, right) in [
        (&shown["ids"], VALUES_MAX),
        (&shown["ids_by_half"]["0"], VALUES_MAX / 2),
        (&shown["ids_by_half"]["1"], VALUES_MAX / 2),
    ] {
        let about = estimate["about"].as_u64().expect("an estimate that says so");
        assert!(about.abs_diff(right) * 20 < right, "{about} instead of {right}");
    }
    for merged in [forth, back] {
        assert_eq!(aggregation.finish(&merged), shown);
    }
}

#[test]
fn what_is_exact_does_not_depend_on_how_the_items_were_divided() {
    let aggregation = compile(json!({
        "t": { "group": "g", "measures": { "kinds": { "distinct": "v" }, "middle": { "median": "v" } } },
        "w": { "distinct": "v" },
    }));
    // Just at the bound of a group, and one more.
    for values in [CELL_VALUES_MAX, CELL_VALUES_MAX + 1] {
        let items: Vec<_> = (0..values).map(|v| json!({ "g": "x", "v": v })).collect();
        let once = absorb(&aggregation, &items);
        let exact = values == CELL_VALUES_MAX;
        let row = &aggregation.finish(&once)["t"][0];
        assert_eq!((row["kinds"].is_number(), row["middle"].is_string()), (exact, exact), "{values}: {row}");
        for size in [1, 100, 4_000] {
            let mut merged = Partial::default();
            for part in items.chunks(if size == 1 { 700 } else { size }).rev() {
                let text = serde_json::to_string(&absorb(&aggregation, part)).expect("JSON");
                merged.merge(serde_json::from_str(&text).expect("the same back")).expect("the same definition");
            }
            assert_eq!(serde_json::to_string(&merged).expect("JSON"), serde_json::to_string(&once).expect("JSON"));
        }
    }
}

#[test]
fn groups_end_at_a_bound_of_memory_however_short_their_keys_are() {
    let measures: serde_json::Map<_, _> = (0..200).map(|n| (format!("m{n}"), json!({ "sum": "v" }))).collect();
    let aggregation = compile(json!({ "t": { "group": "id", "measures": measures } }));
    let (mut merger, mut charged) = (Merger::default(), 0);
    for from in (0_u64..).step_by(1_000).take_while(|from| *from < VALUES_MAX) {
        let items: Vec<_> = (from..from + 1_000).map(|id| json!({ "id": id, "v": 1 })).collect();
        let part = absorb(&aggregation, &items);
        charged += part.value_bytes();
        merger.merge(part).expect("the same definition");
        if charged > ROOM_BYTES_MAX {
            let shown = aggregation.finish(&merger.finish());
            assert!(from < VALUES_MAX / 4 && shown == json!({ "t": { "more_than": VALUES_MAX } }), "{from}: {shown}");
            return;
        }
    }
    panic!("{VALUES_MAX} groups of 200 sums are charged for {charged} bytes only");
}

fn invoices() -> Vec<Value> {
    [
        ("UK", "01", Some("10.50"), "ann"),
        ("UK", "01", Some("0.50"), "bob"),
        ("UK", "02", Some("100"), "ann"),
        ("France", "01", Some("7"), "eve"),
        ("France", "02", None, "eve"),
        ("Norway", "01", Some("9"), "ola"),
    ]
    .map(|(country, month, amount, who)| json!({ "country": country, "month": month, "amount": amount, "who": who }))
    .to_vec()
}

fn table(spec: Value) -> Value {
    let aggregation = compile(json!({ "t": spec }));
    aggregation.finish(&absorb(&aggregation, &invoices()))["t"].clone()
}

#[test]
fn a_table_has_a_row_for_each_group_with_its_keys_and_its_measures_in_their_order() {
    let measures = json!({ "n": "count", "sum": { "sum": "amount" }, "customers": { "distinct": "who" }, "middle": { "median": "amount" } });
    let rows = table(json!({ "group": "country", "measures": measures }));
    assert_eq!(
        serde_json::to_string(&rows).expect("JSON"),
        r#"[{"country":"France","n":2,"sum":"7","customers":1,"middle":"7"},{"country":"Norway","n":1,"sum":"9","customers":1,"middle":"9"},{"country":"UK","n":3,"sum":"111","customers":2,"middle":"10.5"}]"#
    );
    let rows = table(json!({ "group": ["month", "country"], "measures": { "n": "count" }, "nested": true }));
    assert_eq!(
        rows,
        json!({ "01": { "France": { "n": 1 }, "Norway": { "n": 1 }, "UK": { "n": 2 } },
        "02": { "France": { "n": 1 }, "UK": { "n": 1 } } })
    );
}

#[test]
fn rows_are_chosen_sorted_and_cut() {
    let names = |spec: Value| -> Vec<String> {
        let mut spec = spec;
        spec["group"] = json!("country");
        spec["measures"] = json!({ "n": "count", "sum": { "sum": "amount" }, "mean": { "mean": "amount" } });
        let rows = table(spec);
        rows.as_array().expect("rows").iter().map(|row| row["country"].as_str().expect("a name").to_owned()).collect()
    };
    assert_eq!(names(json!({ "sort": "-sum" })), ["UK", "Norway", "France"]);
    assert_eq!(names(json!({ "sort": ["n", "-country"] })), ["Norway", "France", "UK"]);
    assert_eq!(names(json!({ "top": "sum", "k": 2 })), ["UK", "Norway"]);
    assert_eq!(names(json!({ "limit": 1 })), ["France"]);
    assert_eq!(names(json!({ "having": { "sum": { "above": "7.00" } } })), ["Norway", "UK"]);
    assert_eq!(names(json!({ "having": { "sum": { "at_least": 7, "below": "111" } } })), ["France", "Norway"]);
    assert_eq!(names(json!({ "having": { "n": { "at_most": 1 }, "sum": { "above": 8 } } })), ["Norway"]);
}

#[test]
fn rows_are_sorted_by_sums_that_are_longer_than_any_number_of_an_item() {
    let aggregation = compile(json!({ "t": {
        "group": "g", "measures": { "s": { "sum": "v" } }, "sort": "-s", "having": { "s": { "above": "100" } },
    } }));
    let most = "79228162514264337593543950335";
    let mut items = vec![json!({ "g": "few", "v": "900" }), json!({ "g": "none", "v": "1" })];
    items.extend((0..2).map(|_| json!({ "g": "two", "v": most })));
    items.extend((0..13).map(|_| json!({ "g": "thirteen", "v": most })));
    items.push(json!({ "g": "one", "v": most }));
    items.extend((0..2).map(|_| json!({ "g": "less", "v": format!("-{most}") })));
    let rows = aggregation.finish(&absorb(&aggregation, &items))["t"].clone();
    let names: Vec<_> = rows.as_array().expect("rows").iter().map(|row| row["g"].clone()).collect();
    assert_eq!(names, ["thirteen", "two", "one", "few"], "{rows}");
}

#[test]
fn a_table_that_makes_no_sense_is_refused_with_what_would() {
    let with = |more: Value| {
        let mut spec = json!({ "group": "g", "measures": { "n": "count" } });
        spec.as_object_mut().expect("a table").extend(more.as_object().expect("a table").clone());
        spec
    };
    for (spec, expected) in [
        (json!({ "measures": { "n": "count" } }), "write `group = "),
        (json!({ "group": ["a", "b"], "sum": "x" }), "several keys, which `measures` is for"),
        (json!({ "group": "g", "sum": "x", "limit": 3 }), "`limit` belongs to `measures`"),
        (with(json!({ "sum": "x" })), "another measure beside them"),
        (with(json!({ "group": ["g", "g"] })), "names `g` twice"),
        (with(json!({ "measures": {} })), "`measures` is empty"),
        (with(json!({ "measures": { "g": "count" } })), "the name of a key"),
        (with(json!({ "measures": { "-n": "count" } })), "begin with `-`"),
        (with(json!({ "measures": { "about": "count" }, "nested": true })), "would look like an estimate"),
        (with(json!({ "measures": { "n": { "group": "h", "count": true } } })), "`group` of its own"),
        (with(json!({ "measures": { "n": { "top": "h" } } })), "has one value"),
        (with(json!({ "measures": { "n": { "sum": "a", "k": 1 } } })), "`measures.n`: `k` belongs to `top`"),
        (with(json!({ "sort": "m" })), "write one of g, n"),
        (with(json!({ "top": "g" })), "one of them: n"),
        (with(json!({ "top": "n", "limit": 3 })), "take out `sort` and `limit`"),
        (with(json!({ "limit": 0 })), "`limit` is 0; it must be 1 to 100000"),
        (with(json!({ "k": 3 })), "write `limit = 10`"),
        (with(json!({ "having": { "m": { "above": 1 } } })), "not one of `measures`: n"),
        (with(json!({ "having": { "n": {} } })), "says nothing"),
        (with(json!({ "having": { "n": { "above": [1] } } })), "write a number or a text"),
    ] {
        let error = Aggregation::compile(&specs(json!({ "by": spec }))).expect_err("nonsense").to_string();
        assert!(error.contains(expected) && error.starts_with("`aggregate.by`"), "{error}");
    }
}

#[test]
fn what_a_row_needs_and_lacks_is_said_by_its_measure() {
    let aggregation = compile(json!({ "t": { "group": "g", "measures": { "s": { "sum": "v" } } } }));
    let unfit = aggregation.absorber().absorb(&json!({ "g": 1, "v": "x" })).expect_err("not a number");
    assert!(unfit.to_string().contains("`aggregate.t.measures.s` needs a number"), "{unfit}");
    let missing = aggregation.absorber().absorb(&json!({ "v": "1" })).expect_err("no group");
    assert!(missing.to_string().contains("no field `g`"), "{missing}");
}

#[test]
fn parts_of_different_definitions_are_not_merged() {
    let sum = compile(json!({ "x": { "sum": "amount" } }));
    let count = compile(json!({ "x": "count" }));
    let error = absorb(&sum, &[]).merge(absorb(&count, &[])).expect_err("different measures");
    assert!(error.to_string().contains("`aggregate.x`"), "{error}");
}

#[test]
fn a_measure_that_makes_no_sense_is_refused_with_what_would() {
    for (spec, expected) in [
        (json!({ "group": "Country" }), "no measure"),
        (json!({ "sum": "a", "min": "b" }), "2 measures, `sum` and `min`"),
        (json!({ "sum": "a", "k": 3 }), "`k` belongs to `top`"),
        (json!({ "top": "a", "k": 0 }), "`k` is 0; it must be 1 to 1000"),
        (json!({ "quantiles": "a", "at": [99] }), "99th percentile is 0.99"),
        (json!({ "quantiles": "a", "at": [] }), "names no quantile"),
        (json!({ "mean": "a", "at": [0.5] }), "`at` belongs to `quantiles`"),
        (json!({ "count": false }), "write `true` for all items"),
    ] {
        let error = Aggregation::compile(&specs(json!({ "by": spec }))).expect_err("nonsense").to_string();
        assert!(error.contains(expected) && error.starts_with("`aggregate.by`"), "{error}");
    }
}
