//! The one mutator: from valid input, a seed and the pieces that a reader may stumble over to hostile input.

use gristmill_testkit::Random;

/// What a reader of JSON may stumble over.
pub(crate) const JSON: [&[u8]; 24] = [
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
    b"\xef\xbb\xbf",
    b"/**/",
    b" \n\t",
    b"\"\":",
];

/// Mostly something valid with a few mutations; sometimes pieces or bytes by chance, and now and then a nesting that
/// no stack would hold.
pub(crate) fn hostile(random: &mut Random, valid: &[u8], pieces: &[&[u8]]) -> Vec<u8> {
    let mut bytes = match random.index(10) {
        0 => (0..random.index(300)).map(|_| random.draw() as u8).collect(),
        1 => (0..random.index(40)).flat_map(|_| random.pick(pieces).to_vec()).collect(),
        2 if random.one_in(200) => vec![*random.pick(b"[({"); 60_000],
        _ => valid.to_vec(),
    };
    for _ in 0..random.index(5) {
        mutate(random, &mut bytes, pieces);
    }
    bytes
}

/// The same as a text.
pub(crate) fn hostile_text(random: &mut Random, valid: &str, pieces: &[&[u8]]) -> String {
    String::from_utf8_lossy(&hostile(random, valid.as_bytes(), pieces)).into_owned()
}

fn mutate(random: &mut Random, bytes: &mut Vec<u8>, pieces: &[&[u8]]) {
    let at = random.index(bytes.len() + 1);
    match random.index(7) {
        0 if at < bytes.len() => bytes[at] ^= 1 << random.index(8),
        1 if at < bytes.len() => drop(bytes.remove(at)),
        2 => bytes.truncate(at),
        3 => drop(bytes.splice(at..at, random.pick(pieces).iter().copied())),
        4 => bytes.extend_from_within(at..),
        5 => {
            // A stretch vanishes.
            let until = (at + random.index(20)).min(bytes.len());
            bytes.drain(at..until);
        }
        _ => bytes.insert(at, random.draw() as u8),
    }
}

/// Mutates a text by its lines: one goes, comes twice, changes places, or its value is another.
pub(crate) fn by_lines(random: &mut Random, text: &str, values: &[&str]) -> String {
    let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
    for _ in 0..=random.index(3) {
        let (at, other) = (random.index(lines.len()), random.index(lines.len()));
        if lines.is_empty() {
            break;
        }
        match random.index(5) {
            0 => drop(lines.remove(at)),
            1 => lines.insert(other, lines[at].clone()),
            2 => lines.swap(at, other),
            _ => {
                if let Some((key, _)) = lines[at].split_once('=') {
                    lines[at] = format!("{key}= {}", random.pick(values));
                }
            }
        }
    }
    lines.join("\n")
}
