//! How fast a CSV file is cut into chunks and read, against counting its newlines.
//!
//! `cargo run --release -p gristmill-jobs --example cut_speed -- [MEGABYTES] [QUOTED_PERCENT]`

use std::error::Error;
use std::io::{BufWriter, Read, Write};
use std::path::Path;
use std::time::Instant;

use gristmill_core::definition::{OneOrMany, SourceSpec};
use gristmill_jobs::source::{self, OpenOptions};

#[tokio::main]
#[expect(clippy::print_stdout, reason = "an example speaks to people")]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let megabytes: u64 = arguments.next().map_or(Ok(200), |text| text.parse())?;
    let quoted: u64 = arguments.next().map_or(Ok(10), |text| text.parse())?;
    let dir = std::env::temp_dir().join(format!("gristmill-cut-speed-{}", std::process::id()));
    std::fs::create_dir_all(&dir)?;
    let path = dir.join("orders.csv");
    let rows = generate(&path, megabytes * 1_000_000, quoted)?;
    let bytes = std::fs::metadata(&path)?.len();
    println!("{bytes} bytes, {rows} rows, {quoted} % with a quoted field");
    let speed = |what: &str, began: Instant| {
        let seconds = began.elapsed().as_secs_f64();
        println!("{what:<28} {:>8.0} MB/s   {seconds:.3} s", bytes as f64 / 1e6 / seconds);
    };

    let began = Instant::now();
    let newlines = count_newlines(&path)?;
    speed("newlines by memchr", began);
    assert_eq!(newlines, rows + 1);

    let spec = SourceSpec { csv: Some(OneOrMany::One("orders.csv".to_owned())), ..SourceSpec::default() };
    let options = OpenOptions {
        spool_dir: dir.join("spool"),
        base_dir: dir.clone(),
        chunk: 500.into(),
        spool_bytes_max: u64::MAX,
        stdin: None,
    };
    let began = Instant::now();
    let mut planner = source::open(&spec, options).await?;
    let mut chunks = Vec::new();
    while let Some(chunk) = planner.next_chunk().await? {
        chunks.push(chunk);
    }
    speed("plan into chunks of 500", began);
    println!("peak memory after planning   {} (with {} chunks held)", peak(), chunks.len());

    let began = Instant::now();
    let mut records = 0;
    for chunk in &chunks {
        records += source::read(chunk, planner.fingerprint(), &spec).await?.len() as u64;
    }
    speed("read into objects", began);
    println!("peak memory after reading    {}", peak());
    assert_eq!(records, rows);
    std::fs::remove_dir_all(&dir)?;
    Ok(())
}

fn generate(path: &Path, bytes: u64, quoted: u64) -> Result<u64, Box<dyn Error>> {
    let mut file = BufWriter::new(std::fs::File::create(path)?);
    let header = b"InvoiceNo,StockCode,Description,Quantity,InvoiceDate,UnitPrice,CustomerID,Country\n";
    file.write_all(header)?;
    let (mut wrote, mut row) = (header.len() as u64, 0);
    while wrote < bytes {
        let description = if row % 100 < quoted { "\"HOLDER, \"\"WHITE\"\" HEART\"" } else { "WHITE HANGING HEART" };
        let line = format!(
            "{},{}A,{description},{},2010-12-01 08:26:00,{}.55,{},United Kingdom\n",
            536_365 + row / 10,
            85_123 + row % 3_000,
            row % 48,
            row % 20,
            17_850 - row % 900
        );
        file.write_all(line.as_bytes())?;
        wrote += line.len() as u64;
        row += 1;
    }
    file.flush()?;
    Ok(row)
}

fn count_newlines(path: &Path) -> std::io::Result<u64> {
    let mut file = std::fs::File::open(path)?;
    let mut buffer = vec![0; 256 * 1024];
    let mut count = 0;
    loop {
        let read = file.read(&mut buffer)?;
        if read == 0 {
            return Ok(count);
        }
        count += memchr::memchr_iter(b'\n', &buffer[..read]).count() as u64;
    }
}

fn peak() -> String {
    std::fs::read_to_string("/proc/self/status")
        .unwrap_or_default()
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:").map(|rest| rest.trim().to_owned()))
        .unwrap_or_else(|| "unknown here".to_owned())
}
