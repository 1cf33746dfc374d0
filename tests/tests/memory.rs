//! Memory does not grow with the input.
//!
//! CI runs a small share; `make big` runs a gigabyte.

use std::fs;
use std::process::Stdio;
use std::sync::mpsc;
use std::time::Duration;

use gristmill_tests::orders;
use gristmill_tests::place::{On, Place};
use gristmill_tests::program::Program;

/// The most memory that the program may have had, in MiB.
const MEMORY_MIB_MAX: u64 = 150;

/// The kernel keeps the peak, so that only the end must not be missed by much.
const SAMPLE_EVERY: Duration = Duration::from_millis(20);

/// About as many bytes has one line.
const LINE_BYTES: u64 = 68;

/// The most memory that a process has had so far, in KiB, as Linux counts it.
fn peak_kib(id: u32) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{id}/status")).ok()?;
    status.lines().find_map(|line| line.strip_prefix("VmHWM:")?.trim().strip_suffix("kB")?.trim().parse().ok())
}

#[test]
#[cfg(target_os = "linux")]
fn a_batch_over_a_large_file_stays_within_150_mib() {
    let megabytes: u64 = std::env::var("GRISTMILL_TEST_INPUT_MB").ok().and_then(|text| text.parse().ok()).unwrap_or(40);
    let place = Place::new(On::Sqlite);
    let input = place.file("orders.csv");
    let expected = orders::write(&input, megabytes * 1_000_000 / LINE_BYTES, 4);
    let program = Program::retail(&place);
    let input_text = input.display().to_string();
    let mut child = program
        .command(&["batch", "run", "retail", "--input", &input_text, "--wait", "--json"])
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("the program starts");
    let id = child.id();
    let (ended, end) = mpsc::channel();
    std::thread::spawn(move || ended.send(child.wait()));
    let mut peak = 0;
    let status = loop {
        match end.recv_timeout(SAMPLE_EVERY) {
            Ok(status) => break status.expect("it is our child"),
            Err(_) => peak = peak.max(peak_kib(id).unwrap_or(0)),
        }
    };
    assert!(status.success(), "the batch ended with {status}");
    let batches = program.json(&["batch", "list"]);
    assert_eq!(batches[0]["counts"]["ok"].as_u64(), Some(expected.ok));
    println!("{} MB of input, {} MiB of memory at the most", megabytes, peak / 1024);
    assert!(peak / 1024 <= MEMORY_MIB_MAX, "{} MiB", peak / 1024);
}
