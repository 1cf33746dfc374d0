//! JSON Patches that mend quarantined items.

use gristmill_core::item_patch::{ItemPatch, Patch};
use serde_json::{Value, json};

use crate::Target;
use crate::mutator::{JSON, hostile_text};

const PATCHES: [&str; 5] = [
    r#"[{"op":"replace","path":"/Country","value":"UK"}]"#,
    r#"[{"op":"test","path":"/Country","value":"EIRE"},{"op":"remove","path":"/lines/1"}]"#,
    r#"[{"op":"copy","from":"/lines","path":"/more"},{"op":"move","from":"/lines/0","path":"/first"}]"#,
    r#"[{"op":"add","path":"/lines/-","value":{"a":[1,2]}},{"op":"copy","from":"","path":"/self"}]"#,
    r#"[{"op":"replace","path":"","value":{"whole":true}},{"op":"add","path":"/~1a~0b","value":null}]"#,
];

const PIECES: [&[u8]; 8] = [
    b"/-",
    b"/0",
    b"/00",
    b"~",
    b"~2",
    b"/lines",
    b"{\"op\":\"copy\",\"from\":\"\",\"path\":\"/b\"},",
    b"/99999999999999999999",
];

#[test]
fn whatever_a_patch_says_it_mends_an_item_to_an_object_or_is_refused() {
    let item = json!({ "Country": "EIRE", "lines": [1, "two", { "three": 3 }], "": 0, "/a~b": 1 });
    let pieces: Vec<&[u8]> = JSON.into_iter().chain(PIECES).collect();
    Target { name: "patches", ordinary: 5_000, share: 10 }.feed(|random| {
        let valid = *random.pick(&PATCHES);
        let patch = match Patch::parse(&hostile_text(random, valid, &pieces)) {
            Ok(patch) => ItemPatch::Patch(patch),
            Err(error) => return crate::in_words(&error),
        };
        match patch.apply(1, &item) {
            Ok(Value::Object(_)) => Ok(true),
            Ok(other) => Err(format!("an item that is no object: {other}")),
            Err(error) => crate::in_words(&error),
        }
    });
}
