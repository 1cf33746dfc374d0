//! What the broker carries.

use gristmill_broker::{Message, Poison};

use crate::Target;
use crate::mutator::{JSON, hostile};
use gristmill_testkit::Random;

/// Beside those of any JSON.
const PIECES: [&[u8]; 6] =
    [b"\"v\":1", b"\"v\":2", b"\"job_id\":7", b"\"queue\":null", b"\"v\":1,\"v\":2", b"\"job_id\":\""];

fn valid(random: &mut Random) -> Vec<u8> {
    let id = format!("{:016x}{:016x}", random.draw(), random.draw());
    let id = format!("{}-{}-{}-{}-{}", &id[..8], &id[8..12], &id[12..16], &id[16..20], &id[20..]);
    let queue = ["default", "mail", "", "q\u{fc}", "a\"b\\c\u{0}"][random.index(5)];
    Message::new(id.parse().expect("an id"), queue).encode()
}

fn holds(bytes: &[u8]) -> Result<bool, String> {
    let shown = bytes.escape_ascii();
    match Message::decode(bytes) {
        Ok(message) => match Message::decode(&message.encode()) {
            Ok(again) if again == message => Ok(true),
            other => Err(format!("{message:?} is written as something else: {other:?}; input: {shown}")),
        },
        Err(poison) if poison == Poison::new(bytes, poison.reason.clone()) && !poison.reason.is_empty() => Ok(false),
        Err(poison) => Err(format!("what is kept of it is not what came: {poison:?}; input: {shown}")),
    }
}

#[test]
fn whatever_comes_is_a_message_or_poison_and_never_a_panic() {
    let pieces: Vec<&[u8]> = JSON.into_iter().chain(PIECES).collect();
    Target { name: "messages", ordinary: 20_000, share: 1 }.feed(|random| {
        let valid = valid(random);
        holds(&hostile(random, &valid, &pieces))
    });
}

#[test]
fn a_message_of_any_other_version_is_called_just_that() {
    for version in [0u64, 2, 3, 255, u64::from(u32::MAX) + 1, u64::MAX] {
        let poison =
            Message::decode(format!(r#"{{"v":{version},"anything":[]}}"#).as_bytes()).expect_err("another version");
        assert_eq!(poison.reason, format!("it has version {version}, and this program reads version 1"));
    }
}
