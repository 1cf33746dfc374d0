//! Programs that would hold a thread, the memory or the stack for ever.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::{Output, Program};
use crate::{pool, stack};

fn outcome(code: &str, item: &Value) -> Vec<Output> {
    Program::compile(code).map_or_else(|problem| vec![Output::Error(problem)], |program| program.run(item, 2))
}

/// Runs it on a thread like those for items, whose stack others do not have.
fn on_an_item_thread(code: &str, item: Value) -> Vec<Output> {
    let code = code.to_owned();
    let thread = std::thread::Builder::new().stack_size(pool::STACK_BYTES);
    let run = thread.spawn(move || {
        stack::declare(pool::STACK_BYTES);
        outcome(&code, &item)
    });
    run.expect("a thread").join().expect("no panic")
}

/// What never ends, or would need more than there is.
const ENDLESS: [&str; 31] = [
    "def f: f; f",
    "def f: 1 + f; f",
    "def f: [f]; f",
    "def f: f | f; f",
    "def f(g): f(g | g); f(.)",
    "[repeat(1)] | length",
    "last(repeat(1))",
    "last(0 | recurse(. + 1))",
    "last(range(1e15))",
    "[range(1e15)] | length",
    "range(1e15) | select(. < 0)",
    "last(range(0; infinite))",
    "reduce range(1e12) as $i (0; . + 1)",
    "isempty(range(1e15) | select(. < 0))",
    "skip(1e12; repeat(1))",
    "first(range(1e15) | empty)",
    "until(false; .)",
    "\"x\" * 1e9 | length",
    "\"x\" * 1e300 | length",
    "reduce range(40) as $i (\"x\"; . + .) | length",
    "reduce range(40) as $i ([0]; . + .) | length",
    "reduce range(40) as $i (\"x\"; [., .]) | tojson | length",
    "reduce range(40) as $i (\"x\"; [., .]) | [..] | length",
    "reduce range(40) as $i (\"x\"; [., .]) | flatten | length",
    "(reduce range(40) as $i (\"x\"; [., .])) as $x | (reduce range(40) as $i (\"x\"; [., .])) == $x",
    "reduce range(40) as $i (\"x\"; {a: ., b: .}) | {v: .}",
    "reduce range(1e6) as $i (null; [.])",
    "null | [limit(1e6; path(recurse(.a)))] | length",
    "[1] | def again: .[0:] | again; path(again)",
    ".[1e12] = 1",
    "[limit(3e3; repeat([range(3e3)]))] | last(.[][])",
];

#[test]
fn what_would_never_end_costs_its_item_and_nothing_more() {
    for code in ENDLESS {
        let begun = Instant::now();
        let outcome = on_an_item_thread(code, Value::Null);
        assert!(matches!(outcome.as_slice(), [Output::Runaway(_)]), "{code}: {outcome:?}");
        assert!(begun.elapsed() < Duration::from_secs(60), "{code}: {:?}", begun.elapsed());
    }
}

#[test]
fn a_small_stack_is_enough_to_notice_it() {
    // A thread that has said nothing of its stack, such as this one, counts as one with two megabytes.
    for code in ["def f: 1 + f; f", "def f: [f]; f", "def f(g): f(g | g); f(.)", "reduce range(1e6) as $i (null; [.])"]
    {
        let thread = std::thread::Builder::new().stack_size(2 * 1024 * 1024);
        let run = thread.spawn(move || outcome(code, &Value::Null)).expect("a thread");
        let outcome = run.join().expect("no panic");
        assert!(matches!(outcome.as_slice(), [Output::Runaway(_)]), "{code}: {outcome:?}");
    }
}

#[test]
fn values_have_a_greatest_depth() {
    let deep = |levels: usize| format!("{}{}", "[".repeat(levels), "]".repeat(levels));
    let read = |levels| on_an_item_thread("{v: (.t | fromjson | tojson | length)}", json!({ "t": deep(levels) }));
    assert_eq!(read(64), [Output::Value(json!({ "v": 128 }))]);
    for levels in [65, 100_000] {
        let outcome = read(levels);
        assert!(matches!(outcome.as_slice(), [Output::Error(why)] if why.contains("deeper than 64")), "{outcome:?}");
    }
    let made = on_an_item_thread("reduce range(80) as $i (1; [.])", Value::Null);
    assert!(matches!(made.as_slice(), [Output::Unfit(why)] if why.contains("deeper than 64")), "{made:?}");
    let within = on_an_item_thread("reduce range(900) as $i (1; [.]) | tojson | length", Value::Null);
    assert_eq!(within, [Output::Value(json!(1801))]);
}

#[test]
fn a_program_of_any_shape_is_compiled_or_refused() {
    let shapes = [
        format!("{}1", "-".repeat(30_000)),
        format!("{}1", "try ".repeat(8_000)),
        format!("{}1", "1 as $x | ".repeat(3_000)),
        format!("{}.", ". | ".repeat(8_000)),
        format!("{}.", "., ".repeat(8_000)),
        format!("{}1", "1 + ".repeat(8_000)),
        format!("{}.", "if . then . else ".repeat(1_500)),
        format!("{}1", "def f: ".repeat(4_000)),
        format!("{}1{}", "(".repeat(199), ")".repeat(199)),
        format!("{}1{}", "(".repeat(16_000), ")".repeat(16_000)),
        format!("{}\"x\"{}", "\"\\(".repeat(190), ")\"".repeat(190)),
        format!(".{}", ".a".repeat(15_000)),
        format!(".{}", "[]".repeat(15_000)),
        "1".repeat(40_000),
    ];
    for shape in shapes {
        let start = shape.get(..20).unwrap_or(&shape).to_owned();
        // That it ends without a crash is the point; what comes out differs.
        let outcome = on_an_item_thread(&shape, Value::Null);
        assert!(outcome.len() <= 2, "{start}");
    }
    let nested = Program::compile(&"(".repeat(300)).expect_err("too deep");
    assert!(nested.contains("nested deeper than 200"), "{nested}");
    assert!(Program::compile(&" ".repeat(40_000)).expect_err("too long").contains("at most 32768"));
}

#[test]
fn a_regex_that_goes_back_for_ever_is_an_error_of_its_item() {
    let item = json!({ "t": format!("{}!", "a".repeat(5_000)) });
    for code in [r#".t | test("(a+)+$")"#, r#".t | test("(a*)*\\1b")"#, r#".t | test("(?=(a+)+b)(a+)\\1c")"#] {
        let outcome = on_an_item_thread(code, item.clone());
        let ended = matches!(outcome.as_slice(), [Output::Value(Value::Bool(false)) | Output::Error(_)]);
        assert!(ended, "{code}: {outcome:?}");
    }
    let large = on_an_item_thread(r#".t | test("(a{1000}){1000}")"#, item);
    assert!(matches!(large.as_slice(), [Output::Error(why)] if why.contains("not a valid regex")), "{large:?}");
}

#[test]
fn ordinary_work_stays_within_the_limits() {
    let rows = (0..2_000).map(|number| json!({ "k": format!("k{}", number % 7), "v": number })).collect::<Vec<_>>();
    let code = "{groups: (.rows | group_by(.k) | map({k: .[0].k, s: (map(.v) | add)})),
                 list: (reduce range(20000) as $i ([]; . + [$i]) | length),
                 text: (reduce range(20000) as $i (\"\"; . + \"x\") | length),
                 index: (.rows | INDEX(.v) | length),
                 words: ([range(1000) | tostring] | join(\" \") | [splits(\" \")] | length)}";
    let outcome = on_an_item_thread(code, json!({ "rows": rows }));
    let [Output::Value(value)] = outcome.as_slice() else { panic!("{outcome:?}") };
    assert_eq!((&value["list"], &value["text"], &value["index"]), (&json!(20_000), &json!(20_000), &json!(2_000)));
    assert_eq!((value["groups"].as_array().map(Vec::len), &value["words"]), (Some(7), &json!(1_000)));
}
