//! Invoices to run batches over, and an oracle that shares no code with the product.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use gristmill_testkit::Random;

use crate::root;

/// What must come of an input: computed in whole ten-thousandths, by a plain loop.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Expected {
    /// Rows of the input.
    pub input: u64,
    /// Rows with a customer and a price above zero.
    pub ok: u64,
    /// Their quantity times their price, in ten-thousandths.
    pub revenue: i128,
    /// The same by country.
    pub by_country: BTreeMap<String, i128>,
}

impl Expected {
    /// Rows that must be in the quarantine.
    pub fn quarantined(&self) -> u64 {
        self.input - self.ok
    }

    fn take(&mut self, quantity: &str, price: &str, customer: &str, country: &str) {
        self.input += 1;
        let price = ten_thousandths(price);
        if customer.trim().is_empty() || price <= 0 {
            return;
        }
        let amount = quantity.trim().parse::<i128>().expect("quantities are whole numbers") * price;
        self.ok += 1;
        self.revenue += amount;
        *self.by_country.entry(country.to_owned()).or_default() += amount;
    }
}

/// A decimal text as whole ten-thousandths.
pub fn ten_thousandths(text: &str) -> i128 {
    let text = text.trim();
    let (sign, digits) = text.strip_prefix('-').map_or((1, text), |rest| (-1, rest));
    let (whole, part) = digits.split_once('.').unwrap_or((digits, ""));
    assert!(part.trim_end_matches('0').len() <= 4, "`{text}` has more than four decimals");
    let part: String = part.chars().chain("0000".chars()).take(4).collect();
    sign * (whole.parse::<i128>().unwrap_or(0) * 10_000 + part.parse::<i128>().unwrap_or(0))
}

const COUNTRIES: [&str; 6] = ["United Kingdom", "France", "Germany", "EIRE", "Côte d'Ivoire", "Australia"];

/// Writes so many invoices with honest dirt from a seed: a byte-order mark, missing customers, zero
/// prices, returns, quoted commas and line breaks.
pub fn write(path: &Path, rows: u64, seed: u64) -> Expected {
    let mut random = Random::new(seed);
    let mut expected = Expected::default();
    let mut file = BufWriter::new(File::create(path).expect("the test's folder is writable"));
    let header = "\u{feff}InvoiceNo,StockCode,Description,Quantity,InvoiceDate,UnitPrice,CustomerID,Country\n";
    file.write_all(header.as_bytes()).expect("there is room");
    for row in 0..rows {
        file.write_all(invoice(row, &mut random, &mut expected).as_bytes()).expect("there is room");
    }
    file.flush().expect("there is room");
    expected
}

/// One line of the file, and what must come of it.
fn invoice(row: u64, random: &mut Random, expected: &mut Expected) -> String {
    let customer = if random.one_in(5) { String::new() } else { (random.between(12_000, 17_999)).to_string() };
    let price =
        if random.one_in(40) { "0".to_owned() } else { format!("{}.{:02}", random.below(30), random.between(1, 99)) };
    let quantity = (i64::try_from(random.below(60)).expect("small") - 5).to_string();
    let country = random.pick(&COUNTRIES);
    let description = match random.below(10) {
        0 => "\"LANTERN, \"\"WHITE\"\"\"",
        1 => "\"TWO\nLINES\"",
        _ => "METAL LANTERN",
    };
    expected.take(&quantity, &price, &customer, country);
    let (invoice, stock) = (536_365 + row / 7, 70_000 + row);
    format!("{invoice},{stock},{description},{quantity},1/12/2010,{price},{customer},{country}\n")
}

/// Ten thousand invoices of a real retailer, where the machine has them beside the project.
pub fn real() -> Option<(PathBuf, Expected)> {
    let path = root().join("../shared/data/retail-10k.csv");
    let expected = Expected { input: 9_999, ok: 7_707, revenue: 1_446_177_500, by_country: BTreeMap::new() };
    if !path.exists() {
        // Past the test harness, which shows nothing of a test that passes.
        let _ = writeln!(std::io::stderr(), "SKIPPED, and so not tested: {} is not there", path.display());
        return None;
    }
    Some((path, expected))
}
