//! Generates orders with realistic errors in them, the same from the same seed on every machine.
//!
//! Random numbers: SplitMix64, after G. L. Steele, D. Lea and C. H. Flood, "Fast Splittable
//! Pseudorandom Number Generators", OOPSLA 2014. A crate's generator may change with its version;
//! the demo's figures must not.

use std::io::{self, Write};

/// The header of the orders.
pub(crate) const HEADER: &str = "order_id,ordered_at,customer,country,product,quantity,unit_price,gateway";

const COUNTRIES: [&str; 12] = [
    "United Kingdom",
    "Germany",
    "France",
    "Spain",
    "Italy",
    "Poland",
    "Portugal",
    "Sweden",
    "Japan",
    "Brazil",
    "Kenya",
    "Côte d'Ivoire",
];
const PRODUCTS: [&str; 8] = [
    "Heart T-light holder",
    "Metal lantern",
    "\"Union\" hot water bottle",
    "Bunting, 5 m",
    "Cake stand",
    "Jam jar",
    "Wicker heart",
    "Tea towel",
];

/// The errors that were put into the orders on purpose, in rows.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize)]
pub(crate) struct Dirt {
    /// No customer, or one of white space only.
    pub(crate) missing_customer: u64,
    /// A quantity that is not a whole number above 0.
    pub(crate) bad_quantity: u64,
    /// A price that is not a decimal above 0.
    pub(crate) bad_price: u64,
    /// An order number that another row has too.
    pub(crate) duplicates: u64,
    /// The payment gateway fails once.
    pub(crate) fails_once: u64,
    /// The payment gateway fails twice.
    pub(crate) fails_twice: u64,
    /// The payment gateway never answers.
    pub(crate) never: u64,
    /// A test order, which is skipped.
    pub(crate) tests: u64,
}

/// Writes this many orders as CSV, after a byte-order mark.
///
/// # Errors
///
/// Those of the writer.
pub(crate) fn orders(items: u64, seed: u64, to: &mut impl Write) -> io::Result<Dirt> {
    let mut random = SplitMix64(seed);
    let mut dirt = Dirt::default();
    writeln!(to, "\u{feff}{HEADER}")?;
    for number in 1..=items {
        order(number, &mut random, &mut dirt, to)?;
    }
    Ok(dirt)
}

/// Writes this many articles as CSV.
///
/// # Errors
///
/// Those of the writer.
pub(crate) fn articles(count: u64, to: &mut impl Write) -> io::Result<()> {
    writeln!(to, "article,product,place")?;
    for number in 1..=count {
        let pick = |names: &[&'static str]| names[usize::try_from(number).unwrap_or(0) % names.len()];
        writeln!(to, "{number},\"{}\",{}", pick(&PRODUCTS).replace('"', "\"\""), pick(&["north", "south", "quay"]))?;
    }
    Ok(())
}

/// At most one kind of error in a row, so that the sum of the counts is the number of bad rows.
fn order(number: u64, random: &mut SplitMix64, dirt: &mut Dirt, to: &mut impl Write) -> io::Result<()> {
    let mut id = 500_000 + number;
    let mut customer = format!("C{:05}", random.below(9_000) + 10_000);
    let mut quantity = (random.below(24) + 1).to_string();
    let pence = random.below(4_900) + 45;
    let mut price = format!("{}.{:02}", pence / 100, pence % 100);
    let mut gateway = "ok";
    let country = COUNTRIES[random.index(COUNTRIES.len())];
    let product = PRODUCTS[random.index(PRODUCTS.len())].replace('"', "\"\"");
    let day = random.below(28) + 1;
    let minute = random.below(24 * 60);
    match random.below(10_000) {
        0..80 => {
            customer = if random.below(2) == 0 { String::new() } else { "  ".to_owned() };
            dirt.missing_customer += 1;
        }
        80..120 => {
            quantity = ["three", "1O", "", "2.5"][random.index(4)].to_owned();
            dirt.bad_quantity += 1;
        }
        120..160 => {
            price = ["n/a", "0.00", "-1.95", "4,99"][random.index(4)].to_owned();
            dirt.bad_price += 1;
        }
        160..210 if number > 1 => {
            id = 500_000 + random.below(number - 1) + 1;
            dirt.duplicates += 1;
        }
        210..240 => {
            gateway = "fails-once";
            dirt.fails_once += 1;
        }
        240..250 => {
            gateway = "fails-twice";
            dirt.fails_twice += 1;
        }
        250..255 => {
            gateway = "never";
            dirt.never += 1;
        }
        255..275 => {
            gateway = "test";
            dirt.tests += 1;
        }
        _ => {}
    }
    writeln!(
        to,
        "{id},2026-01-{day:02}T{:02}:{:02}:00Z,{customer},{country},\"{product}\",{quantity},\"{price}\",{gateway}",
        minute / 60,
        minute % 60,
    )
}

/// The generator of the paper: one addition and three mixing steps for each number.
struct SplitMix64(u64);

impl SplitMix64 {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Returns a number less than `bound`. The bias of the remainder is below one in 10^14 for bounds this small.
    fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound.max(1)
    }

    fn index(&mut self, length: usize) -> usize {
        usize::try_from(self.below(length as u64)).unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_generator_gives_the_numbers_of_its_reference() {
        // The first outputs of the reference implementation for the seed 1234567.
        let mut random = SplitMix64(1_234_567);
        assert_eq!([random.next(), random.next()], [6_457_827_717_110_365_317, 3_203_168_211_198_807_973]);
    }

    #[test]
    fn the_same_seed_makes_the_same_orders() {
        let make = |seed| {
            let mut bytes = Vec::new();
            let dirt = orders(1_000, seed, &mut bytes).expect("written");
            (bytes, dirt)
        };
        assert_eq!(make(1), make(1));
        assert_ne!(make(1).0, make(2).0);
    }

    #[test]
    fn every_kind_of_dirt_is_there_and_the_first_bytes_are_a_mark() {
        let mut bytes = Vec::new();
        let dirt = orders(100_000, 1, &mut bytes).expect("written");
        assert!(bytes.starts_with(b"\xef\xbb\xbforder_id"));
        let counts = [dirt.missing_customer, dirt.bad_quantity, dirt.bad_price, dirt.duplicates];
        let gateways = [dirt.fails_once, dirt.fails_twice, dirt.never, dirt.tests];
        assert!(counts.iter().chain(&gateways).all(|count| *count > 10), "{dirt:?}");
        assert_eq!(bytes.iter().filter(|byte| **byte == b'\n').count(), 100_001);
    }
}
