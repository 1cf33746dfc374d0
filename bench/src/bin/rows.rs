//! The least that a batch over invoices can cost: one pass, written by hand for this one definition, on all cores.
//!
//! Reads a file of the columns that `scripts/rows` makes, sets aside what the definition would set aside, writes the
//! others as JSON lines, syncs them, and prints how many there were and what they come to. Nothing is kept between two
//! runs, and a death in the middle loses all: that is what Gristmill's batch does in addition.
//!
//! `gristmill-bench-rows INPUT OUTPUT`

#![expect(clippy::print_stdout, reason = "what it found is what it is run for")]

use std::collections::HashMap;
use std::fs::File;
use std::io::Write as _;
use std::process::ExitCode;

/// What a part of the file comes to, money in units of 10⁻⁴.
#[derive(Default)]
struct Part {
    rows: u64,
    aside: u64,
    revenue: i128,
    countries: HashMap<Vec<u8>, i128>,
    written: Vec<u8>,
}

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    let (Some(input), Some(output)) = (arguments.next(), arguments.next()) else {
        eprintln!("gristmill-bench-rows INPUT OUTPUT");
        return ExitCode::from(2);
    };
    match pass(&input, &output) {
        Ok(found) => {
            println!("{found}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn pass(input: &str, output: &str) -> std::io::Result<String> {
    let bytes = std::fs::read(input)?;
    let header = bytes.iter().position(|byte| *byte == b'\n').map_or(bytes.len(), |end| end + 1);
    let threads = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let parts = std::thread::scope(|scope| {
        let running: Vec<_> =
            pieces(&bytes[header..], threads).into_iter().map(|piece| scope.spawn(move || part(piece))).collect();
        running.into_iter().filter_map(|thread| thread.join().ok()).collect::<Vec<_>>()
    });
    let mut file = File::create(output)?;
    let mut all = Part::default();
    for part in parts {
        file.write_all(&part.written)?;
        all.rows += part.rows;
        all.aside += part.aside;
        all.revenue += part.revenue;
        for (country, amount) in part.countries {
            *all.countries.entry(country).or_default() += amount;
        }
    }
    file.sync_all()?;
    let most = all.countries.values().max().copied().unwrap_or_default();
    let money = |amount: i128| format!("{}.{:04}", amount / 10_000, amount % 10_000);
    Ok(format!("{} {} {} {} {}", all.rows, all.aside, money(all.revenue), all.countries.len(), money(most)))
}

/// Cuts at ends of lines. No field has one inside.
fn pieces(bytes: &[u8], count: usize) -> Vec<&[u8]> {
    let (mut pieces, mut rest) = (Vec::new(), bytes);
    for left in (1..=count).rev() {
        let middle = rest.len() / left;
        let end = rest[middle..].iter().position(|byte| *byte == b'\n').map_or(rest.len(), |end| middle + end + 1);
        let (piece, after) = rest.split_at(if left == 1 { rest.len() } else { end });
        pieces.push(piece);
        rest = after;
    }
    pieces
}

fn part(bytes: &[u8]) -> Part {
    let mut part = Part::default();
    part.written.reserve(bytes.len() * 2);
    for line in bytes.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
        let mut fields: [&[u8]; 8] = [&[]; 8];
        let mut count = 0;
        for field in line.split(|byte| *byte == b',') {
            if let Some(place) = fields.get_mut(count) {
                *place = field;
            }
            count += 1;
        }
        if count != 8 || !part.take(&fields) {
            part.aside += 1;
        }
    }
    part
}

impl Part {
    /// `InvoiceNo,StockCode,Description,Quantity,InvoiceDate,UnitPrice,CustomerID,Country`
    fn take(&mut self, fields: &[&[u8]; 8]) -> bool {
        let [invoice, stock, _, quantity, _, price, customer, country] = fields;
        let (Some(count), Some(price_units)) = (units(quantity, 0), units(price, 4)) else { return false };
        if customer.is_empty() || price_units <= 0 {
            return false;
        }
        let amount = i128::from(count) * i128::from(price_units);
        self.rows += 1;
        self.revenue += amount;
        match self.countries.get_mut(*country) {
            Some(sum) => *sum += amount,
            None => drop(self.countries.insert(country.to_vec(), amount)),
        }
        let written = &mut self.written;
        for (before, value) in [(&b"{\"InvoiceNo\":\""[..], invoice), (b"\",\"StockCode\":\"", stock)] {
            written.extend_from_slice(before);
            written.extend_from_slice(value);
        }
        let sign = if amount < 0 { "-" } else { "" };
        let (whole, fraction) = (amount.unsigned_abs() / 10_000, amount.unsigned_abs() % 10_000);
        // Written to memory, which does not fail.
        let _ = write!(written, "\",\"Quantity\":{count},\"UnitPrice\":\"");
        written.extend_from_slice(price);
        let _ = write!(written, "\",\"amount\":\"{sign}{whole}.{fraction:04}\",\"CustomerID\":\"");
        written.extend_from_slice(customer);
        written.extend_from_slice(b"\",\"Country\":\"");
        written.extend_from_slice(country);
        written.extend_from_slice(b"\"}\n");
        true
    }
}

/// A number in units of `10^-places`, if it is one.
fn units(text: &[u8], places: u32) -> Option<i64> {
    let (negative, digits) = match text {
        [b'-', rest @ ..] => (true, rest),
        all => (false, all),
    };
    let (mut number, mut left) = (0_i64, None);
    for byte in digits {
        match (byte, left) {
            (b'0'..=b'9', Some(0)) => return None,
            (b'0'..=b'9', _) => {
                number = number.checked_mul(10)?.checked_add(i64::from(byte - b'0'))?;
                left = left.map(|left| left - 1);
            }
            (b'.', None) if places > 0 => left = Some(places),
            _ => return None,
        }
    }
    let number = number * 10_i64.pow(left.unwrap_or(places));
    (!digits.is_empty()).then_some(if negative { -number } else { number })
}
