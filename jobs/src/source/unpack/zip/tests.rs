//! Archives as programs write them, and as they should not.

use std::io::Write;

use flate2::Compression;
use flate2::write::DeflateEncoder;

use super::*;

struct Entry {
    name: &'static str,
    text: &'static str,
    method: u16,
    flags: u16,
}

const FILE: Entry = Entry { name: "a.csv", text: "id\n1\n2\n", method: 8, flags: 0 };

/// The archive, with its lengths behind the data where that is said.
fn archive(entries: &[Entry]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for Entry { name, text, method, flags } in entries {
        let mut crc = Crc::new();
        crc.update(text.as_bytes());
        let packed = if *method == 8 {
            let mut encoder = DeflateEncoder::new(Vec::new(), Compression::default());
            encoder.write_all(text.as_bytes()).expect("packed");
            encoder.finish().expect("packed")
        } else {
            text.as_bytes().to_vec()
        };
        let lengths = [crc.sum(), packed.len() as u32, text.len() as u32].map(u32::to_le_bytes).concat();
        let open = flags & 8 != 0;
        bytes.extend(LOCAL);
        bytes.extend([20, *flags, *method, 0, 0].map(u16::to_le_bytes).concat());
        bytes.extend(if open { vec![0; 12] } else { lengths.clone() });
        bytes.extend([name.len() as u16, 2].map(u16::to_le_bytes).concat());
        bytes.extend(name.as_bytes());
        bytes.extend([0xAA, 0xBB]);
        bytes.extend(packed);
        if open {
            bytes.extend([&DESCRIPTOR[..], &lengths].concat());
        }
    }
    bytes.extend(b"PK\x01\x02 and the directory, which is not looked at");
    bytes
}

fn text(bytes: Vec<u8>) -> Result<String, String> {
    let mut text = String::new();
    let stream: Stream = Box::new(io::Cursor::new(bytes));
    Zip::open(stream).and_then(|mut zip| zip.read_to_string(&mut text)).map_err(|error| error.to_string())?;
    Ok(text)
}

#[test]
fn the_one_file_is_read_however_it_was_packed() {
    for (method, flags) in [(8, 0), (8, 8), (0, 0)] {
        assert_eq!(text(archive(&[Entry { method, flags, ..FILE }])), Ok(FILE.text.to_owned()), "{method} {flags}");
    }
    let folder = Entry { name: "data/", text: "", method: 0, ..FILE };
    let beside = Entry { name: "__MACOSX/._a.csv", ..FILE };
    assert_eq!(text(archive(&[folder, FILE, beside])), Ok(FILE.text.to_owned()));
}

#[test]
fn what_is_not_one_readable_file_is_said() {
    for (entries, said) in [
        (vec![FILE, Entry { name: "b.csv", ..FILE }], "several files in it, `a.csv` and `b.csv`"),
        (vec![], "no file"),
        (vec![Entry { flags: 1, ..FILE }], "encrypted"),
        (vec![Entry { name: "[Content_Types].xml", ..FILE }], "save the table as CSV"),
        (vec![Entry { method: 14, ..FILE }], "method 14"),
        (vec![Entry { method: 0, flags: 8, ..FILE }], "without a length"),
    ] {
        let problem = text(archive(&entries)).expect_err(said);
        assert!(problem.contains(said), "{problem}");
    }
}

#[test]
fn nothing_that_was_damaged_passes() {
    let whole = archive(&[Entry { method: 0, ..FILE }]);
    let mut other = whole.clone();
    let at = other.windows(3).position(|bytes| bytes == b"id\n").expect("stored");
    other[at] = b'x';
    assert_eq!(text(other), Err("the checksum differs".to_owned()));
    let packed = archive(&[FILE]);
    for length in 0..packed.len() - 44 {
        text(packed[..length].to_vec()).expect_err("it ends early");
    }
}
