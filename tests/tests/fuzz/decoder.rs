//! Hostile bytes for the decoder: valid messages that are mutated, and garbage, from a seed that is printed.
//!
//! The ordinary run makes 20,000; `make fuzz RUNS=n SEED=s` as many as it is told.

use std::panic::catch_unwind;

use gristmill_broker::{Message, Poison};

/// What the ordinary run makes.
const RUNS: u64 = 20_000;

/// SplitMix64: the same seed gives the same bytes everywhere.
struct Dice(u64);

impl Dice {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut bits = self.0;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        bits ^ (bits >> 31)
    }

    fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound.max(1) as u64) as usize
    }

    fn pick<'a>(&mut self, from: &[&'a [u8]]) -> &'a [u8] {
        from[self.below(from.len())]
    }
}

/// Pieces that a decoder of JSON may stumble over.
const PIECES: [&[u8]; 28] = [
    b"{",
    b"}",
    b"[",
    b"]",
    b"\"",
    b"\\",
    b":",
    b",",
    b"null",
    b"true",
    b"-0",
    b"1e999",
    b"1.0",
    b"18446744073709551616",
    b"\xff",
    b"\xc3\x28",
    b"\xed\xa0\x80",
    b"\x00",
    b"\\u0000",
    b"\\ud800",
    b"\"v\":1",
    b"\"v\":2",
    b"\"job_id\":7",
    b"\"queue\":null",
    b"\"v\":1,\"v\":2",
    b"\xef\xbb\xbf",
    b"/**/",
    b" \n\t",
];

fn valid(dice: &mut Dice) -> Vec<u8> {
    let id = format!("{:016x}{:016x}", dice.next(), dice.next());
    let id = format!("{}-{}-{}-{}-{}", &id[..8], &id[8..12], &id[12..16], &id[16..20], &id[20..]);
    let queue = ["default", "mail", "", "q\u{fc}", "a\"b\\c\u{0}"][dice.below(5)];
    Message::new(id.parse().expect("an id"), queue).encode()
}

fn input(dice: &mut Dice) -> Vec<u8> {
    let mut bytes = match dice.below(10) {
        0 => (0..dice.below(300)).map(|_| dice.next() as u8).collect(),
        1 => (0..dice.below(40)).flat_map(|_| dice.pick(&PIECES).to_vec()).collect(),
        // Deeper than any stack would hold, were it followed.
        2 if dice.below(200) == 0 => vec![b'['; 60_000],
        _ => valid(dice),
    };
    for _ in 0..dice.below(5) {
        let at = dice.below(bytes.len() + 1);
        match dice.below(6) {
            0 if at < bytes.len() => bytes[at] ^= 1 << dice.below(8),
            1 if at < bytes.len() => drop(bytes.remove(at)),
            2 => bytes.truncate(at),
            3 => drop(bytes.splice(at..at, dice.pick(&PIECES).iter().copied())),
            4 => bytes.extend_from_within(at..),
            _ => bytes.insert(at, dice.next() as u8),
        }
    }
    bytes
}

fn holds(bytes: &[u8]) -> Result<bool, String> {
    match catch_unwind(|| Message::decode(bytes)) {
        Err(_) => Err("the decoder panicked".to_owned()),
        Ok(Ok(message)) => match Message::decode(&message.encode()) {
            Ok(again) if again == message => Ok(true),
            other => Err(format!("{message:?} is written as something else: {other:?}")),
        },
        Ok(Err(poison)) if poison == Poison::new(bytes, poison.reason.clone()) && !poison.reason.is_empty() => {
            Ok(false)
        }
        Ok(Err(poison)) => Err(format!("what is kept of it is not what came: {poison:?}")),
    }
}

fn told(name: &str, otherwise: u64) -> u64 {
    std::env::var(name).map_or(otherwise, |text| text.parse().unwrap_or_else(|_| panic!("{name} is no number: {text}")))
}

#[test]
fn whatever_comes_is_a_message_or_poison_and_never_a_panic() {
    let (runs, seed) = (told("GRISTMILL_TEST_FUZZ_RUNS", RUNS), told("GRISTMILL_TEST_FUZZ_SEED", 1));
    let (mut messages, mut poison) = (0u64, 0u64);
    for run in 0..runs {
        // Each run has a seed of its own, so that one is repeated without those before it.
        let seed = seed.wrapping_add(run);
        let bytes = input(&mut Dice(seed));
        match holds(&bytes) {
            Ok(true) => messages += 1,
            Ok(false) => poison += 1,
            Err(wrong) => panic!("SEED={seed} RUNS=1: {wrong}\ninput: {}", bytes.escape_ascii()),
        }
    }
    println!("fuzz: {runs} runs of the decoder from seed {seed}: {messages} messages, {poison} poison, 0 panics");
    assert!(runs < 1_000 || (messages > runs / 100 && poison > runs / 100), "{messages} and {poison}: too one-sided");
}

#[test]
fn a_message_of_any_other_version_is_called_just_that() {
    for version in [0u64, 2, 3, 255, u64::from(u32::MAX) + 1, u64::MAX] {
        let poison =
            Message::decode(format!(r#"{{"v":{version},"anything":[]}}"#).as_bytes()).expect_err("another version");
        assert_eq!(poison.reason, format!("it has version {version}, and this program reads version 1"));
    }
}
