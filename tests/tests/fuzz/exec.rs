//! What a program or a service answers for an item.

use gristmill_jobs::process::ItemOut;
use gristmill_jobs::process::envelope::read_answer;
use serde_json::Value;

use crate::Target;
use crate::mutator::{JSON, hostile};

const VALID: [&[u8]; 6] = [
    b"{\"ok\": {\"name\": \"ADA\"}}\n",
    b"{\"skip\": true}\n",
    b"{\"error\": \"no such name\", \"retry\": false}\n",
    b"{\"ok\": {}, \"position\": 7}\n",
    b"{\"error\": \"\", \"retry\": true, \"position\": 8}\n",
    b"{\"skip\": false, \"ok\": {\"a\": [1, {\"b\": null}]}}\n",
];

#[test]
fn whatever_is_answered_is_one_ending_of_its_item_or_an_error() {
    Target { name: "answers of programs and services", ordinary: 10_000, share: 4 }.feed(|random| {
        let valid = *random.pick(&VALID);
        let line = hostile(random, valid, &JSON);
        match read_answer(&line, 7) {
            Ok(ItemOut::Ok(Value::Object(_)) | ItemOut::Skip | ItemOut::Failed { .. }) => Ok(true),
            Ok(other) => Err(format!("an item that is no object: {other:?}")),
            Err(wrong) => crate::in_words(&wrong),
        }
    });
}
