//! Files as sources: each record becomes an item or an error of its own, whatever the bytes, and however they are cut.

use std::io::Write;
use std::path::Path;

use gristmill_core::definition::{Compression, OneOrMany, Ragged, SourceSpec};
use gristmill_jobs::source::{self, OpenOptions, RAW_BYTES_MAX, Record, SourceError};
use tokio::runtime::Runtime;

use crate::Target;
use crate::mutator::{JSON, hostile};
use gristmill_testkit::Random;

const CSV: &[u8] =
    b"id,name,amount\r\n1,Ada,1.50\n2,\"Grace \"\"H\"\"\nHopper\",2\n3,\xfc,3\n\n4,x\n5,a,b,c\n6,\"\",\n";
const LINES: &[u8] =
    b"{\"id\":1,\"name\":\"Ada\"}\n{\"id\":2,\"a\":[1,2,{\"b\":null}]}\r\n\n{\"id\":1.0e2}\n[3]\n{\"id\":\"\\ud83e\\udd80\"}\n";

const PIECES: [&[u8]; 15] = [
    b"\"",
    b"\"\"",
    b",",
    b"\n",
    b"\r",
    b"\r\n",
    b"\n\n\n",
    b"\x00",
    b"\xff\xfe",
    b"\xef\xbb\xbf",
    b"\"\n\"",
    b"id,id\n",
    b",,,,,,,,,,,,,,,,",
    b"\x1f\x8b\x08",
    b"BZh91AY&SY",
];

/// The most bytes that a copy may have here.
const COPY_BYTES_MAX: u64 = 64 * 1024;

fn packed(random: &mut Random, bytes: &[u8]) -> Vec<u8> {
    let mut packed = match random.index(3) {
        0 => {
            let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
            gzip.write_all(bytes).and_then(|()| gzip.finish()).expect("in memory")
        }
        1 => {
            let mut bzip2 = bzip2::write::BzEncoder::new(Vec::new(), bzip2::Compression::fast());
            bzip2.write_all(bytes).and_then(|()| bzip2.finish()).expect("in memory")
        }
        _ => zstd::encode_all(bytes, 1).expect("in memory"),
    };
    if random.one_in(2) {
        packed = hostile(random, &packed, &PIECES);
    }
    packed
}

fn input(random: &mut Random) -> (SourceSpec, Vec<u8>) {
    let csv = random.one_in(2);
    let pieces: Vec<&[u8]> = if csv { PIECES.to_vec() } else { JSON.into_iter().chain(PIECES).collect() };
    let mut bytes = hostile(random, if csv { CSV } else { LINES }, &pieces);
    if random.one_in(8) {
        bytes = if random.one_in(4) { packed(random, &vec![b'\n'; 1_000_000]) } else { packed(random, &bytes) };
    }
    let name = Some(OneOrMany::One("input".to_owned()));
    let mut spec = if csv {
        SourceSpec { csv: name, ..SourceSpec::default() }
    } else {
        SourceSpec { jsonl: name, ..SourceSpec::default() }
    };
    spec.record_bytes_max = random.one_in(3).then(|| 1 + random.index(100) as u64);
    spec.encoding = random
        .one_in(6)
        .then(|| (*random.pick(&["utf-8", "windows-1252", "utf-16le", "shift_jis", "no such"])).to_owned());
    if csv {
        spec.delimiter = random.one_in(6).then(|| (*random.pick(&[";", "\t", "\"", "", "\u{e4}"])).to_owned());
        spec.quote = random.one_in(8).then(|| (*random.pick(&["'", ",", "\n"])).to_owned());
        spec.columns = random.one_in(6).then(|| vec!["a".to_owned(), "b".to_owned()]);
        spec.ragged = if random.one_in(6) { Ragged::Error } else { Ragged::Quarantine };
    }
    spec.compression =
        random.one_in(12).then_some(if random.one_in(2) { Compression::Gzip } else { Compression::None });
    (spec, bytes)
}

/// Every record of the input, planned in chunks of so many. `Err(None)` is a refusal in words.
async fn records(spec: &SourceSpec, folder: &Path, chunk: u64) -> Result<Vec<Record>, Option<String>> {
    let options = OpenOptions {
        spool_dir: folder.join("copies"),
        base_dir: folder.to_owned(),
        chunk: chunk.into(),
        spool_bytes_max: COPY_BYTES_MAX,
        stdin: None,
    };
    let refused = |error: SourceError| match error {
        SourceError::Interrupted => Some("a thread of the source has panicked".to_owned()),
        other if other.to_string().trim().is_empty() => Some("it is refused without a word".to_owned()),
        _ => None,
    };
    let mut planner = source::open(spec, options).await.map_err(refused)?;
    let mut all = Vec::new();
    while let Some(payload) = planner.next_chunk().await.map_err(refused)? {
        let read = source::read(&payload, planner.fingerprint(), spec).await;
        let read = read.map_err(|error| Some(format!("it was planned and cannot be read: {error}")))?;
        if read.len() as u64 != payload.items || payload.items > chunk {
            return Err(Some(format!(
                "{} records of {} that were planned, {chunk} at most",
                read.len(),
                payload.items
            )));
        }
        all.extend(read);
    }
    for (number, record) in all.iter().enumerate() {
        let sound = match &record.item {
            Ok(item) => item.is_object(),
            // A byte that is no UTF-8 is shown by three.
            Err(why) => !why.reason.is_empty() && why.raw.as_str().is_none_or(|raw| raw.len() <= 3 * RAW_BYTES_MAX),
        };
        if record.position != number as u64 || !sound {
            return Err(Some(format!("the record at {number} is {record:?}")));
        }
    }
    Ok(all)
}

fn run(runtime: &Runtime, folder: &Path, random: &mut Random) -> Result<bool, String> {
    let copies = folder.join("copies");
    // What the run before planned to its end was kept for its batch.
    if copies.exists() {
        std::fs::remove_dir_all(&copies).map_err(|error| error.to_string())?;
    }
    let (spec, bytes) = input(random);
    std::fs::write(folder.join("input"), &bytes).map_err(|error| error.to_string())?;
    let shown = || bytes[..bytes.len().min(2_000)].escape_ascii().to_string();
    let wrong = |why: String| format!("{why}; {spec:?}; input: {}", shown());
    let outcome = runtime.block_on(records(&spec, folder, 1 + random.index(3) as u64));
    let sizes = std::fs::read_dir(&copies).into_iter().flatten().flatten();
    let copied: u64 = sizes.filter_map(|entry| entry.metadata().ok()).map(|file| file.len()).sum();
    if copied > COPY_BYTES_MAX {
        return Err(wrong(format!("a copy has {copied} bytes, the most is {COPY_BYTES_MAX}")));
    }
    match outcome {
        Err(Some(why)) => Err(wrong(why)),
        Err(None) if copied > 0 => Err(wrong(format!("a copy of {copied} bytes is left of an input that was refused"))),
        Err(None) => Ok(false),
        Ok(records_found) => match runtime.block_on(records(&spec, folder, 1_000)) {
            Ok(whole) if whole == records_found => Ok(true),
            Ok(whole) => {
                Err(wrong(format!("in one piece it has {} records, cut {}", whole.len(), records_found.len())))
            }
            Err(why) => Err(wrong(format!("in one piece it cannot be read: {why:?}"))),
        },
    }
}

#[test]
fn whatever_bytes_a_file_has_each_record_is_an_item_or_an_error_however_it_is_cut() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).build().expect("a runtime");
    let folder = tempfile::tempdir().expect("a folder");
    Target { name: "files", ordinary: 500, share: 100 }.feed(|random| run(&runtime, folder.path(), random));
}
