//! What one entrance accepts as JSON, every reader reads back as the same value: each pair of them.

use gristmill_core::chunk::{SetAside, Slice};
use gristmill_core::inline::{self, InlineItem};
use gristmill_core::item_patch::{ItemPatch, Patch};
use gristmill_core::json::{self, Fault};
use gristmill_core::schedule::JobSpec;
use gristmill_jobs::kind::payload::{self, EmailPayload, ExecPayload, HttpPayload, WebhookPayload};
use gristmill_jobs::process::ItemOut;
use gristmill_jobs::process::envelope::read_answer;
use gristmill_service::start::params::param;
use gristmill_testkit::Random;
use serde_json::{Map, Value, json};

use crate::Target;
use crate::mutator::{JSON, hostile_text};

/// Keys that mean something to a library.
const KEYS: [&str; 6] =
    ["$serde_json::private::RawValue", "$serde_json::private::Number", "$__toml_private_datetime", "a", "", "value"];

const TEXTS: [&str; 8] =
    ["1", "123456789.123456789", "[[[[[[]]]]]]", "x", "null", "\"", "\u{0}", "123456789012345678901234567890"];

const NUMBERS: [&str; 10] = [
    "0",
    "-0",
    "18446744073709551615",
    "-9223372036854775808",
    "0.1",
    "1e300",
    "0.30000000000000004",
    "123456789012345678901234567890",
    "123456789.12345678901",
    "1e-400",
];

/// A text of JSON, sometimes deeper and longer than anything may be, sometimes broken.
fn text(random: &mut Random) -> String {
    let inner = tree(random, 3);
    let levels = if random.one_in(3) { 55 + random.index(14) } else { random.index(4) };
    let mut text = inner;
    for _ in 0..levels {
        text = if random.one_in(2) { format!("[{text}]") } else { format!("{{{:?}:{text}}}", random.pick(&KEYS)) };
    }
    if random.one_in(5) { hostile_text(random, &text, &JSON) } else { text }
}

fn tree(random: &mut Random, depth: usize) -> String {
    let several = |random: &mut Random| random.index(4);
    match random.index(if depth == 0 { 4 } else { 7 }) {
        0 => (*random.pick(&["null", "true", "false"])).to_owned(),
        1 => (*random.pick(&NUMBERS)).to_owned(),
        2 | 3 => Value::from(*random.pick(&TEXTS)).to_string(),
        4 => {
            let elements: Vec<String> = (0..several(random)).map(|_| tree(random, depth - 1)).collect();
            format!("[{}]", elements.join(","))
        }
        _ => {
            let fields: Vec<String> =
                (0..several(random)).map(|_| format!("{:?}:{}", random.pick(&KEYS), tree(random, depth - 1))).collect();
            format!("{{{}}}", fields.join(","))
        }
    }
}

/// The value as the entrances take it: each by its name, or nothing where it is refused.
fn entrances(text: &str) -> Vec<(&'static str, Option<Value>)> {
    if json::read(text.as_bytes()).is_err_and(|error| error.fault == Fault::Syntax) {
        // Inside another document it could mean anything.
        return Vec::new();
    }
    let answered = read_answer(format!("{{\"ok\":{{\"v\":{text}}}}}\n").as_bytes(), 7);
    let answered = match answered {
        Ok(ItemOut::Ok(item)) => item.get("v").cloned(),
        _ => None,
    };
    let patched = Patch::parse(&format!("[{{\"op\":\"add\",\"path\":\"/v\",\"value\":{text}}}]"));
    let patched = patched.ok().and_then(|patch| ItemPatch::Patch(patch).apply(1, &json!({})).ok());
    // A parameter that is no JSON, or a number that would be rounded, is a text.
    let param = param(&format!("v={text}")).ok().map(|(_, value)| value);
    vec![
        ("payloads, hooks, outputs", json::read(text.as_bytes()).ok()),
        ("answers of programs", answered),
        ("patches", patched.map(|item| item["v"].clone())),
        ("parameters", param.filter(|value| *value != json!(text))),
        ("objects", json::read_object(text.as_bytes()).ok().map(Value::Object)),
        ("rows of databases", json::read_row(text).ok()),
    ]
}

/// The value as the readers bring it back: each by its name.
fn readers(value: &Value) -> Result<Vec<(&'static str, Value)>, String> {
    let wrong = |reader: &str, error: &dyn std::fmt::Display| format!("{reader} refuse {value}: {error}");
    let read = |reader: &'static str, outer: Value| {
        let text = outer.to_string();
        json::kept(&text).map_err(|error| wrong(reader, &error))
    };
    macro_rules! of_kind {
        ($payload:ty, $field:ident, $outer:expr) => {{
            let kept = read("stored payloads", $outer)?;
            let typed = payload::read::<$payload>("x", &kept).map_err(|error| wrong("payloads of kinds", &error))?;
            (stringify!($payload), typed.$field)
        }};
    }
    let item = InlineItem { position: 1, line: None, item: value.clone() };
    let Ok(Slice::Inline { zstd }) = inline::encode(std::slice::from_ref(&item)) else {
        return Err("items inside a chunk cannot be written".to_owned());
    };
    let inline = inline::decode(&zstd).map_err(|error| wrong("items inside a chunk", &error))?;
    let aside = SetAside { position: 1, line: None, stage: "read".into(), reason: "x".into(), item: value.clone() };
    let aside: SetAside = serde_json::to_string(&aside)
        .and_then(|text| serde_json::from_str(&text))
        .map_err(|error| wrong("items set aside", &error))?;
    let job = JobSpec { kind: "x".to_owned(), payload: value.clone(), ..JobSpec::default() };
    let job: JobSpec = serde_json::to_value(&job)
        .and_then(serde_json::from_value)
        .map_err(|error| wrong("jobs of schedules", &error))?;
    Ok(vec![
        ("stored values", read("stored values", value.clone())?),
        ("items inside a chunk", inline[0].item.clone()),
        ("items set aside", aside.item),
        ("jobs of schedules", job.payload),
        of_kind!(EmailPayload, data, json!({ "to": "x", "data": value })),
        of_kind!(WebhookPayload, data, json!({ "url": "x", "type": "y", "data": value })),
        of_kind!(ExecPayload, input, json!({ "command": ["x"], "input": value })),
        of_kind!(HttpPayload, body, json!({ "url": "x", "body": value })),
    ])
}

/// The same number written otherwise, such as `1.0` for `1e0`, is the same value; a whole one with a point is not.
fn same_text(one: &Value, other: &Value) -> bool {
    let [one_text, other_text] = [one, other].map(ToString::to_string);
    one == other && one_text == other_text
}

#[test]
fn what_one_entrance_accepts_every_reader_reads_back_as_the_same() {
    Target { name: "JSON from entrance to reader", ordinary: 3_000, share: 10 }.feed(|random| {
        let text = text(random);
        let accepted: Vec<(&str, Value)> =
            entrances(&text).into_iter().filter_map(|(name, value)| Some((name, value?))).collect();
        for (entrance, value) in &accepted {
            for (reader, back) in readers(value).map_err(|why| format!("{entrance} accept {text}, and {why}"))? {
                if !same_text(value, &back) {
                    return Err(format!("{entrance} take {text} for {value}, and {reader} bring back {back}"));
                }
            }
        }
        // All entrances agree, wherever the value stands.
        let exact: Vec<&(&str, Value)> = accepted.iter().filter(|(name, _)| *name != "rows of databases").collect();
        if let Some(pair) = exact.windows(2).find(|pair| !same_text(&pair[0].1, &pair[1].1)) {
            return Err(format!("{text} is {} and {} ({} and {})", pair[0].1, pair[1].1, pair[0].0, pair[1].0));
        }
        Ok(!exact.is_empty())
    });
}

#[test]
fn an_object_is_an_object_whatever_its_keys_are() {
    for key in KEYS {
        for inner in TEXTS {
            let value = Value::Object(Map::from_iter([(key.to_owned(), inner.into())]));
            let text = value.to_string();
            for (name, found) in entrances(&text) {
                assert_eq!(found.as_ref(), Some(&value), "{name}");
            }
            for (name, found) in readers(&value).expect("all read it") {
                assert_eq!(found, value, "{name}");
            }
        }
    }
}
